"""Token introspection (RFC 7662): a service asks whether a token that it was sent is good now, and whose it is.

The answer about every other token is the same, whatever is wrong with it. What is wrong is in the log of its owner.
"""

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.debug import sensitive_variables
from rest_framework.exceptions import Throttled

from accounts.access_tokens import access_tokens
from auditlog.open_use import OpenUse, use_of
from core.api.problems import TokenRefused
from core.http.request_context import read_address
from gateway import admission
from gateway.client_authentication import authenticated_service
from gateway.models import Check, Service
from gateway.oauth_requests import Form, InvalidRequest, OAuthError, oauth_endpoint, required
from gateway.views.verify import Refused, check_service

JWT_TYPE = "application/token-introspection+jwt"
INACTIVE = {"active": False}


@oauth_endpoint
@sensitive_variables()
def introspect(request: HttpRequest, form: Form) -> HttpResponse:
    use = use_of(request)
    use.is_told_by_service, use.is_from_client = True, False
    service = authenticated_service(request, form)
    if service.check_by == Check.FORWARD_AUTH:
        raise OAuthError("unauthorized_client", "The proxy in front of this service asks. Change that in the portal.")
    sent, client_ip = required(form, "token"), _client_ip(form)
    if client_ip is not None:
        use.ip, use.is_from_client = client_ip, True
    answer = _answer(request, service, sent)
    if request.get_preferred_type(["application/json", JWT_TYPE]) != JWT_TYPE:
        return JsonResponse(answer)
    signed = access_tokens().sign_introspection(answer, client_id=str(service.pk))
    return HttpResponse(signed, content_type=JWT_TYPE)


def _client_ip(form: Form) -> str | None:
    """The address that used the token, if the service says it: RFC 7662 section 2.1 lets it add such a parameter.
    Without it, tokens that can be used only from some networks are refused."""
    if "client_ip" not in form:
        return None
    address = read_address(form["client_ip"])
    if address is None:
        raise InvalidRequest("client_ip is no IP address.")
    return address


@sensitive_variables()
def _answer(request: HttpRequest, service: Service, sent: str) -> dict[str, Any]:
    use = use_of(request)
    try:
        return _checked(request, service, sent)
    except TokenRefused as error:
        use.refusal = 401, str(error.get_codes())
    except Refused as refused:
        use.refusal = refused.status, refused.code
    except Throttled:
        # The service was sent too many tokens that are not genuine. That is no reason to refuse the others.
        pass
    finally:
        _note_service(use, service, request)
    return INACTIVE


@sensitive_variables()
def _checked(request: HttpRequest, service: Service, sent: str) -> dict[str, Any]:
    token = access_tokens().check_sent(request, sent, service_id=service.pk)
    owner = token.owner
    found = admission.find(service.pk, owner.pk)
    if found is None:
        raise Refused("service_disabled", "This service was deleted.")
    check_service(found, owner)
    claims = access_tokens().claims_of(token)
    return {
        "active": True,
        "scope": found.scopes_of(token.scope),
        "client_id": str(service.pk),
        "username": owner.email,
        "token_type": "Bearer",
        **{name: claims[name] for name in ("exp", "iat", "nbf", "sub", "aud", "iss", "jti", "account")},
        "name": owner.name,
        "site_role": owner.site_role,
        "groups": list(found.groups),
    }


def _note_service(use: OpenUse, service: Service, request: HttpRequest) -> None:
    """What a service says about a token that is not for it counts for nothing in the log of its owner."""
    if use.token is not None and use.token.service_id == service.pk:
        use.service_id = service.pk
    else:
        use.ip, use.is_from_client = request.client_address, False  # type: ignore[attr-defined]
