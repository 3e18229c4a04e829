"""Bases of tables: paging, and columns for times, states and code."""

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django_tables2 import Column, Table
from django_tables2.data import TableQuerysetData

from core.pages.templatetags.portal import badge, moment, relative

ROWS_PER_PAGE = 50
MAX_ROWS_PER_PAGE = 200


class PortalTable(Table):
    """A table that limits `per_page` of the address."""

    def paginate(self, *args: Any, per_page: int | None = None, **kwargs: Any) -> None:
        size = per_page if per_page is not None and 0 < per_page <= MAX_ROWS_PER_PAGE else ROWS_PER_PAGE
        if isinstance(self.data, TableQuerysetData):
            # Sorts by the key last, so that rows with equal values don't change places between pages. In the same
            # direction as the field before it, so that an index which ends with the key can be used.
            rows = self.data.data
            order = rows.query.order_by or rows.model._meta.ordering
            key = "-pk" if str(order[-1]).startswith("-") else "pk"
            self.data.data = rows.order_by(*order, key)
        super().paginate(*args, per_page=size, **kwargs)

    def leading_back(self, url: str) -> str:
        """The address of an action on a row that leads back to this table with its filters, order and page."""
        request = getattr(self, "request", None)
        if request is None or not request.META.get("QUERY_STRING"):
            return url
        return f"{url}?{urlencode({'next': request.get_full_path()})}"


class MomentColumn(Column):
    """A time in words, with the exact time as a tooltip, aligned right."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("attrs", {"td": {"class": "numeric"}, "th": {"class": "numeric"}})
        kwargs.setdefault("default", "–")
        super().__init__(**kwargs)

    def render(self, value: datetime) -> SafeString | str:
        return moment(value)


class ExactMomentColumn(MomentColumn):
    """A time (UTC) with seconds, for logs."""

    def render(self, value: datetime) -> SafeString:
        return format_html(
            '<time datetime="{}" title="{}">{}</time>',
            value.isoformat(),
            relative(value),
            f"{value:%Y-%m-%d %H:%M:%S}",
        )


class BadgeColumn(Column):
    """A state. The value is a `core.badges.Badge`."""

    def render(self, value: Any) -> SafeString:
        return badge(value)


class CodeColumn(Column):
    """An id, a path or an address, in a monospace font."""

    def render(self, value: Any) -> SafeString:
        return format_html("<code>{}</code>", value)
