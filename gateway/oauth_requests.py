"""What the endpoints of OAuth share: forms, errors and headers (RFC 6749 sections 2.3.1, 3.2 and 5.2)."""

from collections.abc import Callable, Mapping
from functools import wraps

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from rest_framework.exceptions import Throttled

from core.api.problems import BODY_INCOMPLETE, oauth_body
from core.http.open_views import open_to_everybody
from core.http.public_address import SCHEME_UNKNOWN, scheme_is_unknown

FORM_TYPE = "application/x-www-form-urlencoded"
# RFC 6749 section 5.1.
NEVER_KEPT = {"Cache-Control": "no-store", "Pragma": "no-cache"}

# The parameters of a request, each given once and not empty.
Form = Mapping[str, str]


class OAuthError(Exception):
    """``error``: a code of RFC 6749 section 5.2. ``description``: a sentence in ASCII that repeats nothing of the
    request."""

    def __init__(self, error: str, description: str, *, status: int = 400, headers: Mapping[str, str] = {}) -> None:
        super().__init__(description)
        self.error, self.description, self.status, self.headers = error, description, status, headers


class InvalidRequest(OAuthError):
    def __init__(self, description: str, *, status: int = 400, headers: Mapping[str, str] = {}) -> None:
        super().__init__("invalid_request", description, status=status, headers=headers)


def oauth_endpoint(view: Callable[[HttpRequest, Form], HttpResponse]) -> Callable[[HttpRequest], HttpResponseBase]:
    """A view for programs that send a form with POST. No session is looked at: the form has all credentials."""

    @csrf_exempt
    @open_to_everybody
    @sensitive_post_parameters()
    @sensitive_variables()
    @wraps(view)
    def answer(request: HttpRequest) -> HttpResponseBase:
        try:
            response = view(request, _form_of(request))
        except OAuthError as error:
            response = _error(error)
        except Throttled as error:
            response = _error(_too_many(error))
        for name, value in NEVER_KEPT.items():
            response.headers[name] = value
        return response

    return answer


def required(form: Form, name: str) -> str:
    if name not in form:
        raise InvalidRequest(f"The parameter {name} is missing.")
    return form[name]


def _form_of(request: HttpRequest) -> Form:
    """Raises ``OAuthError``. Parameters in the query are ignored: proxies log it."""
    if request.method != "POST":
        raise InvalidRequest("Send a POST request.", status=405, headers={"Allow": "POST"})
    _check_encrypted(request)
    if request.content_type != FORM_TYPE:
        raise InvalidRequest(f"Send the parameters as a form ({FORM_TYPE}).")
    if "HTTP_TRANSFER_ENCODING" in request.META and not request.META.get("CONTENT_LENGTH"):
        # WSGI would treat a body of unknown length as empty.
        raise InvalidRequest("Send the body with its Content-Length, not in chunks.")
    try:
        sent = list(request.POST.lists())
    except UnreadablePostError:
        raise InvalidRequest(BODY_INCOMPLETE) from None
    if any(len(values) > 1 for _name, values in sent):
        raise InvalidRequest("A parameter is given twice.")
    if any("\0" in name + values[0] for name, values in sent):
        raise InvalidRequest("A parameter has a NUL character.")
    # RFC 6749 section 3.1: a parameter without a value counts as omitted.
    return {name: values[0] for name, values in sent if values[0]}


def _check_encrypted(request: HttpRequest) -> None:
    """A redirect would hide that a secret was sent over the network without encryption."""
    if not settings.SECURE_SSL_REDIRECT or request.is_secure():
        return
    if scheme_is_unknown(request):
        raise OAuthError("temporarily_unavailable", SCHEME_UNKNOWN, status=503)
    raise InvalidRequest("Use https. This was sent without encryption, so others may have read it.")


def _too_many(error: Throttled) -> OAuthError:
    headers = {"Retry-After": str(max(1, getattr(error, "wait", None) or 1))}
    return OAuthError("temporarily_unavailable", str(error.detail), status=429, headers=headers)


def _error(error: OAuthError) -> HttpResponse:
    body = oauth_body(error.error, error.description)
    response = JsonResponse(body, status=error.status, headers=dict(error.headers))
    response.problem_code = error.error  # type: ignore[attr-defined]
    return response
