"""Forward auth: the proxy in front of a service asks before it passes a request on (docs/services.md).

The answer is 200 with headers that say who it is, or 401 or 403 with a challenge (RFC 6750 section 3). Proxies know no
other answers: nginx turns them into a 500.
"""

import uuid
from urllib.parse import quote

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt
from rest_framework.exceptions import Throttled

from accounts.access_tokens import access_tokens
from accounts.models import User
from auditlog.open_use import OpenUse, use_of
from core.api import problems
from core.api.audiences import audience_of
from core.api.problems import TokenRefused, bearer_challenge
from core.http.open_views import open_to_everybody
from core.http.own_headers import set_own
from core.http.request_context import comes_from_proxy
from core.types import AccessToken
from gateway import admission
from gateway.admission import Admission
from gateway.asked_requests import AskedRequest, asked_by
from gateway.models import scope_id
from gateway.path_rules import NOBODY, first_match
from gateway.request_paths import Ambiguous


class Refused(Exception):
    """A request that must not reach the service. ``code`` is also the reason in the log."""

    def __init__(self, code: str, detail: str, *, status: int = 403, scope: str = "") -> None:
        super().__init__(detail)
        self.code, self.detail, self.status, self.scope = code, detail, status, scope


@csrf_exempt
@open_to_everybody
def verify(request: HttpRequest, pk: uuid.UUID, rest: str | None = None) -> HttpResponseBase:
    """For every method: some proxies repeat that of the original request."""
    if "HTTP_AUTHORIZATION" not in request.META:
        return _refusal(request, pk, Refused("not_authenticated", "Send a token of this service.", status=401))
    try:
        return _admitted(request, pk, rest)
    except Refused as refused:
        return _refusal(request, pk, refused)
    except Throttled as error:
        return _refusal(request, pk, Refused("throttled", str(error.detail)))
    except TokenRefused as error:
        return _refusal(request, pk, Refused(str(error.get_codes()), str(error.detail), status=401))


def _admitted(request: HttpRequest, pk: uuid.UUID, rest: str | None) -> HttpResponse:
    use = use_of(request)
    try:
        asked: AskedRequest | Ambiguous = asked_by(request, rest)
    except Ambiguous as error:
        asked = error
    try:
        token = access_tokens().check(request, request.META["HTTP_AUTHORIZATION"], service_id=pk)
    finally:
        if use.token is not None and use.token.service_id == pk:
            _note_service(use, pk, asked if isinstance(asked, AskedRequest) else None)
    if not comes_from_proxy(request):
        raise Refused("forbidden", "Only a proxy that the operator of the portal trusts can ask.")
    found = admission.find(pk, token.owner_id)
    if found is None or not found.is_asked_by_proxies:
        raise Refused("forbidden", "This service is not one that a proxy asks for.")
    check_service(found, token.owner)
    check_request(found, asked, granted=frozenset(token.scope.split(" ")))
    return _answer(token, found)


def _note_service(use: OpenUse, pk: uuid.UUID, asked: AskedRequest | None) -> None:
    use.service_id = pk
    if asked is not None:
        use.method, use.target = asked.method_to_log, asked.target_to_log


def check_service(found: Admission, person: User) -> None:
    """Raises ``Refused`` unless the service is switched on and open to the person."""
    if not found.is_enabled:
        raise Refused("service_disabled", "This service is switched off in the portal.")
    if not found.is_open_to(person):
        raise Refused("forbidden", "The owner of the token is not allowed to use this service.")


def check_request(found: Admission, asked: AskedRequest | Ambiguous, *, granted: frozenset[str]) -> None:
    """Raises ``Refused`` unless a rule of the service opens the request. ``granted``: the ids of scopes."""
    if isinstance(asked, Ambiguous):
        raise Refused("ambiguous_path", str(asked))
    if asked.host and found.host and asked.host.lower() != found.host.lower():
        raise Refused("ambiguous_path", "The request is for another host than the address of the service.")
    try:
        path = asked.path()
    except Ambiguous as error:
        raise Refused("ambiguous_path", str(error)) from None
    rule = first_match(found.rules, asked.method, path)
    if rule is None or rule.needs == NOBODY:
        raise Refused("path_not_allowed", "No rule of this service opens this method and path.")
    if rule.needs_scope and (wanted := scope_id(found.slug, rule.needs)) not in granted:
        raise Refused("insufficient_scope", f"This request needs the scope {wanted}.", scope=wanted)


def _answer(token: AccessToken, found: Admission) -> HttpResponse:
    """Names of groups can be of any script, and the separator is a comma, so they are percent-encoded."""
    response = HttpResponse(status=200)
    del response.headers["Content-Type"]
    owner = token.owner
    for name, value in (
        ("User", str(owner.pk)),
        ("Email", quote(owner.email, safe="@!#$&'*+/=?^_`{|}~-.")),
        ("Role", owner.site_role),
        ("Groups", ",".join(quote(group, safe="") for group in found.groups)),
        ("Scopes", token.scope),
        ("Token", str(token.pk)),
    ):
        set_own(response, f"X-Auth-Request-{name}", value)
    return response


def _refusal(request: HttpRequest, pk: uuid.UUID, refused: Refused) -> HttpResponse:
    response = problems.problem_response(request, refused.status, refused.detail, refused.code)
    response.problem_code = refused.code  # type: ignore[attr-defined]
    response.headers["WWW-Authenticate"] = _challenge(refused, pk)
    response.headers["Cache-Control"] = "no-store"
    return response


def _challenge(refused: Refused, pk: uuid.UUID) -> str:
    return bearer_challenge(**_said_in_challenge(refused), realm=audience_of(pk), service_id=pk)


def _said_in_challenge(refused: Refused) -> dict[str, str]:
    """RFC 6750 section 3.1: no error for a request without credentials."""
    if refused.code == "not_authenticated":
        return {}
    error = "invalid_token" if refused.status == 401 else _ERRORS.get(refused.code, "insufficient_scope")
    return {"error": error, "description": refused.detail, "scope": refused.scope}


_ERRORS = {"ambiguous_path": "invalid_request"}
