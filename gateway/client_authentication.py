"""How a service proves who it is: ``client_secret_basic`` or ``client_secret_post`` (RFC 6749 section 2.3.1).

The client id is the id of the service. Every wrong credential gets the same answer, and counts for the address that
sent it, so that strangers learn nothing and can't go on guessing.
"""

import base64
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.views.decorators.debug import sensitive_variables

from core import ids
from core.api import throttling
from gateway.models import Service, ServiceCredential
from gateway.oauth_requests import Form, InvalidRequest, OAuthError
from gateway.secrets import digest_of

logger = logging.getLogger(__name__)

METHODS = ["client_secret_basic", "client_secret_post"]
CHALLENGE = 'Basic realm="Opsera Portal services", charset="UTF-8"'


@dataclass(frozen=True)
class Credentials:
    client_id: str
    secret: str = field(repr=False)


def are_sent(request: HttpRequest, form: Form) -> bool:
    return "HTTP_AUTHORIZATION" in request.META or "client_secret" in form


@sensitive_variables()
def authenticated_service(request: HttpRequest, form: Form) -> Service:
    """The service that sent this request. Raises ``OAuthError``, or ``Throttled`` for strangers who try too often."""
    sent = _sent(request, form)
    credential = working_credential(sent) if sent else None
    if credential is not None and not credential.service.is_enabled:
        credential = None
    if credential is None:
        raise _refused(request)
    credential.mark_used(at=timezone.now())
    return credential.service


@sensitive_variables()
def _sent(request: HttpRequest, form: Form) -> Credentials | None:
    header = request.META.get("HTTP_AUTHORIZATION")
    if header is None:
        return Credentials(form.get("client_id", ""), form["client_secret"]) if "client_secret" in form else None
    if "client_secret" in form:
        raise InvalidRequest("Send the client secret in the Authorization header or in the body, not in both.")
    sent = of_basic(header)
    if sent and form.get("client_id", sent.client_id) != sent.client_id:
        raise InvalidRequest("The client_id in the body is not that in the Authorization header.")
    return sent


@sensitive_variables()
def of_basic(header: str) -> Credentials | None:
    """Id and secret are encoded as in a form, then joined by a colon."""
    scheme, _, encoded = header.strip().partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        client_id, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:
        return None
    return Credentials(unquote_plus(client_id), unquote_plus(secret)) if colon else None


@sensitive_variables()
def working_credential(sent: Credentials) -> ServiceCredential | None:
    """One of the two secrets that work while a secret is being replaced, whether the service is switched on or not."""
    digest = digest_of(sent.secret)
    with suppress(ValueError):
        found = ServiceCredential.objects.working(timezone.now()).filter(service=ids.read(sent.client_id))
        for credential in found.select_related("service"):
            if constant_time_compare(credential.digest, digest):
                return credential
    return None


def _refused(request: HttpRequest) -> OAuthError:
    """Writes a line to the server's own log until the address is over its limit."""
    throttling.check_address(request)
    logger.warning(
        "Refused a service that could not prove who it is; from %s, request %s",
        getattr(request, "client_address", None),
        getattr(request, "request_id", None),
    )
    return OAuthError(
        "invalid_client",
        "The client id or the client secret is wrong.",
        status=401,
        headers={"WWW-Authenticate": CHALLENGE},
    )
