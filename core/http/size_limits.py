"""Limits on the size of a request. They are checked before any of it is read."""

from django.conf import settings
from django.core.exceptions import BadRequest
from django.http import HttpRequest

from core.http.request_bodies import declared_length

# The longest query of any list or page is far shorter.
MAX_QUERY_LENGTH = 8 * 1024


def check_query_length(request: HttpRequest) -> None:
    """Raises ``BadRequest`` for a query string that is too long or has too many parameters."""
    query = request.META.get("QUERY_STRING", "")
    if len(query) > MAX_QUERY_LENGTH:
        raise BadRequest("A query string of more than 8 KiB")
    if query.count("&") >= settings.DATA_UPLOAD_MAX_NUMBER_FIELDS:
        raise BadRequest("A query string of more parameters than any form has fields")


def body_is_too_large(request: HttpRequest) -> bool:
    """Whether the body that the request declares is over the limit, or its length cannot be read."""
    length = declared_length(request.META)
    return length is None or length > settings.DATA_UPLOAD_MAX_MEMORY_SIZE
