"""Every error of the API as a problem document (RFC 9457, docs/product.md#errors), those of SCIM as SCIM has them
(RFC 7644 section 3.12), and those of OAuth as OAuth has them (RFC 6749 section 5.2).

Only this module knows their shape. ``code`` is stable and for programs, ``detail`` is for people. If a request with a
token is refused, the code is also the reason in the authentication log.
"""

import logging
import uuid
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation, ValidationError
from django.http import Http404, HttpRequest, JsonResponse, UnreadablePostError
from django.utils.translation import gettext_noop
from rest_framework import exceptions, status
from rest_framework.response import Response

from core.api.audiences import metadata_url
from core.api.scopes import Scope
from core.db.unavailable import DATABASE_UNAVAILABLE, refused_writes
from core.errors import DomainError
from core.http.public_address import SCHEME_UNKNOWN
from core.http.request_context import is_oauth, is_scim, without_tokens
from core.seen import ChangedMeanwhile

logger = logging.getLogger(__name__)

REALM = "Opsera Portal API"
CONTENT_TYPE = "application/problem+json"
SCIM_CONTENT_TYPE = "application/scim+json"
SCIM_ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"

TITLES = {
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    409: "Conflict",
    412: "Precondition Failed",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}

CODES = {
    308: "moved",
    400: "invalid_request",
    401: "not_authenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    409: "conflict",
    412: "precondition_failed",
    413: "content_too_large",
    415: "unsupported_media_type",
    422: "idempotency_key_reused",
    429: "throttled",
    500: "error",
    503: "unavailable",
}

BODY_INCOMPLETE = gettext_noop(
    "The body did not arrive completely, or took too long. Nothing was changed. Send it again."
)
FORBIDDEN_DETAIL = "You aren't allowed to do this, or it doesn't exist."


class Problem(exceptions.APIException):
    """An error with its own code. ``authenticate`` becomes the ``WWW-Authenticate`` header (RFC 6750)."""

    status_code: int = status.HTTP_400_BAD_REQUEST
    default_code = "invalid_request"
    default_detail = "The portal could not read this request."
    authenticate: str | None = None
    # The word for it in an error of SCIM (RFC 7644 table 9).
    scim_type = ""


class Forbidden(Problem):
    """One answer for a missing right and for a missing object, so that ids cannot be probed."""

    status_code = status.HTTP_403_FORBIDDEN
    default_code = "forbidden"
    default_detail = FORBIDDEN_DETAIL


class ClosedToTokens(Forbidden):
    default_detail = "Tokens can't do this, whatever their scopes. Sign in to the portal to do it."


class ReauthenticationRequired(Forbidden):
    """The signed-in person last proved who they are too long ago."""

    default_code = "reauthentication_required"

    def __init__(self) -> None:
        super().__init__(f"Confirm who you are at {settings.PORTAL_URL}/login/again/, then try again.")


class InsufficientScope(Problem):
    status_code = status.HTTP_403_FORBIDDEN
    default_code = "insufficient_scope"

    def __init__(self, sufficient: Iterable[Scope]) -> None:
        ids = [scope.id for scope in sufficient]
        super().__init__(f"This operation needs one of these scopes, and the token has none of them: {', '.join(ids)}.")
        self.authenticate = bearer_challenge(
            error="insufficient_scope", description="The token lacks the scope.", scope=" ".join(ids)
        )


class Conflict(Problem):
    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"
    default_detail = "This is not possible in the current state."


class DomainProblem(Problem):
    """A change that a service refused (core/errors.py)."""

    def __init__(self, error: DomainError) -> None:
        super().__init__(str(error), error.code)
        self.status_code = error.status


class PreconditionFailed(Problem):
    """The object is no longer the one that `If-Match` names."""

    status_code = status.HTTP_412_PRECONDITION_FAILED
    default_code = "precondition_failed"
    default_detail = (
        "This has changed since you read the ETag in your If-Match. Nothing was changed. Read it again, then send your "
        "change with the new ETag."
    )


class IdempotencyKeyReused(Problem):
    status_code = status.HTTP_422_UNPROCESSABLE_ENTITY
    default_code = "idempotency_key_reused"
    default_detail = "You already sent this Idempotency-Key with another request. Use a new key for each new request."


