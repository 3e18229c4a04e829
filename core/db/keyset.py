"""Keyset paging: a page is found by the position of its first row, not by counting the rows before it.

Pages stay put while new rows arrive, and page ten thousand costs what page one costs. Shared by the pages and the
API, so that both walk a list in the same order.
"""

import base64
import binascii
import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from django.db.models import Model, Q, QuerySet

Row = TypeVar("Row", bound=Model)
# A value for each field of the order.
Position = Sequence[Any]

# What a cursor begins with: "n" goes on in the order of the list, "p" against it; in capitals with the row at the
# position itself. Beside each, the way back from a page that has no row.
WAYS_BACK = {"n": "P", "N": "p", "p": "N", "P": "n"}

# Rows that one page looks through at most, when no index serves what is looked for.
MAX_SEARCHED = 50_000


class InvalidCursor(ValueError):
    """The cursor was not made by this list."""


@dataclass(frozen=True)
class KeysetPage(Generic[Row]):
    """``searched_to`` is set where the search ended before the page was full: the first field's value at that place."""

    rows: list[Row]
    next_cursor: str | None
    previous_cursor: str | None
    searched_to: Any = None
    is_backward: bool = False


@dataclass(frozen=True)
class Keyset:
    """The order of a list: unique together, all fields ascending or all descending.

    ``fields`` are model field names; the last one must make the order unique.
    """

    fields: tuple[str, str]
    descending: bool = True

    def page(
        self, queryset: QuerySet[Row], *, cursor: str | None, size: int, searched: QuerySet[Row] | None = None
    ) -> KeysetPage[Row]:
        """The ``size`` rows at ``cursor``; the first page without one. Raises ``InvalidCursor``.

        ``searched`` is given where ``queryset`` has conditions that no index serves: the list without them. The page
        then looks through ``MAX_SEARCHED`` rows of that list and no more; its cursor goes on where the search ended.
        """
        direction, position = self._read(queryset.model, cursor) if cursor else ("n", None)
        backwards = direction in "pP"
        start = self._start(direction, position) if position is not None else Q()
        end = self._end(searched, start, count=MAX_SEARCHED, reverse=backwards) if searched is not None else None
        found = list(self._part(queryset, start, end, reverse=backwards)[: size + 1])
        rows = found[:size]
        if len(found) > size:
            end = None
        # Where this page ends in the direction in which it was read, if there is more behind it.
        last = self._position_of(rows[-1]) if len(found) > size else end
        further = self._write("p" if backwards else "n", last)
        # Where it began, if it did not begin with the list.
        if position is None:
            back = None
        elif rows:
            back = self._write("n" if backwards else "p", self._position_of(rows[0]))
        else:
            back = self._write(WAYS_BACK[direction], position)
        if backwards:
            rows.reverse()
        return KeysetPage(
            rows=rows,
            next_cursor=back if backwards else further,
            previous_cursor=further if backwards else back,
            searched_to=end[0] if end else None,
            is_backward=backwards,
        )

    def count(self, queryset: QuerySet[Row], *, up_to: int) -> int:
        """How many rows there are, ``up_to`` at most. In the order of the list, so that its index alone is read."""
        return queryset.order_by(*self._order(reverse=False)).values(*self.fields)[:up_to].count()

    def parts(self, queryset: QuerySet[Row], *, searched: QuerySet[Row], size: int) -> Iterator[QuerySet[Row]]:
        """The whole list in parts, in order. Each is found by an index and holds what ``queryset`` has among ``size``
        rows of ``searched``, which is the list without what no index serves."""
        start = Q()
        while True:
            end = self._end(searched, start, count=size)
            yield self._part(queryset, start, end)
            if end is None:
                return
            start = self._beyond(end, reverse=False)

    def _start(self, direction: str, position: Position) -> Q:
        """The rows to which a cursor leads."""
        backwards = direction in "pP"
        if direction.isupper():
            return self._up_to(position, reverse=not backwards)
        return self._beyond(position, reverse=backwards)

    def _part(self, queryset: QuerySet[Row], start: Q, end: Position | None, *, reverse: bool = False) -> QuerySet[Row]:
        """Rows from ``start`` up to ``end``, in the order."""
        part = queryset.order_by(*self._order(reverse=reverse)).filter(start)
        if end is not None:
            part = part.filter(self._up_to(end, reverse=reverse))
        return part

    def _end(self, searched: QuerySet[Row], start: Q, *, count: int, reverse: bool = False) -> Position | None:
        """The position of the ``count``-th row from ``start``, if more rows follow it. Reads only the index."""
        fields = self._part(searched, start, None, reverse=reverse).values_list(*self.fields)
        found = list(fields[count - 1 : count + 1])
        return found[0] if len(found) > 1 else None

    def _order(self, *, reverse: bool) -> Sequence[str]:
        descending = self.descending != reverse
        return [f"-{field}" if descending else field for field in self.fields]

    def _beyond(self, position: Position, *, reverse: bool) -> Q:
        """Rows after ``position`` in the order.

        The first condition alone bounds the range that the index walks; the second removes the rows at the boundary.
        Written as ``a < x OR (a = x AND b < y)``, SQLite would read the list from its beginning.
        """
        first, second = self.fields
        descending = self.descending != reverse
        before = "lte" if descending else "gte"
        at_or_after = "gte" if descending else "lte"
        return Q(**{f"{first}__{before}": position[0]}) & ~Q(
            **{first: position[0], f"{second}__{at_or_after}": position[1]}
        )

    def _up_to(self, position: Position, *, reverse: bool) -> Q:
        """Rows before ``position`` in the order, and the one at it; written as in ``_beyond``."""
        first, second = self.fields
        descending = self.descending != reverse
        at_or_before = "gte" if descending else "lte"
        after = "lt" if descending else "gt"
        return Q(**{f"{first}__{at_or_before}": position[0]}) & ~Q(
            **{first: position[0], f"{second}__{after}": position[1]}
        )

    def _position_of(self, row: Model) -> Position:
        return [getattr(row, field) for field in self.fields]

    def _write(self, direction: str, position: Position | None) -> str | None:
        if position is None:
            return None
        text = json.dumps([direction, *map(_plain, position)], separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()

    def _read(self, model: type[Model], cursor: str) -> tuple[str, Position]:
        try:
            text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            direction, *plain = json.loads(text)
            if direction not in WAYS_BACK or len(plain) != len(self.fields):
                raise InvalidCursor
            position = [_parse(model, field, value) for field, value in zip(self.fields, plain, strict=True)]
        except (binascii.Error, ValueError, TypeError, RecursionError, OverflowError) as error:
            raise InvalidCursor("This cursor does not belong to this list.") from error
        return direction, position


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, uuid.UUID) else value


def _parse(model: type[Model], name: str, value: Any) -> Any:
    """The field's own Python value, or ``ValueError``; nothing else ever reaches the database."""
    field = model._meta.get_field(name)
    kind = field.get_internal_type()
    if kind == "DateTimeField":
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise InvalidCursor
        # Here and not in the database, where a moment before the year 1 would fail.
        return moment.astimezone(UTC)
    if kind == "UUIDField":
        if not isinstance(value, str):
            raise InvalidCursor
        return uuid.UUID(value)
    if kind in {"BigAutoField", "BigIntegerField"}:
        if not isinstance(value, int) or not -(2**63) <= value < 2**63:
            raise InvalidCursor
        return value
    if not isinstance(value, str) or "\x00" in value:
        raise InvalidCursor
    value.encode("utf-8")
    return value
