"""Security headers of every response that is not to a token: pages, files, redirects and refusals.

Django, django-csp and django-permissions-policy set the others.
"""

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

# Defaults: a response can set its own value.
HEADERS = {
    # Pages have a policy of their own (CONTENT_SECURITY_POLICY). Other responses are data, and no browser should run or
    # frame them.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    # No other site loads anything from the portal, and no page of the portal loads anything from elsewhere.
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    # Files and public keys, which are the same for everyone, allow caching themselves.
    "Cache-Control": "no-store",
}


class SecurityHeadersMiddleware:
    """Sets the headers. It is above all middleware of pages, so it also covers responses that those create themselves.

    Answers to tokens have fewer (`core/api/answer_headers.py`).
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response