class ContentTooLarge(Problem):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "content_too_large"
    default_detail = "The body is larger than 256 KiB."


class Unavailable(Problem):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "unavailable"
    default_detail = "The database is unavailable. Nothing was changed. Try again in a moment."


class SchemeUnknown(Problem):
    """The proxy doesn't say whether the client used https. That is not the client's fault, but it isn't safe either."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "unavailable"
    default_detail = SCHEME_UNKNOWN


class TokenRefused(exceptions.AuthenticationFailed):
    """A token that is not accepted.

    For a genuine token, ``code`` says why (``expired``, ``revoked``, ...), so that its owner learns what is wrong. For
    all others it is ``invalid_token`` and reveals nothing.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail, code)
        self.authenticate = bearer_challenge(error="invalid_token", description=detail)


def bearer_challenge(
    *, error: str = "", description: str = "", scope: str = "", realm: str = REALM, service_id: uuid.UUID | None = None
) -> str:
    """``service_id``: the service that the request was for; ``None`` for the portal's own API."""
    parts = [f'realm="{realm}"']
    said = {"error": error, "error_description": description, "scope": scope}
    for name, value in (said | {"resource_metadata": metadata_url(service_id)}).items():
        if value:
            parts.append(f'{name}="{value}"')
    return f"Bearer {', '.join(parts)}"


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Turns an exception of a view into a problem document. Returns ``None`` for a bug, which becomes a 500."""
    problem = _as_api_exception(error)
    if problem is None:
        return None
    request: HttpRequest = context["request"]._request
    code = _code(problem)
    errors = _field_errors(problem.detail) if isinstance(problem, exceptions.ValidationError) else None
    if is_scim(request):
        body = _scim_body(problem.status_code, _scim_detail(problem, errors), _scim_type(problem, code))
    else:
        body = problem_body(request, problem.status_code, detail=_detail(problem), code=code, errors=errors)
    headers = {}
    if challenge := _challenge(problem):
        headers["WWW-Authenticate"] = challenge
    if isinstance(problem, exceptions.Throttled) and (wait := getattr(problem, "wait", None)) is not None:
        headers["Retry-After"] = str(max(1, wait))
    if problem.status_code == 503:
        headers["Retry-After"] = "5"
    if isinstance(problem, exceptions.MethodNotAllowed):
        headers["Allow"] = ", ".join(context["view"].allowed_methods)
    response = Response(body, status=problem.status_code, headers=headers, content_type=content_type_for(request))
    response.problem_code = code  # type: ignore[attr-defined]
    return response


def problem_response(request: HttpRequest, status_code: int, detail: str, code: str = "") -> JsonResponse:
    """A problem document for errors outside of views: in middleware and Django's own error handlers."""
    response = JsonResponse(
        error_body(request, status_code, detail, code), status=status_code, content_type=content_type_for(request)
    )
    if status_code == 503:
        response["Retry-After"] = "5"
    return response


def error_body(request: HttpRequest, status_code: int, detail: str, code: str = "") -> dict[str, Any]:
    """The error in the shape of the requested address."""
    if is_scim(request):
        return _scim_body(status_code, detail, "")
    if is_oauth(request):
        return oauth_body(_OAUTH_ERRORS.get(status_code, "invalid_request"), detail)
    return problem_body(request, status_code, detail=detail, code=code)


def content_type_for(request: HttpRequest) -> str:
    if is_oauth(request):
        return "application/json"
    return SCIM_CONTENT_TYPE if is_scim(request) else CONTENT_TYPE


def oauth_body(error: str, description: str) -> dict[str, Any]:
    """``error``: for programs. ``description``: for people, in ASCII."""
    return {"error": error, "error_description": without_tokens(description)}


_OAUTH_ERRORS = {429: "temporarily_unavailable", 500: "server_error", 503: "temporarily_unavailable"}


