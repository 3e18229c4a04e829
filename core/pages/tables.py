"""Bases of tables: paging, rows, and columns for times, states and code."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from inspect import signature
from operator import attrgetter
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.forms.utils import flatatt
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django_tables2 import Column, Table
from django_tables2.columns import BoundColumn
from django_tables2.data import TableQuerysetData

from core.badges import SERVICE_ACCOUNT
from core.pages.line_breaks import breakable
from core.pages.templatetags.portal import badge, logged_at, moment
from core.service_accounts import handle_of, is_service_account
from core.text import Text

ROWS_PER_PAGE = 50
MAX_ROWS_PER_PAGE = 200
# The same signs as in the head of a table.
_WAYS = (("", "↑"), ("-", "↓"))


class PortalTable(Table):
    """A table that limits `per_page` of the address, and renders its rows itself.

    django-tables2 inspects the arguments of a column's function for each cell, and its templates resolve ten variables
    for each. For 450 cells, this takes longer than everything else on the page.

    ``anchor``: where links that sort or turn the page lead to, for a table that is not at the top of its page.

    What narrow windows leave out (assets/css/table.css) is on the page of the object. Windows below 60rem leave out the
    columns in ``only_wide``. Windows below 40rem show each row as a card with two lines: the first column and
    ``first_line``, then ``second_line``, which has a label for each column, empty if the value says what it is. Without
    a ``second_line``, a card has all columns. Paper leaves out the columns in ``not_printed``.

    ``orders``: values of `sort` to choose from beside the filters, for columns that are not visible.
    """

    anchor = ""
    only_wide: ClassVar[Collection[str]] = ()
    first_line: ClassVar[Collection[str]] = ()
    second_line: ClassVar[Mapping[str, Text] | None] = None
    not_printed: ClassVar[Collection[str]] = ()
    orders: ClassVar[Sequence[tuple[str, Text]]] = ()

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
            format_html("<td {}{}>", column.attrs["td"].as_html(), flatatt(self._cell_attributes(column, place)))
            for column, place in self.placed_columns
        )
        cells = "".join(start.replace("{", "{{").replace("}", "}}") + "{}</td>" for start in starts)
        names = "".join(f' {name}="{{}}"' for name in self.row_attributes(record))
        return f"<tr{names}>{cells}</tr>"

    def _cell_attributes(self, column: BoundColumn, place: str) -> dict[str, Any]:
        label = column.header if self.second_line is None else self.second_line.get(column.name)
        is_labeled = "second" in place.split() and label
        return {
            "data-label": label if is_labeled else None,
            "data-column": column.name,
            "data-place": place or None,
        }

    @property
    def placed_columns(self) -> list[tuple[BoundColumn, str]]:
        """The columns, each with words for its place on narrow screens and on paper (the attribute ``data-place``)."""
        return [(column, self._place_of(column.name, number)) for number, column in enumerate(self.columns)]

    def _place_of(self, name: str, number: int) -> str:
        is_first = number == 0 or name in self.first_line
        words = {
            "first": is_first,
            "second": not is_first and (self.second_line is None or name in self.second_line),
            "wide": name in self.only_wide,
            "screen": name in self.not_printed,
        }
        return " ".join(word for word, applies in words.items() if applies)

    @property
    def order_choices(self) -> list[tuple[str, Text, bool]]:
        """Values of `sort`, their words and whether the table has this order: ``orders`` and the visible columns.
        Empty if all orders are in the head of the table."""
        if not self.orders:
            return []
        visible = [column for column in self.columns if column.orderable]
        heads = [(f"{way}{column.name}", f"{column.header} {sign}") for column in visible for way, sign in _WAYS]
        current = ",".join(self.order_by or ())
        return [(value, words, value == current) for value, words in (*self.orders, *heads)]

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
        page, is_sorted = self.page.object_list, self.order_by != self._meta.order_by
        if isinstance(page.data, QuerySet) and (is_sorted or page.data.query.low_mark):
            # Finds their ids first. Otherwise, the database computes all columns of the rows before this page, too, and
            # in an order that no index has, sorts them with the others.
            page.data = self.data.data.filter(pk__in=page.data.values("pk"))

    def leading_back(self, url: str) -> str:
        """The address of an action on a row that leads back to this table with its filters, order and page."""
        return f"{url}{self._way_back}"

    @cached_property
    def _way_back(self) -> str:
        request = getattr(self, "request", None)
        if request is None or not request.META.get("QUERY_STRING"):
            return ""
        return f"?{urlencode({'next': request.get_full_path()})}"


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
    """A time with seconds in the reader's time zone, for logs. The header names the zone. UTC is beside the time."""

    @property
    def header(self) -> str:
        return f"{self.verbose_name} ({timezone.get_current_timezone_name()})"

    def render(self, value: datetime) -> SafeString:
        return logged_at(value)


class BadgeColumn(Column):
    """A state. The value is a `core.badges.Badge`."""

    def render(self, value: Any) -> SafeString:
        return badge(value)


class BreakableColumn(Column):
    """An e-mail address, or the name and version of a program. A service account is shown as what it is."""

    def render(self, value: Any) -> SafeString:
        if is_service_account(str(value)):
            return format_html("{} {}", breakable(handle_of(str(value))), badge(SERVICE_ACCOUNT))
        return breakable(str(value))


class PersonColumn(Column):
    """A person, by name and address. Sorted by address."""

    def __init__(self, accessor: str, **kwargs: Any) -> None:
        super().__init__(accessor=accessor, order_by=f"{accessor}__email", **kwargs)

    def render(self, value: Any) -> SafeString:
        if is_service_account(value.email):
            shown = format_html("{} {}", handle_of(value.email), badge(SERVICE_ACCOUNT))
            return format_html('{} <span class="hint below">{}</span>', value.name, shown)
        return format_html('{} <span class="hint below">{}</span>', value.name, breakable(value.email))


class CodeColumn(Column):
    """An id, a path or an address, in a monospace font."""

    def render(self, value: Any) -> SafeString:
        return format_html("<code>{}</code>", breakable(str(value)))
