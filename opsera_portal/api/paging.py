"""How every list of the API is cut into pages and answered."""

from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from opsera_portal.keyset import InvalidCursor, Keyset

MAX_PAGE_SIZE = 1000


class PageQuery(serializers.Serializer[Any]):
    """The query parameters that every list understands."""

    cursor = serializers.CharField(
        required=False, max_length=500, help_text="Where to go on: from `next` of the answer before."
    )


def page_response(
    request: Request,
    queryset: QuerySet[Any],
    serializer_class: type[serializers.BaseSerializer[Any]],
    *,
    keyset: Keyset,
    cursor: str | None,
    size: int,
    searched: QuerySet[Any] | None = None,
    context: dict[str, Any] | None = None,
) -> Response:
    """``{"count": rows in this answer, "data": [...], "next": address of the next page or null}``.

    ``searched``: see ``Keyset.page``; a search may end before the page is full, and ``next`` goes on there.
    """
    try:
        page = keyset.page(queryset, cursor=cursor, size=size, searched=searched)
    except InvalidCursor as error:
        raise serializers.ValidationError({"cursor": [str(error)]}) from error
    serializer = serializer_class(page.rows, many=True, context={"request": request, **(context or {})})
    return Response(
        {"count": len(page.rows), "data": serializer.data, "next": next_url(request, cursor=page.next_cursor)}
    )


def next_url(request: Request, **position: str | None) -> str | None:
    """The address of this request with another ``position``, a parameter and its value; ``None`` without a value."""
    [(name, value)] = position.items()
    if value is None:
        return None
    query = request.query_params.copy()
    query[name] = value
    return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")
