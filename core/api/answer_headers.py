"""The headers of answers to API requests with a token, and to the proxies of services.

There are few, so that a small answer is not mostly headers: those of pages that forbid cameras, frames and referrers
mean nothing for data that no browser opens as a page (OWASP, REST Security Cheat Sheet).
"""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from core.http.own_headers import checked, list_at_once, set_missing, set_own
from core.http.request_context import carries_token, is_for_proxies

HEADERS = {
    "Cache-Control": "no-store",
    # For a browser that opens the answer nevertheless: nothing in it runs, and nothing frames it.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_CHECKED = checked(HEADERS)


class TokenAnswerHeadersMiddleware:
    """Sets the headers. It is above the middleware that logs and answers, so that their refusals have them too."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if carries_token(request) or is_for_proxies(request):
            protect(request, response)
            list_at_once(response)
        return response


def protect(request: HttpRequest, response: HttpResponseBase) -> None:
    set_missing(response, _CHECKED)
    # The portal does not decide for the hosts of services and the hosts below them.
    if settings.SECURE_HSTS_SECONDS and request.is_secure() and not is_for_proxies(request):
        set_own(response, "Strict-Transport-Security", strict_transport_security())


def strict_transport_security() -> str:
    """The value that Django's SecurityMiddleware sends with pages."""
    directives = [f"max-age={settings.SECURE_HSTS_SECONDS}"]
    if settings.SECURE_HSTS_INCLUDE_SUBDOMAINS:
        directives.append("includeSubDomains")
    if settings.SECURE_HSTS_PRELOAD:
        directives.append("preload")
    return "; ".join(directives)
