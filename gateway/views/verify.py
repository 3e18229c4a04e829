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
from accounts.security.sign_in_networks import is_outside
from auditlog.open_use import OpenUse, use_of
from core.api import problems
from core.api.audiences import audience_of
from core.api.problems import TokenRefused, bearer_challenge
from core.http.open_views import open_to_everybody
from core.http.own_headers import set_own
from core.http.request_context import client_address, comes_from_proxy
from gateway import admission, service_sessions
from gateway.admission import Admission
from gateway.asked_requests import AskedRequest, asked_by
from gateway.models import Service, scope_id
from gateway.path_rules import NOBODY, first_match
from gateway.request_paths import Ambiguous
from gateway.same_origin import is_forged
from gateway.service_origins import origin_of, path_on_service, start_path

NO_CREDENTIALS = "not_authenticated"
NO_PROXY = "Only a proxy that the operator of the portal trusts can ask."
# Where the proxy sends people who are not signed in, on the host of the service.
SIGN_IN_HEADER = "X-Portal-Sign-In"


class Refused(Exception):
    """A request that must not reach the service. ``code`` is also the reason in the log."""

    def __init__(self, code: str, detail: str, *, status: int = 403, scope: str = "") -> None:
        super().__init__(detail)
        self.code, self.detail, self.status, self.scope = code, detail, status, scope


@csrf_exempt
@open_to_everybody
def verify(request: HttpRequest, pk: uuid.UUID, rest: str | None = None) -> HttpResponseBase:
    """For every method: some proxies repeat that of the original request. With a token and a cookie, the token
    decides."""
    try:
        if "HTTP_AUTHORIZATION" in request.META:
            return _admitted(request, pk, rest)
        return _admitted_by_cookie(request, pk, rest)
    except Refused as refused:
        response = _refusal(request, pk, refused)
        if refused.code == NO_CREDENTIALS and _is_navigation(request):
            response.headers[SIGN_IN_HEADER] = start_path(_page_of(_asked(request, rest)))
        return response
    except Throttled as error:
        return _refusal(request, pk, Refused("throttled", str(error.detail)))
    except TokenRefused as error:
        return _refusal(request, pk, Refused(str(error.get_codes()), str(error.detail), status=401))


def _admitted(request: HttpRequest, pk: uuid.UUID, rest: str | None) -> HttpResponse:
    use = use_of(request)
    asked = _asked(request, rest)
    try:
        token = access_tokens().check(request, request.META["HTTP_AUTHORIZATION"], service_id=pk)
    finally:
        if use.token is not None and use.token.service_id == pk:
            _note_service(use, pk, asked if isinstance(asked, AskedRequest) else None)
    found = _found(request, pk, token.owner)
    scope = found.scopes_of(token.scope)
    check_request(found, asked, granted=frozenset(scope.split(" ")))
    return _answer(token.owner, found, scope=scope, token_id=str(token.pk))


def _admitted_by_cookie(request: HttpRequest, pk: uuid.UUID, rest: str | None) -> HttpResponse:
    """A signed-in person acts with their whole access, so all scopes are granted. What nobody may, they may not."""
    session = service_sessions.find(pk, request.COOKIES)
    if session is None:
        raise Refused(NO_CREDENTIALS, "Send a token of this service.", status=401)
    person, asked = session.person, _asked(request, rest)
    found = _found(request, pk, person)
    if not found.allows_sessions:
        raise Refused("forbidden", "People can't open this service in the browser. Send a token.")
    if is_outside(person, client_address(request)):
        raise Refused("forbidden", "This person can use services only from the networks of their organization.")
    scopes = [scope.id for scope in session.service.all_scopes]
    check_request(found, asked, granted=frozenset(scopes))
    _check_origin(request, asked, session.service)
    service_sessions.note_use(session)
    return _answer(person, found, scope=" ".join(scopes), token_id="")


def _check_origin(request: HttpRequest, asked: AskedRequest | Ambiguous, service: Service) -> None:
    if isinstance(asked, Ambiguous) or is_forged(request, asked.method, origin_of(service)):
        raise Refused("forbidden", "The browser does not say that a page of this service sent the request.")


def _asked(request: HttpRequest, rest: str | None) -> AskedRequest | Ambiguous:
    """What anyone but a proxy claims isn't read, and so isn't logged either."""
    if not comes_from_proxy(request):
        return Ambiguous(NO_PROXY)
    try:
        return asked_by(request, rest)
    except Ambiguous as error:
        return error


def _found(request: HttpRequest, pk: uuid.UUID, person: User) -> Admission:
    """The service, if a proxy may ask about it and the person may use it. Raises ``Refused``."""
    if not comes_from_proxy(request):
        raise Refused("forbidden", NO_PROXY)
    found = admission.find(pk, person.pk)
    if found is None or not found.is_asked_by_proxies:
        raise Refused("forbidden", "This service is not one that a proxy asks for.")
    check_service(found, person)
    return found


def _is_navigation(request: HttpRequest) -> bool:
    """Whether a person opens a page. Programs and scripts of a page can't sign in, so they get the challenge only."""
    mode = request.META.get("HTTP_SEC_FETCH_MODE", "navigate")
    return mode == "navigate" and "text/html" in request.META.get("HTTP_ACCEPT", "")


def _page_of(asked: AskedRequest | Ambiguous) -> str:
    """Where to return to after signing in. A form is not sent again."""
    if isinstance(asked, Ambiguous) or asked.method not in ("GET", "HEAD"):
        return "/"
    return path_on_service(asked.target)


def _note_service(use: OpenUse, pk: uuid.UUID, asked: AskedRequest | None) -> None:
    use.service_id = pk
    if asked is not None:
        use.method, use.target = asked.method_to_log, asked.target_to_log


def check_service(found: Admission, person: User) -> None:
    """Raises ``Refused`` unless the service is switched on and open to the person."""
    if not found.is_enabled:
        raise Refused("service_disabled", "This service is switched off in the portal.")
    if not found.is_open_to(person):
        raise Refused("forbidden", "The owner of these credentials is not allowed to use this service.")


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


def _answer(owner: User, found: Admission, *, scope: str, token_id: str) -> HttpResponse:
    """Names of groups can be of any script, and the separator is a comma, so they are percent-encoded."""
    response = HttpResponse(status=200)
    del response.headers["Content-Type"]
    for name, value in (
        ("User", str(owner.pk)),
        ("Email", quote(owner.email, safe="@!#$&'*+/=?^_`{|}~-.")),
        ("Role", owner.site_role),
        ("Groups", ",".join(quote(group, safe="") for group in found.groups)),
        ("Scopes", scope),
        ("Token", token_id),
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
    if refused.code == NO_CREDENTIALS:
        return {}
    error = "invalid_token" if refused.status == 401 else _ERRORS.get(refused.code, "insufficient_scope")
    return {"error": error, "description": refused.detail, "scope": refused.scope}


_ERRORS = {"ambiguous_path": "invalid_request"}
