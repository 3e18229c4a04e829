"""Reads rows of which some values are unreadable.

SQLite stores anything in any column, and PostgreSQL has dates and numbers that Python does not have. The ORM raises an
error for such a value, and one row would hide the whole list.
"""

import json
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any, TypeVar

from django.core.exceptions import ObjectDoesNotExist
from django.db import DatabaseError, connections
from django.db.models import Field, Model
from django.db.models.query import ModelIterable

from core.db.unavailable import DATABASE_UNAVAILABLE

Row = TypeVar("Row", bound=Model)

# Raised by drivers, Django and the JSON reader for such values.
UNREADABLE = (DatabaseError, ValueError, TypeError, OverflowError, RecursionError, AttributeError)

# Shown in place of a text.
UNREADABLE_TEXT = "(unreadable)"

# The types of readable values. SQLite returns numbers and bytes from columns of text, and text from those of numbers.
_TYPES: dict[str, type] = {
    "CharField": str,
    "GenericIPAddressField": str,
    "DateTimeField": datetime,
    "UUIDField": uuid.UUID,
    "PositiveIntegerField": int,
    "PositiveSmallIntegerField": int,
}


class ReadableRows(ModelIterable[Row]):
    """The rows of a queryset. If one is unreadable, all that is readable in it.

    Costs nothing as long as all rows are readable.
    """

    def __iter__(self) -> Iterator[Row]:
        if self.chunked_fetch:
            return super().__iter__()
        try:
            return iter(list(super().__iter__()))
        except UNREADABLE as error:
            if not is_about_values(error, self.queryset.db):
                raise
            pks = list(self.queryset.values_list("pk", flat=True))
            found: dict[Any, Any] = {row.pk: row for row in _read(self.queryset.model, self.queryset.db, pks)}
            return iter([found[pk] for pk in pks if pk in found])


def is_about_values(error: Exception, using: str) -> bool:
    """Whether one of ``UNREADABLE`` can be about a value. SQLite raises the same error for invalid UTF-8 as for a file
    that it can't open; then the next query raises it again."""
    return connections[using].vendor == "sqlite" or not isinstance(error, DATABASE_UNAVAILABLE)


def mark_unreadable(row: Row) -> Row:
    """Replaces each value of another type than its field: ``None``, or ``UNREADABLE_TEXT`` in a field of text.

    ``row.unreadable`` becomes the names of these fields, added to those that were marked before.
    """
    unreadable = [field for field in row._meta.concrete_fields if not _is_readable(field, getattr(row, field.attname))]
    for field in unreadable:
        setattr(row, field.attname, UNREADABLE_TEXT if _kind(field) == "CharField" else None)
    names = [*getattr(row, "unreadable", ()), *(str(field.verbose_name) for field in unreadable)]
    row.unreadable = tuple(dict.fromkeys(names))  # type: ignore[attr-defined]
    return row


def is_json(value: Any) -> bool:
    """Whether the value of a JSON field can be written again. Django returns invalid JSON as it is stored, and reads
    numbers and texts that JSON does not have."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except UNREADABLE:
        return False
    return True


def _read(model: type[Row], using: str, pks: list[Any]) -> Iterator[Row]:
    """The rows in any order. Halves the list until the unreadable rows are alone."""
    try:
        yield from list(model._base_manager.using(using).filter(pk__in=pks))
    except UNREADABLE:
        if len(pks) == 1:
            yield from _read_fields(model, using, pks[0])
        else:
            middle = len(pks) // 2
            yield from _read(model, using, pks[:middle])
            yield from _read(model, using, pks[middle:])


def _read_fields(model: type[Row], using: str, pk: Any) -> Iterator[Row]:
    """One row, field by field; none if it was removed in the meantime."""
    names = [field.attname for field in model._meta.concrete_fields]
    try:
        values = [_read_field(model, using, pk, name) for name in names]
    except ObjectDoesNotExist:
        return
    yield mark_unreadable(model.from_db(using, names, values))


def _read_field(model: type[Row], using: str, pk: Any, name: str) -> Any:
    try:
        return model._base_manager.using(using).values_list(name, flat=True).get(pk=pk)
    except UNREADABLE:
        return UnreadableValue()


class UnreadableValue:
    """Stands for a value that could not be read, until the row is marked."""


def _is_readable(field: Field[Any, Any], value: Any) -> bool:
    if value is None:
        return bool(field.null)
    if _kind(field) == "JSONField":
        return is_json(value)
    return isinstance(value, _TYPES.get(_kind(field), object)) and not isinstance(value, UnreadableValue)


def _kind(field: Any) -> str:
    """The internal type of the field, or of the field to which it refers."""
    return str((field.target_field if field.is_relation else field).get_internal_type())
