"""How every list of the API is cut into pages and answered."""

from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.utils.encoding import escape_uri_path
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from core.db.keyset import InvalidCursor, Keyset

MAX_PAGE_SIZE = 1000


class PageQuery(serializers.Serializer[Any]):
    """The query parameters of every list."""

    cursor = serializers.CharField(
        required=False, max_length=500, help_text="Where to go on: from `next` of the answer before."
    )
    page_size = serializers.IntegerField(
        required=False, default=100, min_value=1, max_value=MAX_PAGE_SIZE, help_text="Rows in one answer at most."
    )


class LargePageQuery(PageQuery):
    """For the published lists and the logs, which answer as many rows as they can unless told otherwise."""

    page_size = serializers.IntegerField(
        required=False,
        default=MAX_PAGE_SIZE,
        min_value=1,
        max_value=MAX_PAGE_SIZE,
        help_text="Rows in one answer at most.",
    )


class PublishedPageQuery(LargePageQuery):
    """For the routes that were published with `count`. Scripts that send it keep working."""

    count = serializers.IntegerField(
        required=False, min_value=1, max_value=MAX_PAGE_SIZE, help_text="The published name of `page_size`."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "count" in attrs:
            if "page_size" in self.initial_data:
                raise serializers.ValidationError({"count": ["Give either `page_size` or `count`, not both."]})
            attrs["page_size"] = attrs.pop("count")
        checked: dict[str, Any] = super().validate(attrs)
        return checked


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
    return f"{settings.PORTAL_URL}{escape_uri_path(request.path)}?{query.urlencode()}"
