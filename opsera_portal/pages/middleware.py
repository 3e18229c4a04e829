"""What holds for every page: who may ask by which name, how much may be sent, and what no cache keeps."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from opsera_portal.api.dispatch import body_is_too_large, check_query_length
from opsera_portal.pages import errors

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class HealthProbeMiddleware:
    """Lets load balancers ask by the machine's address, which is no host of the portal's: the answer names no host."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info in {"/healthz", "/readyz"}:
            request.META["HTTP_HOST"] = settings.ALLOWED_HOSTS[0]
        return self.get_response(request)


class SizeLimitMiddleware:
    """Refuses a query or a body that is too large before any of it is read, on pages and in the API."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        check_query_length(request)
        return errors.content_too_large(request) if body_is_too_large(request) else self.get_response(request)


class PrivatePagesMiddleware:
    """Pages and answers for signed-in people are nobody else's: no cache keeps them."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if request.user.is_authenticated:
            response["Cache-Control"] = "no-store"
        return response
