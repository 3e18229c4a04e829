"""Middleware for every page: host and scheme, size limits, the log of refusals, OPTIONS, and no caching."""

import logging
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.http.response import HttpResponseBase

from core.http.public_address import scheme_is_unknown, take_host_from_portal_url
from core.http.request_context import PortalRequest, is_api, target
from core.http.size_limits import body_is_too_large, check_query_length
from core.pages import errors

logger = logging.getLogger(__name__)

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class ProxyMiddleware:
    """Takes the portal's host from `PORTAL_URL`, and refuses requests that a proxy passed on without their scheme.

    A redirect to https would come back the same way, again and again.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        take_host_from_portal_url(request)
        # The API and the health probes are never redirected. The API refuses such requests itself, and logs them.
        is_redirected = settings.SECURE_SSL_REDIRECT and not (is_api(request) or is_health_probe(request))
        if is_redirected and not request.is_secure() and scheme_is_unknown(request):
            return errors.scheme_unknown(request)
        return self.get_response(request)


def is_health_probe(request: HttpRequest) -> bool:
    return request.path_info in {"/healthz", "/readyz"}


class HealthProbeMiddleware:
    """Allows health probes with any `Host`: load balancers use the machine's address, and the answer names no host."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if is_health_probe(request):
            request.META["HTTP_HOST"] = settings.ALLOWED_HOSTS[0]
        return self.get_response(request)


class SizeLimitMiddleware:
    """Refuses a query or body that is too large before it is read, on pages and in the API."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        check_query_length(request)
        return errors.content_too_large(request) if body_is_too_large(request) else self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponseBase | None:
        """A body that did not arrive is a problem of the connection, not a bug: it must not log a traceback."""
        return errors.body_incomplete(request) if isinstance(exception, UnreadablePostError) else None


class RefusalLogMiddleware:
    """Logs a line for each 403 and 404 of a signed-in person.

    The authentication log has what was refused to a token. People who are not signed in cannot fill the log.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: PortalRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if response.status_code in {403, 404} and request.user.is_authenticated:
            logger.warning(
                "%s for person %s from %s: %s %s (request %s)",
                response.status_code,
                request.user.pk,
                request.client_address,
                request.method,
                target(request),
                request.request_id,
            )
        return response


class OptionsMiddleware:
    """Answers OPTIONS with 204 and `Allow` if the view answers with an empty page or 405.

    Pages for signed-in people still require signing in first.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if request.method != "OPTIONS" or response.status_code not in {200, 405} or "Allow" not in response.headers:
            return response
        methods = dict.fromkeys([*response.headers["Allow"].split(", "), "OPTIONS"])
        return HttpResponse(status=204, headers={"Allow": ", ".join(methods)})


class PrivatePagesMiddleware:
    """Forbids caching of every response to a signed-in person."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if request.user.is_authenticated:
            response["Cache-Control"] = "no-store"
        return response
