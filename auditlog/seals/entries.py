"""Reads the stored values of log entries, as they are sealed and verified.

The ORM would take six times as long. On SQLite any column can hold anything, so an entry may also be unreadable.
"""

import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from django.db import connection
from django.db.models import DateTimeField, JSONField

from auditlog.models import Activity, Seal, TokenUse
from core.db.unreadable import UNREADABLE

Row = tuple[Any, ...]

MODELS: dict[Seal.Log, type[TokenUse] | type[Activity]] = {
    Seal.Log.AUTHENTICATION: TokenUse,
    Seal.Log.ACTIVITY: Activity,
}

# Entries that one query reads.
READ_AT_ONCE = 500

LARGEST_ID = 2**63 - 1

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Raw:
    """A value as the database stores it. All values of an unreadable entry are of this type, except its id."""

    kind: str
    text: str

    def __str__(self) -> str:
        return self.text


def columns(model: type[TokenUse] | type[Activity]) -> tuple[str, ...]:
    """All columns of an entry, starting with those that a record contains."""
    first = ("id", "at", "organization_id")
    return (*first, *(field.attname for field in model._meta.concrete_fields if field.attname not in first))


@lru_cache(maxsize=1_000)
def organization_key(organization_id: Any) -> str:
    """The id in hexadecimal; empty for ``None`` and for invalid ids."""
    try:
        return uuid.UUID(str(organization_id)).hex
    except ValueError:
        return ""


def moment_of(row: Row) -> datetime:
    """The time of an entry; 1970 for an unreadable one, which is then sealed at once and is nobody's newest."""
    return row[1] if isinstance(row[1], datetime) else EPOCH


def read_entries(log: Seal.Log, first_id: int, last_id: int) -> Iterator[Row]:
    """Yields the values of ``columns`` in order of ``id``, as the driver returns them.

    UUIDs are UUIDs or hexadecimal text, depending on the database; times and JSON objects are Python values. Values of
    unreadable entries are ``Raw``.
    """
    while first_id <= last_id and (some := first_entries(log, first_id, last_id, limit=READ_AT_ONCE)):
        yield from some
        first_id = some[-1][0] + 1


def first_entries(log: Seal.Log, first_id: int, last_id: int, *, limit: int) -> list[Row]:
    """The first entries that ``read_entries`` would yield, at most ``limit``."""
    try:
        return _read(log, first_id, last_id, limit)
    except UNREADABLE:
        ids = MODELS[log].objects.filter(id__range=(first_id, last_id)).order_by("id").values_list("id", flat=True)
        return [row for entry_id in ids[:limit] for row in _read_one(log, entry_id)]


def _read(log: Seal.Log, first_id: int, last_id: int, limit: int) -> list[Row]:
    model = MODELS[log]
    rows = _select(model, _what(model), first_id, last_id, limit)
    return [_parsed(row, model) for row in rows]


def _what(model: type[TokenUse] | type[Activity]) -> str:
    """The columns to select. SQLite's driver reads an invalid time as null, so one that may be null is read as text."""
    names = list(map(connection.ops.quote_name, columns(model)))
    if connection.vendor == "sqlite":
        for place in _places_of_optional_times(model):
            names[place] = f"{names[place]} || ''"
    return ", ".join(names)


@lru_cache
def _places_of_objects(model: type[TokenUse] | type[Activity]) -> list[int]:
    names = columns(model)
    return [place for place, name in enumerate(names) if isinstance(model._meta.get_field(name), JSONField)]


@lru_cache
def _places_of_optional_times(model: type[TokenUse] | type[Activity]) -> list[int]:
    fields = [model._meta.get_field(name) for name in columns(model)]
    return [place for place, field in enumerate(fields) if isinstance(field, DateTimeField) and field.null]


def _parsed(row: Row, model: type[TokenUse] | type[Activity]) -> Row:
    values = list(row)
    for place in _places_of_objects(model):
        values[place] = json.loads(values[place])
    for place in _places_of_optional_times(model):
        if isinstance(values[place], str):
            values[place] = datetime.fromisoformat(values[place]).replace(tzinfo=UTC)
    # SQLite's driver reads an invalid time as null, and a time without its zone, which is UTC.
    if values[1] is None:
        raise ValueError("The entry has no time.")
    if values[1].tzinfo is None:
        values[1] = values[1].replace(tzinfo=UTC)
    return tuple(values)


def read_chosen(log: Seal.Log, entry_ids: Sequence[int]) -> list[Row]:
    """The entries with these ids, as `read_entries` yields them."""
    if not entry_ids:
        return []
    model = MODELS[log]
    table, what = connection.ops.quote_name(model._meta.db_table), _what(model)
    places = ", ".join(["%s"] * len(entry_ids))
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {what} FROM {table} WHERE id IN ({places}) ORDER BY id", entry_ids)  # noqa: S608
            rows = cursor.fetchall()
        return [_parsed(row, model) for row in rows]
    except UNREADABLE:
        return [row for entry_id in entry_ids for row in _read_one(log, entry_id)]


def _read_one(log: Seal.Log, entry_id: int) -> list[Row]:
    """A list of one row; empty if the entry was removed in the meantime."""
    try:
        return _read(log, entry_id, entry_id, 1)
    except UNREADABLE:
        return _read_raw(MODELS[log], entry_id)


def _read_raw(model: type[TokenUse] | type[Activity], entry_id: int) -> list[Row]:
    # On SQLite the bytes and the type of each value: its text may be invalid.
    pattern = "CAST({0} AS text), 'text'" if connection.vendor == "postgresql" else "CAST({0} AS blob), typeof({0})"
    names = [connection.ops.quote_name(name) for name in columns(model)[1:]]
    rows = _select(model, ", ".join(["id", *map(pattern.format, names)]), entry_id, entry_id, 1)
    return [(row[0], *map(_raw, row[1::2], row[2::2])) for row in rows]


def _raw(value: str | bytes | None, kind: str) -> Raw | None:
    if value is None:
        return None
    return Raw(kind, value if isinstance(value, str) else value.decode(errors="surrogateescape"))


def _select(model: type[TokenUse] | type[Activity], what: str, first_id: int, last_id: int, limit: int) -> list[Row]:
    table = connection.ops.quote_name(model._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {what} FROM {table} WHERE id BETWEEN %s AND %s ORDER BY id LIMIT %s",  # noqa: S608
            [first_id, last_id, limit],
        )
        found: list[Row] = cursor.fetchall()
    return found
