"""The pages of the API's lists, and the shape of their answers."""

from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.utils.encoding import escape_uri_path
from rest_framework import serializers
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response

from core.db.keyset import InvalidCursor

MAX_PAGE_SIZE = 1000


class PageQuery(serializers.Serializer[Any]):
    """The query parameters of every list."""

    cursor = serializers.CharField(
        required=False, max_length=500, help_text="Where the page begins: from `next` of the previous answer."
    )
    page_size = serializers.IntegerField(
        required=False, default=100, min_value=1, max_value=MAX_PAGE_SIZE, help_text="Rows in one answer, at most."
    )


class LargePageQuery(PageQuery):
    """For the published lists and the logs, which have large pages by default."""

    page_size = serializers.IntegerField(
        required=False,
        default=MAX_PAGE_SIZE,
        min_value=1,
        max_value=MAX_PAGE_SIZE,
        help_text="Rows in one answer, at most.",
    )


class SmallPageQuery(PageQuery):
    """For lists whose rows have lists of their own."""

    page_size = serializers.IntegerField(
        required=False, default=100, min_value=1, max_value=100, help_text="Rows in one answer, at most."
    )


class PublishedPageQuery(LargePageQuery):
    """For the routes that were published with `count`, which scripts may still send."""

    count = serializers.IntegerField(
        required=False, min_value=1, max_value=MAX_PAGE_SIZE, help_text="The same as `page_size`, under its first name."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "count" in attrs:
            if "page_size" in self.initial_data:
                raise serializers.ValidationError({"count": ["Send either `page_size` or `count`, not both."]})
            attrs["page_size"] = attrs.pop("count")
        checked: dict[str, Any] = super().validate(attrs)
        return checked


class WholeList(BasePagination):
    """For lists that are always short: all rows in one answer. It has the shape of all lists."""

    query_class: type[serializers.Serializer[Any]] = serializers.Serializer
    _next_url: str | None = None

    @property
    def query_names(self) -> frozenset[str]:
        return frozenset(self.query_class().fields)

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        return list(queryset)

    def get_paginated_response(self, data: Any) -> Response:
        """``{"count": rows in this answer, "data": [...], "next": address of the next page or null}``."""
        return Response({"count": len(data), "data": data, "next": self._next_url})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "object",
            "required": ["count", "data", "next"],
            "properties": {
                "count": {"type": "integer", "description": "Rows in this answer."},
                "data": schema,
                "next": {"type": ["string", "null"], "format": "uri"},
            },
        }


class KeysetPagination(WholeList):
    """Pages by position, in the order of the view's ``keyset``."""

    query_class: type[PageQuery] = PageQuery

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        return self.page(queryset, self._read(request), request, view)

    def page(self, queryset: QuerySet[Any], query: dict[str, Any], request: Request, view: Any) -> list[Any]:
        """A search may end before the page is full; ``next`` continues there (``Keyset.page``)."""
        try:
            page = view.keyset.page(
                queryset, cursor=query.get("cursor"), size=query["page_size"], searched=view.get_searched()
            )
        except InvalidCursor as error:
            raise serializers.ValidationError({"cursor": [str(error)]}) from error
        self._next_url = next_url(request, cursor=page.next_cursor)
        rows: list[Any] = page.rows
        return rows

    def _read(self, request: Request) -> dict[str, Any]:
        given = {name: value for name, value in request.query_params.items() if name in self.query_names}
        serializer = self.query_class(data=given)
        serializer.is_valid(raise_exception=True)
        query: dict[str, Any] = serializer.validated_data
        return query


class LargePages(KeysetPagination):
    query_class = LargePageQuery


class SmallPages(KeysetPagination):
    query_class = SmallPageQuery


def next_url(request: Request, **position: str | None) -> str | None:
    """The address of this request with another ``position``, a parameter and its value; ``None`` without a value."""
    [(name, value)] = position.items()
    if value is None:
        return None
    query = request.query_params.copy()
    query[name] = value
    return f"{settings.PORTAL_URL}{escape_uri_path(request.path)}?{query.urlencode()}"
