"""The short way of a request that is made with a token: from its address to its view and back.

Sessions, forms, messages and static files are the pages' and cost a request more than its check and its entry in the
log together. A token has none of them, so none of their middleware is passed; what such a request does need from them
stands here, and a test compares the two ways.
"""

from typing import cast

from django.conf import settings
from django.core.exceptions import BadRequest
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import SimpleTemplateResponse
from django.urls import resolve

from core.api import problems
from core.http.request_bodies import declared_length

MAX_QUERY_LENGTH = 8 * 1024


def _answer(request: HttpRequest) -> HttpResponseBase:
    request.get_host()  # raises for a host that is not ours
    check_query_length(request)
    if body_is_too_large(request):
        return problems.problem_response(request, 413, problems.ContentTooLarge.default_detail)
    match = request.resolver_match = resolve(request.path_info)
    response = match.func(request, *match.args, **match.kwargs)
    return response.render() if isinstance(response, SimpleTemplateResponse) else response


# Errors become answers as they do around each middleware: Django's own handlers, by status.
_answer_or_error = convert_exception_to_response(_answer)


def answer(request: HttpRequest) -> HttpResponseBase:
    response = cast(HttpResponseBase, _answer_or_error(request))
    if isinstance(response, HttpResponse):
        response.headers.setdefault("Content-Length", str(len(response.content)))
    return response


def check_query_length(request: HttpRequest) -> None:
    """Before any of it is read. Far more than all parameters of any list or page at their longest."""
    query = request.META.get("QUERY_STRING", "")
    if len(query) > MAX_QUERY_LENGTH:
        raise BadRequest("A query string of more than 8 KiB")
    if query.count("&") >= settings.DATA_UPLOAD_MAX_NUMBER_FIELDS:
        raise BadRequest("A query string of more parameters than any form has fields")


def body_is_too_large(request: HttpRequest) -> bool:
    """By what its head says, before any of it is read."""
    length = declared_length(request.META)
    return length is None or length > settings.DATA_UPLOAD_MAX_MEMORY_SIZE
