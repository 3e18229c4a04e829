"""What all tables share: how they are paged, and how their cells read."""

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django_tables2 import Column, Table
from django_tables2.data import TableQuerysetData

from core.pages.templatetags.portal import exact, relative

ROWS_PER_PAGE = 50
MAX_ROWS_PER_PAGE = 200


class PortalTable(Table):
    """A table whose `per_page` in the address cannot ask for nothing, or for everything."""

    def paginate(self, *args: Any, per_page: int | None = None, **kwargs: Any) -> None:
        size = per_page if per_page is not None and 0 < per_page <= MAX_ROWS_PER_PAGE else ROWS_PER_PAGE
        if isinstance(self.data, TableQuerysetData):
            # Rows that are equal in what they are sorted by would otherwise change places between two pages. In the
            # direction of the sorting before it, so that an index which ends in the key serves both.
            rows = self.data.data
            order = rows.query.order_by or rows.model._meta.ordering
            key = "-pk" if str(order[-1]).startswith("-") else "pk"
            self.data.data = rows.order_by(*order, key)
        super().paginate(*args, per_page=size, **kwargs)

    def leading_back(self, url: str) -> str:
        """The address of an action on a row, which leads back to the table as it is: filtered, sorted, on this page."""
        request = getattr(self, "request", None)
        if request is None or not request.META.get("QUERY_STRING"):
            return url
        return f"{url}?{urlencode({'next': request.get_full_path()})}"


class MomentColumn(Column):
    """A time, in words with the exact time at hand, aligned at the right."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("attrs", {"td": {"class": "numeric"}, "th": {"class": "numeric"}})
        kwargs.setdefault("default", "–")
        super().__init__(**kwargs)

    def render(self, value: datetime) -> SafeString:
        context = {"value": value, "relative": relative(value), "exact": exact(value)}
        return render_to_string("includes/moment.html", context)


class ExactMomentColumn(MomentColumn):
    """A time (UTC) down to the second, for logs: entries of one minute must be told apart."""

    def render(self, value: datetime) -> SafeString:
        return format_html(
            '<time datetime="{}" title="{}">{}</time>',
            value.isoformat(),
            relative(value),
            f"{value:%Y-%m-%d %H:%M:%S}",
        )


class BadgeColumn(Column):
    """A state as word, sign and color. The value has ``sign``, ``label`` and ``tone``."""

    def render(self, value: Any) -> SafeString:
        return render_to_string("includes/badge.html", {"state": value})


class CodeColumn(Column):
    """An id, a path or an address, in the mono face."""

    def render(self, value: Any) -> SafeString:
        return format_html("<code>{}</code>", value)
