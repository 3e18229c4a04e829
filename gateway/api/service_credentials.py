"""Services prove who they are with HTTP Basic: their id and a client secret (RFC 6749 section 2.3.1)."""

import base64
import hashlib
import uuid
from urllib.parse import unquote_plus

from django.http import HttpRequest
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from auditlog.open_use import use_of
from core import ids
from core.api import throttling
from core.api.problems import REALM, Problem
from gateway.models import Service, ServiceCredential

_SCHEME = "basic "
MAX_LENGTH = 1000


class ClientRefused(Problem):
    """One answer for everything that can be wrong, so that nobody learns which services there are."""

    status_code = 401
    default_code = "invalid_client"
    default_detail = "Send the client ID and the client secret of this service (HTTP Basic)."
    authenticate = f'Basic realm="{REALM}", charset="UTF-8"'


@sensitive_variables()
def authenticated_service(request: HttpRequest, pk: uuid.UUID) -> Service:
    """The service with this id, if the request has its credentials, whether it is switched on or not. Raises
    ``ClientRefused``, or ``Throttled`` after too many failures from one address."""
    header = request.META.get("HTTP_AUTHORIZATION", "")
    if header[: len(_SCHEME)].lower() == _SCHEME:
        # It is no token, and nobody's log gets an entry.
        use_of(request).was_looked_at = True
        client_id, secret = _sent(header[len(_SCHEME) :].strip())
        found = None if client_id != pk else _with_secret(pk, secret)
        if found is not None:
            return found.service
    throttling.check_address(request)
    raise ClientRefused


def _with_secret(pk: uuid.UUID, secret: str) -> ServiceCredential | None:
    digest = hashlib.sha256(secret.encode()).hexdigest()
    working = ServiceCredential.objects.working(timezone.now()).select_related("service")
    return working.filter(service=pk, digest=digest).first()


@sensitive_variables()
def _sent(encoded: str) -> tuple[uuid.UUID | None, str]:
    """Id and secret, each of which OAuth encodes as in a form. No id for a header in any other form."""
    if len(encoded) > MAX_LENGTH:
        return None, ""
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        return ids.read(unquote_plus(client_id)), unquote_plus(secret)
    except ValueError:
        return None, ""
