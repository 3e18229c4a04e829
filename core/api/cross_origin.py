"""Lets scripts of other sites call the API with a token, where an operator lists their origins (CORS).

django-cors-headers answers preflight requests and sets the headers. Added here: such a request has no session, because
its cookies are ignored; and without listed origins the middleware is not used at all.
"""

from collections.abc import Awaitable, Callable
from urllib.parse import SplitResult

from corsheaders.middleware import CorsMiddleware
from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest
from django.http.response import HttpResponseBase


class CrossOriginMiddleware(CorsMiddleware):
    """Wraps the fast path of tokens, so that every answer has the headers, refusals too."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        if not settings.CORS_ALLOWED_ORIGINS:
            raise MiddlewareNotUsed
        super().__init__(get_response)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if request.META.get("HTTP_ORIGIN") in settings.CORS_ALLOWED_ORIGINS and self.is_enabled(request):
            request.META.pop("HTTP_COOKIE", None)
        return super().__call__(request)

    def origin_found_in_white_lists(self, origin: str, url: SplitResult) -> bool:
        """The library would also take what only begins with a listed origin."""
        return origin in settings.CORS_ALLOWED_ORIGINS
