"""The secret of a service: 256 random bits. The portal stores only its digest, which needs no salt."""

import hashlib
import secrets

from django.views.decorators.debug import sensitive_variables


@sensitive_variables()
def new_secret() -> str:
    return secrets.token_urlsafe(32)


@sensitive_variables()
def digest_of(secret: str) -> str:
    """SHA-256 in hexadecimal, as `ServiceCredential.digest`. Takes any text that a client can send."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
