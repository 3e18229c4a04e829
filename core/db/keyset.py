"""Keyset paging: a page is found by the position of its first row, not by counting the rows before it.

Pages don't shift when rows are added, and page ten thousand costs as much as page one. Pages and API share this, so
that both show a list in the same order.
"""

import base64
import binascii
import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from django.db.models import Model, Q, QuerySet, Subquery, prefetch_related_objects

from core.db.batches import batches_of
from core.db.unreadable import UNREADABLE, is_about_values

Row = TypeVar("Row", bound=Model)
# A value for each field of the order. The first is ``None`` if it is unreadable.
Position = Sequence[Any]

# The first letter of a cursor: "n" reads on in the order of the list, "p" in the opposite order. Capital letters
# include the row at the position itself. The value is the letter of the way back from a page without rows.
WAYS_BACK = {"n": "P", "N": "p", "p": "N", "P": "n"}

# How many rows one page searches at most, if no index helps. SQLite and PostgreSQL read so many in about 30 ms.
MAX_SEARCHED = 25_000

# For how many rows related rows are looked up in one query. SQLite refuses a condition with a thousand alternatives,
# and Django writes one for each row.
RELATED_AT_ONCE = 500


class InvalidCursor(ValueError):
    """The cursor is not from this list."""


@dataclass(frozen=True)
class KeysetPage(Generic[Row]):
    """``searched_to`` is set if the search ended before the page was full: the first field's value at that position."""

    rows: list[Row]
    next_cursor: str | None
    previous_cursor: str | None
    searched_to: Any = None
    is_backward: bool = False


@dataclass(frozen=True)
class Keyset:
    """The order of a list, by two fields, both ascending or both descending.

    ``fields`` are names of model fields; the last one must make the order unique.
    """

    fields: tuple[str, str]
    descending: bool = True

    def page(
        self, queryset: QuerySet[Row], *, cursor: str | None, size: int, searched: QuerySet[Row] | None = None
    ) -> KeysetPage[Row]:
        """The ``size`` rows at ``cursor``, or the first page. Raises ``InvalidCursor``.

        If ``queryset`` has conditions that no index serves, ``searched`` is the list without these conditions. The page
        then searches at most ``MAX_SEARCHED`` rows of that list, and its cursor continues where the search ended.
        """
        direction, position = self._read(queryset.model, cursor) if cursor else ("n", None)
        backwards = direction in "pP"
        listed = queryset if searched is None else searched
        start = self._start(direction, self._found(listed, position)) if position is not None else Q()
        end = self._end(searched, start, count=MAX_SEARCHED, reverse=backwards) if searched is not None else None
        part = self._part(queryset, start, end and self._found(listed, end), reverse=backwards)
        found = _with_related(part[: size + 1])
        rows = found[:size]
        if len(found) > size:
            end = None
        # Where this page ends in the direction of reading, if more rows follow.
        last = self._position_of(rows[-1]) if len(found) > size else end
        further = self._write("p" if backwards else "n", last)
        # Where this page began, unless at the beginning of the list.
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
        """The number of rows, at most ``up_to``. In the order of the list, so that only its index is read."""
        return queryset.order_by(*self._order(reverse=False)).values(*self.fields)[:up_to].count()

    def parts(self, queryset: QuerySet[Row], *, searched: QuerySet[Row], size: int) -> Iterator[QuerySet[Row]]:
        """The whole list in parts, in order. An index finds each part: the rows of ``queryset`` among ``size`` rows of
        ``searched``, which is the list without the conditions that no index serves."""
        start = Q()
        while True:
            end = self._end(searched, start, count=size)
            if end is not None:
                end = self._found(searched, end)
            yield self._part(queryset, start, end)
            if end is None:
                return
            start = self._after(end, reverse=False)

    def _start(self, direction: str, position: Position) -> Q:
        """The rows from a cursor on."""
        backwards = direction in "pP"
        if direction.isupper():
            return self._up_to(position, reverse=not backwards)
        return self._after(position, reverse=backwards)

    def _part(self, queryset: QuerySet[Row], start: Q, end: Position | None, *, reverse: bool = False) -> QuerySet[Row]:
        """The rows from ``start`` to ``end``, in order."""
        part = queryset.order_by(*self._order(reverse=reverse)).filter(start)
        if end is not None:
            part = part.filter(self._up_to(end, reverse=reverse))
        return part

    def _end(self, searched: QuerySet[Row], start: Q, *, count: int, reverse: bool = False) -> Position | None:
        """The position of the ``count``-th row from ``start``, if more rows follow it. Reads only the index."""
        part = self._part(searched, start, None, reverse=reverse)
        try:
            found = list(part.values_list(*self.fields)[count - 1 : count + 1])
        except UNREADABLE as error:
            if not is_about_values(error, part.db):
                raise
            found = [(None, last) for last in part.values_list(self.fields[1], flat=True)[count - 1 : count + 1]]
        return found[0] if len(found) > 1 else None

    def _order(self, *, reverse: bool) -> Sequence[str]:
        descending = self.descending != reverse
        return [f"-{field}" if descending else field for field in self.fields]

    def _after(self, position: Position, *, reverse: bool) -> Q:
        """The rows after ``position``.

        The first condition limits the range of the index; the second removes the rows at the boundary. With
        ``a < x OR (a = x AND b < y)``, SQLite would read the list from its beginning.
        """
        first, second = self.fields
        descending = self.descending != reverse
        before = "lte" if descending else "gte"
        at_or_after = "gte" if descending else "lte"
        return Q(**{f"{first}__{before}": position[0]}) & ~Q(
            **{first: position[0], f"{second}__{at_or_after}": position[1]}
        )

    def _up_to(self, position: Position, *, reverse: bool) -> Q:
        """The rows before ``position``, and the row at it; written as in ``_after``."""
        first, second = self.fields
        descending = self.descending != reverse
        at_or_before = "gte" if descending else "lte"
        after = "lt" if descending else "gt"
        return Q(**{f"{first}__{at_or_before}": position[0]}) & ~Q(
            **{first: position[0], f"{second}__{after}": position[1]}
        )

    def _found(self, listed: QuerySet[Any], position: Position) -> Position:
        """The position; if its first value is unreadable, with the stored value of its row instead.

        Raises ``InvalidCursor`` if that row is not in the list: a cursor must not reveal the place of any other row.
        """
        if position[0] is not None:
            return position
        first, second = self.fields
        stored = listed.order_by().filter(**{second: position[1]}).values(first)
        if not stored.exists():
            raise InvalidCursor("The row of this cursor is not in this list.")
        return [Subquery(stored[:1]), position[1]]

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


def _with_related(part: QuerySet[Row]) -> list[Row]:
    """The rows, with their related rows of `prefetch_related`, which Django would look up all at once."""
    lookups = part._prefetch_related_lookups  # type: ignore[attr-defined]
    rows = list(part.prefetch_related(None))
    for some in batches_of(rows, RELATED_AT_ONCE) if lookups else ():
        prefetch_related_objects(some, *lookups)
    return rows


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, uuid.UUID) else value


def _parse(model: type[Model], name: str, value: Any) -> Any:
    """The value of the field in Python; ``None`` for a time that is unreadable. Raises ``ValueError``, so that nothing
    else reaches the database."""
    field = model._meta.get_field(name)
    kind = field.get_internal_type()
    if kind == "DateTimeField":
        if value is None:
            return None
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise InvalidCursor
        # Converted here, because a time before the year 1 would fail in the database.
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
