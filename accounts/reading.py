"""Shows each page in the language and the time zone of the person who reads it."""

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.utils.translation import get_language, get_language_from_request, override

from core.http.request_context import is_api
from core.reading import reading_as

GetResponse = Callable[[HttpRequest], HttpResponseBase]


def is_in_english(request: HttpRequest) -> bool:
    """Everything that programs and operators read."""
    return is_api(request) or request.path_info.startswith(("/api/schema/", "/admin/"))


class BrowserLanguageMiddleware:
    """The first language of the browser that the portal speaks. Also for errors before it is known who is there."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if is_in_english(request):
            return self.get_response(request)
        with override(get_language_from_request(request)):
            return self.get_response(request)


class ReadingMiddleware:
    """The person's own language, or else that of the browser, and the person's time zone."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if is_in_english(request):
            return self.get_response(request)
        person = request.user
        own_language, time_zone = (person.language, person.time_zone) if person.is_authenticated else ("", "")
        language = own_language or get_language() or ""
        with reading_as(language, time_zone):
            response = self.get_response(request)
        response.headers.setdefault("Content-Language", language)
        if not own_language:
            patch_vary_headers(response, ["Accept-Language"])
        return response
