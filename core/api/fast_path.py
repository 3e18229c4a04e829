"""Fast path for API requests with a token, and for those of proxies: resolves the URL and calls the view without the
page middleware.

Sessions, forms, messages and static files belong to pages, and their middleware costs more than checking a token and
logging its use. Requests with a token need none of it. The few things that they do need from it are done here, and a
test compares the answers of both ways.
"""

from collections.abc import Callable
from typing import cast

from django.conf import settings
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import SimpleTemplateResponse
from django.urls import ResolverMatch, resolve

from core.api import problems
from core.http.public_address import take_host_from_portal_url
from core.http.request_context import carries_token, is_for_proxies
from core.http.size_limits import body_is_too_large, check_query_length


class TokenFastPathMiddleware:
    """Answers API requests with an ``Authorization`` header, and all that proxies of services ask or pass on; no
    middleware below this one sees them."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not (carries_token(request) or is_for_proxies(request)):
            return self.get_response(request)
        response = cast(HttpResponseBase, _answer_or_error(request))
        if isinstance(response, HttpResponse):
            response.headers.setdefault("Content-Length", str(len(response.content)))
        return response


def _answer(request: HttpRequest) -> HttpResponseBase:
    take_host_from_portal_url(request)
    request.get_host()  # raises DisallowedHost
    check_query_length(request)
    if body_is_too_large(request):
        return problems.problem_response(request, 413, problems.ContentTooLarge.default_detail)
    match = request.resolver_match = _resolve(settings.ROOT_URLCONF, request.path_info)
    response = match.func(request, *match.args, **match.kwargs)
    return response.render() if isinstance(response, SimpleTemplateResponse) else response


def _resolve(urlconf: str, path: str) -> ResolverMatch:
    """As ``resolve``. Remembers routes without parameters: they are few, and no client can invent one."""
    match = _fixed_routes.get((urlconf, path))
    if match is None:
        match = resolve(path, urlconf)
        if match.url_name is not None and not match.kwargs and not match.args:
            _fixed_routes[urlconf, path] = match
    return match


_fixed_routes: dict[tuple[str, str], ResolverMatch] = {}

# Django's own error handlers answer errors, as they do around each middleware.
_answer_or_error = convert_exception_to_response(_answer)
