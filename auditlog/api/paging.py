"""Pages of a log: from a position in the list, or followed in the order in which entries become final."""

from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request

from auditlog import following
from core.api.paging import KeysetPagination, LargePageQuery, PublishedPageQuery, next_url
from core.db.keyset import InvalidCursor


class LogPageQuery(LargePageQuery):
    after = serializers.CharField(
        required=False,
        max_length=500,
        help_text="Follows the log: entries in the order in which they became final, oldest first. `start` begins with "
        "the oldest entry, `now` with the next new one. Then continue with `next`, which is never null.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "after" in attrs and "cursor" in attrs:
            raise serializers.ValidationError({"after": ["Send either `after` or `cursor`, not both."]})
        checked: dict[str, Any] = super().validate(attrs)
        return checked


class PublishedLogPageQuery(PublishedPageQuery, LogPageQuery):
    """For the two routes that were published with `count`."""


class LogPages(KeysetPagination):
    query_class = LogPageQuery

    def page(self, queryset: QuerySet[Any], query: dict[str, Any], request: Request, view: Any) -> list[Any]:
        if "after" not in query:
            return super().page(queryset, query, request, view)
        try:
            rows, cursor = following.follow(queryset, after=query["after"], size=query["page_size"])
        except InvalidCursor as error:
            raise serializers.ValidationError({"after": [str(error)]}) from error
        self._next_url = next_url(request, after=cursor)
        return rows


class PublishedLogPages(LogPages):
    query_class = PublishedLogPageQuery
