"""Django's error handlers: a page for people, or a problem document for addresses of the API."""

import logging
import sys

from django.core.exceptions import DisallowedHost, SuspiciousOperation
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.translation import gettext as _

from core.api import problems
from core.db.unavailable import DATABASE_UNAVAILABLE, refused_writes
from core.http.public_address import SCHEME_UNKNOWN, WRONG_HOST, tell_wrong_host
from core.http.request_context import PortalRequest, is_api, target

logger = logging.getLogger(__name__)

# Only for the API: pages have their own texts.
DETAILS = {
    400: "The portal could not read this request.",
    403: "You aren't allowed to do this.",
    404: "There is nothing at this address.",
    413: problems.ContentTooLarge.default_detail,
    500: "Something went wrong in the portal. It was not your request.",
    503: problems.Unavailable.default_detail,
}


def bad_request(request: PortalRequest, exception: Exception | None = None) -> HttpResponseBase:
    """Logs one line: Django itself would log a traceback, which strangers could cause."""
    if isinstance(exception, DisallowedHost):
        tell_wrong_host(request)
        return _answer(request, 400, _(WRONG_HOST))
    if isinstance(exception, SuspiciousOperation):
        logger.warning(
            "400 for %s: %s, %s %s (request %s)",
            request.client_address,
            type(exception).__name__,
            request.method,
            target(request),
            request.request_id,
        )
    return _answer(request, 400)


def scheme_unknown(request: HttpRequest) -> HttpResponseBase:
    """Rendered without the request's context, because there is no session yet."""
    content = render_to_string("proxy.html", {"explanation": _(SCHEME_UNKNOWN)})
    return HttpResponse(content, status=503, headers={"Retry-After": "5"})


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponseBase:
    return _answer(request, 403, str(exception or ""))


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponseBase:
    return _answer(request, 404)


def too_many_requests(request: HttpRequest, explanation: str, *, retry_after: int) -> HttpResponse:
    """``retry_after`` in seconds."""
    response = render(request, "429.html", {"headline": _("Too many requests"), "explanation": explanation}, status=429)
    response["Retry-After"] = str(retry_after)
    return response


def method_not_allowed(
    request: HttpRequest, response: HttpResponseBase, page: str, *, is_button: bool
) -> HttpResponseBase:
    """``is_button``: someone opened the address of a button like a page. ``page``: where to go instead."""
    if request.method == "HEAD":
        return response
    answer = render(request, "405.html", {"page": page, "is_button": is_button}, status=405)
    answer["Allow"] = response["Allow"]
    return answer


def server_error(request: HttpRequest) -> HttpResponseBase:
    """Rendered without the request's context, because the header would query the database, which may be down."""
    error = sys.exc_info()[1]
    refused_writes.note(error)
    status = 503 if isinstance(error, DATABASE_UNAVAILABLE) else 500
    if is_api(request):
        return problems.problem_response(request, status, DETAILS[status])
    headers = {"Retry-After": "5"} if status == 503 else {}
    return HttpResponse(render_to_string(f"{status}.html"), status=status, headers=headers)


def content_too_large(request: HttpRequest) -> HttpResponseBase:
    """Rendered without the request's context, because there is no session yet."""
    if is_api(request):
        return problems.problem_response(request, 413, DETAILS[413])
    return HttpResponse(render_to_string("413.html"), status=413)


def body_incomplete(request: HttpRequest) -> HttpResponseBase:
    return _answer(request, 400, _(problems.BODY_INCOMPLETE))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponseBase:
    return _answer(
        request,
        403,
        _("This form was open for too long, or cookies are blocked. Go back, reload, and try again."),
    )


def _answer(request: HttpRequest, status: int, explanation: str = "") -> HttpResponse:
    if is_api(request):
        return problems.problem_response(request, status, explanation or DETAILS[status])
    return render(request, f"{status}.html", {"explanation": explanation}, status=status)
