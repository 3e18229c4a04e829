"""Lets scripts of other sites call the API with a token, if an operator lists their origins (CORS).

django-cors-headers answers preflight requests and sets the headers. This middleware also ignores the cookies of such
requests, so that they have no session. Without listed origins, it is not used at all.
"""

from collections.abc import Awaitable, Callable
from urllib.parse import SplitResult

from corsheaders.middleware import CorsMiddleware
from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from core.api.answer_headers import protect


class CrossOriginMiddleware(CorsMiddleware):
    """Is outside of the fast path for tokens, so that every answer has the headers, also refusals."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        if not settings.CORS_ALLOWED_ORIGINS:
            raise MiddlewareNotUsed
        super().__init__(get_response)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if request.META.get("HTTP_ORIGIN") in settings.CORS_ALLOWED_ORIGINS and self.is_enabled(request):
            request.META.pop("HTTP_COOKIE", None)
        response = super().__call__(request)
        if isinstance(response, HttpResponseBase) and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in request.META:
            # No other middleware sees the answer to a preflight request.
            protect(request, response)
        return response

    def origin_found_in_white_lists(self, origin: str, url: SplitResult) -> bool:
        """The library would also accept an origin that only begins with a listed one."""
        return origin in settings.CORS_ALLOWED_ORIGINS
