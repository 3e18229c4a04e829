"""Services prove to the API who they are with HTTP Basic: their id and a client secret (RFC 6749 section 2.3.1)."""

import uuid

from django.http import HttpRequest
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from auditlog.open_use import use_of
from core.api import throttling
from core.api.problems import Problem
from gateway.client_authentication import CHALLENGE, of_basic, working_credential
from gateway.models import Service


class ClientRefused(Problem):
    """One answer for everything that can be wrong, so that nobody learns which services there are."""

    status_code = 401
    default_code = "invalid_client"
    default_detail = "Send the client ID and the client secret of this service (HTTP Basic)."
    authenticate = CHALLENGE


@sensitive_variables()
def authenticated_service(request: HttpRequest, pk: uuid.UUID) -> Service:
    """The service with this id, if the request has its credentials, whether it is switched on or not. Raises
    ``ClientRefused``, or ``Throttled`` after too many failures from one address."""
    sent = of_basic(request.META.get("HTTP_AUTHORIZATION", ""))
    if sent is not None:
        # It is no token, and nobody's log gets an entry.
        use_of(request).was_looked_at = True
        credential = working_credential(sent)
        if credential is not None and credential.service_id == pk:
            credential.mark_used(at=timezone.now())
            return credential.service
    throttling.check_address(request)
    raise ClientRefused
