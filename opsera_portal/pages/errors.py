"""Django's own error handlers: a page for people, a problem document under the API's address."""

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render

from opsera_portal.api import problems
from opsera_portal.request_context import is_api


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponseBase:
    return _answer(request, 400, "The request cannot be understood.")


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponseBase:
    return _answer(request, 403, str(exception or "") or "You may not do this.")


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponseBase:
    return _answer(request, 404, "There is nothing at this address.")


def server_error(request: HttpRequest) -> HttpResponseBase:
    return _answer(request, 500, "The portal made a mistake. Nothing of your request is to blame.")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponseBase:
    return _answer(
        request,
        403,
        "This form was open for too long, or cookies are blocked. Go back, reload, and try again.",
    )


def _answer(request: HttpRequest, status: int, explanation: str) -> HttpResponse:
    if is_api(request):
        return problems.problem_response(request, status, explanation)
    return render(request, f"{status}.html", {"explanation": explanation}, status=status)
