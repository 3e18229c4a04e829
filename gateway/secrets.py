"""Secrets with which services prove who they are. No other module knows their form."""

import hashlib
import re
import secrets

from django.views.decorators.debug import sensitive_variables

PREFIX = "opc_"
SECRET_BYTES = 32
# For secret scanners, and for removing a secret that was pasted into a wrong place.
PATTERN = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")


def new_secret() -> str:
    """With 256 random bits, so that its plain digest can be stored: nobody can try all of them."""
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)


@sensitive_variables()
def digest_of(secret: str) -> str:
    """What is stored instead of the secret (``ServiceCredential.digest``)."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
