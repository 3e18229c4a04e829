"""Keyset paging: a page is found by the position of its first row, not by counting the rows before it.

Pages stay put while new rows arrive, and page ten thousand costs what page one costs. Shared by the pages and the
API, so that both walk a list in the same order.
"""

import base64
import binascii
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from django.db.models import Model, Q, QuerySet

Row = TypeVar("Row", bound=Model)
Position = list[Any]


class InvalidCursor(ValueError):
    """The cursor was not made by this list."""


@dataclass(frozen=True)
class KeysetPage(Generic[Row]):
    rows: list[Row]
    next_cursor: str | None
    previous_cursor: str | None


@dataclass(frozen=True)
class Keyset:
    """The order of a list: unique together, all fields ascending or all descending.

    ``fields`` are model field names; the last one must make the order unique.
    """

    fields: tuple[str, str]
    descending: bool = True

    def page(self, queryset: QuerySet[Row], *, cursor: str | None, size: int) -> KeysetPage[Row]:
        """The ``size`` rows at ``cursor``; the first page without one. Raises ``InvalidCursor``."""
        backwards, position = self._read(queryset.model, cursor) if cursor else (False, None)
        ordered = queryset.order_by(*self._order(reverse=backwards))
        if position is not None:
            ordered = ordered.filter(self._beyond(position, reverse=backwards))
        found = list(ordered[: size + 1])
        has_more = len(found) > size
        rows = found[:size]
        if backwards:
            rows.reverse()
        has_next = has_more if not backwards else True
        has_previous = (position is not None) if not backwards else has_more
        return KeysetPage(
            rows=rows,
            next_cursor=self._write(rows[-1], backwards=False) if rows and has_next else None,
            previous_cursor=self._write(rows[0], backwards=True) if rows and has_previous else None,
        )

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

    def _write(self, row: Model, *, backwards: bool) -> str:
        values = [getattr(row, field) for field in self.fields]
        text = json.dumps(["p" if backwards else "n", *map(_plain, values)], separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()

    def _read(self, model: type[Model], cursor: str) -> tuple[bool, Position]:
        try:
            text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            direction, *plain = json.loads(text)
            if direction not in {"n", "p"} or len(plain) != len(self.fields):
                raise InvalidCursor
            position = [_parse(model, field, value) for field, value in zip(self.fields, plain, strict=True)]
        except (binascii.Error, ValueError, TypeError, RecursionError, OverflowError) as error:
            raise InvalidCursor("This cursor does not belong to this list.") from error
        return direction == "p", position


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
