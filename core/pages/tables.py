"""Bases of tables: paging, rows, and columns for times, states and code."""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from inspect import signature
from operator import attrgetter
from typing import Any
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django_tables2 import Column, Table
from django_tables2.columns import BoundColumn
from django_tables2.data import TableQuerysetData

from core.pages.line_breaks import breakable
from core.pages.templatetags.portal import badge, moment, relative
from core.reading import local

ROWS_PER_PAGE = 50
MAX_ROWS_PER_PAGE = 200


class PortalTable(Table):
    """A table that limits `per_page` of the address, and renders its rows itself.

    django-tables2 inspects the arguments of a column's function for each cell, and its templates resolve ten variables
    for each. For 450 cells, this takes longer than everything else on the page.

    ``anchor``: where links that sort or turn the page lead to, for a table that is not at the top of its page.
    """

    anchor = ""

    def body(self) -> str:
        """The rows of this page; empty if there are none."""
        records = list(self.paginated_rows.data)
        if not records:
            return ""
        return format_html_join("\n", self.row_format(records[0]), self.row_values(records))

    def row_values(self, records: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        """The values of ``row_format`` for each of the records, which are at least one."""
        contents = [_content_of(column, type(records[0])) for column in self.columns]
        for record in records:
            yield *self.row_attributes(record).values(), *(content(record) for content in contents)

    def row_format(self, record: Any) -> str:
        """One format for a whole row, because each call of `format_html` costs as much as three of its values."""
        starts = (
            format_html(
                '<td {} data-label="{}" data-column="{}">', column.attrs["td"].as_html(), column.header, column.name
            )
            for column in self.columns
        )
        cells = "".join(start.replace("{", "{{").replace("}", "}}") + "{}</td>" for start in starts)
        names = "".join(f' {name}="{{}}"' for name in self.row_attributes(record))
        return f"<tr{names}>{cells}</tr>"

    def row_attributes(self, record: Any) -> dict[str, Any]:
        """Attributes by which styles, scripts and tests find a row: the same names for each row."""
        raise NotImplementedError

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
        page = self.page.object_list
        if isinstance(page.data, QuerySet) and page.data.query.low_mark:
            # Finds their ids first: otherwise, the database computes all columns of the rows before this page, too.
            page.data = self.data.data.filter(pk__in=page.data.values("pk"))

    def leading_back(self, url: str) -> str:
        """The address of an action on a row that leads back to this table with its filters, order and page."""
        request = getattr(self, "request", None)
        if request is None or not request.META.get("QUERY_STRING"):
            return url
        return f"{url}?{urlencode({'next': request.get_full_path()})}"


def _content_of(column: BoundColumn, model: type) -> Callable[[Any], Any]:
    """Returns a function that renders the cells of a column, and inspects the column's arguments once."""
    render, default, empty_values = column.render, column.default, column.column.empty_values
    wanted = signature(render).parameters.keys()
    # A column that shows no value of the row, such as a button.
    value_of = _value_of(column, model) if empty_values or "value" in wanted else _no_value

    def content(record: Any) -> Any:
        value = value_of(record)
        if value in empty_values:
            return default
        arguments = {"value": value, "record": record, "column": column.column}
        return render(**{name: arguments[name] for name in wanted})

    return content


def _value_of(column: BoundColumn, model: type) -> Callable[[Any], Any]:
    """Reads the value of a cell from a row: for a choice, its label."""
    value_of = attrgetter(column.accessor.replace("__", "."))
    labels = _labels(model, column.accessor)
    if not labels:
        return value_of

    def label_of(record: Any) -> Any:
        value = value_of(record)
        return labels.get(value, value)

    return label_of


def _labels(model: type, name: str) -> dict[Any, Any]:
    """The labels of a field with choices. Django's `get_..._display` collects them for each row."""
    field = next((field for field in model._meta.fields if field.name == name), None)  # type: ignore[attr-defined]
    return {value: str(label) for value, label in field.flatchoices} if field and field.choices else {}


def _no_value(record: Any) -> None:
    """The value of a cell without one."""


class MomentColumn(Column):
    """A time in words, with the exact time as a tooltip, aligned right."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("attrs", {"td": {"class": "numeric"}, "th": {"class": "numeric"}})
        kwargs.setdefault("default", "–")
        super().__init__(**kwargs)

    def render(self, value: datetime) -> SafeString | str:
        return moment(value)


class ExactMomentColumn(MomentColumn):
    """A time with seconds in the reader's time zone, for logs. The header names the zone, the tooltip has UTC too."""

    @property
    def header(self) -> str:
        return f"{self.verbose_name} ({timezone.get_current_timezone_name()})"

    def render(self, value: datetime) -> SafeString:
        return format_html(
            '<time datetime="{}" title="{}">{}</time>',
            value.isoformat(),
            f"{relative(value)}, {value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
            f"{local(value):%Y-%m-%d %H:%M:%S}",
        )


class BadgeColumn(Column):
    """A state. The value is a `core.badges.Badge`."""

    def render(self, value: Any) -> SafeString:
        return badge(value)


class BreakableColumn(Column):
    """An e-mail address, or the name and version of a program."""

    def render(self, value: Any) -> SafeString:
        return breakable(str(value))


class PersonColumn(Column):
    """A person, by name and address. Sorted by address."""

    def __init__(self, accessor: str, **kwargs: Any) -> None:
        super().__init__(accessor=accessor, order_by=f"{accessor}__email", **kwargs)

    def render(self, value: Any) -> SafeString:
        return format_html('{} <span class="hint below">{}</span>', value.name, breakable(value.email))


class CodeColumn(Column):
    """An id, a path or an address, in a monospace font."""

    def render(self, value: Any) -> SafeString:
        return format_html("<code>{}</code>", breakable(str(value)))
