"""Shows each page in the language and the time zone of the person who reads it."""

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.utils.translation import get_language_from_request

from core.reading import reading_as

# They are always in English, and their times in UTC.
IN_ENGLISH = ("/api/", "/admin/")


class ReadingMiddleware:
    """The person's own language, or the first one of the browser that the portal speaks."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith(IN_ENGLISH):
            return self.get_response(request)
        person = request.user
        own_language, time_zone = (person.language, person.time_zone) if person.is_authenticated else ("", "")
        language = own_language or get_language_from_request(request)
        with reading_as(language, time_zone):
            response = self.get_response(request)
        response.headers.setdefault("Content-Language", language)
        if not own_language:
            patch_vary_headers(response, ["Accept-Language"])
        return response