def problem_body(
    request: HttpRequest,
    status_code: int,
    *,
    detail: str,
    code: str = "",
    errors: dict[str, list[str]] | None = None,
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": TITLES.get(status_code, "Error"),
        "status": status_code,
        "detail": without_tokens(detail),
        "code": code or CODES.get(status_code, "error"),
        "request_id": str(getattr(request, "request_id", "")),
    }
    if errors is not None:
        # Some messages repeat what the client sent. They must not repeat a token that was sent in the wrong place.
        body["errors"] = {
            without_tokens(field): [without_tokens(message) for message in messages]
            for field, messages in errors.items()
        }
    return body


def _scim_body(status_code: int, detail: str, scim_type: str) -> dict[str, Any]:
    body = {"schemas": [SCIM_ERROR], "status": str(status_code), "detail": without_tokens(detail)}
    return body | {"scimType": scim_type} if scim_type else body


def _scim_detail(problem: exceptions.APIException, errors: dict[str, list[str]] | None) -> str:
    """SCIM has no errors by field, so the detail names the attributes."""
    if errors is None:
        return _detail(problem)
    return " ".join(f"{field}: {' '.join(messages)}" for field, messages in errors.items())


def _scim_type(problem: exceptions.APIException, code: str) -> str:
    if isinstance(problem, Problem) and problem.scim_type:
        return problem.scim_type
    if code in _TAKEN:
        return "uniqueness"
    if isinstance(problem, exceptions.ParseError):
        return "invalidSyntax"
    return "invalidValue" if isinstance(problem, exceptions.ValidationError) else ""


_TAKEN = {"email_taken", "name_taken"}


def _as_api_exception(error: Exception) -> exceptions.APIException | None:
    if isinstance(error, exceptions.APIException):
        return error
    if isinstance(error, ChangedMeanwhile):
        return PreconditionFailed()
    if isinstance(error, DomainError):
        return DomainProblem(error)
    if isinstance(error, ValidationError):
        return exceptions.ValidationError(_by_field(error))
    if isinstance(error, Http404):
        return exceptions.NotFound("There is nothing at this address.")
    if isinstance(error, PermissionDenied):
        return Forbidden()
    if isinstance(error, RequestDataTooBig):
        return ContentTooLarge()
    if isinstance(error, UnreadablePostError):
        return Problem(BODY_INCOMPLETE)
    if isinstance(error, SuspiciousOperation):
        return Problem()
    if isinstance(error, DATABASE_UNAVAILABLE):
        logger.error("The database cannot be reached or written: %s", error)
        refused_writes.note(error)
        return Unavailable()
    return None


def _by_field(error: ValidationError) -> dict[str, list[str]]:
    return error.message_dict if hasattr(error, "error_dict") else {"non_field_errors": error.messages}


def _code(problem: exceptions.APIException) -> str:
    if isinstance(problem, Problem | TokenRefused):
        codes = problem.get_codes()
        return codes if isinstance(codes, str) else problem.default_code
    return CODES.get(problem.status_code, "error")


def _detail(problem: exceptions.APIException) -> str:
    if isinstance(problem, exceptions.ValidationError):
        return "Some fields are missing or wrong; `errors` says which and why."
    if isinstance(problem, exceptions.NotAuthenticated):
        return "Send a personal access token as `Authorization: Bearer ...`, or sign in to the portal."
    return str(problem.detail)


def _challenge(problem: exceptions.APIException) -> str | None:
    if isinstance(problem, Problem | TokenRefused):
        return problem.authenticate
    if isinstance(problem, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
        # RFC 6750 section 3.1: no error code for a request without credentials.
        return bearer_challenge()
    return None


def _field_errors(detail: Any, prefix: str = "") -> dict[str, list[str]]:
    """Flattens DRF's nested errors into ``{"steps.0.url": ["..."]}``."""
    if isinstance(detail, dict):
        merged: dict[str, list[str]] = {}
        for key, value in detail.items():
            merged.update(_field_errors(value, f"{prefix}.{key}" if prefix else str(key)))
        return merged
    if isinstance(detail, list) and any(isinstance(item, dict | list) for item in detail):
        merged = {}
        for index, value in enumerate(detail):
            if value:
                merged.update(_field_errors(value, f"{prefix}.{index}" if prefix else str(index)))
        return merged
    messages = detail if isinstance(detail, list) else [detail]
    return {prefix or "non_field_errors": [str(message) for message in messages]}
