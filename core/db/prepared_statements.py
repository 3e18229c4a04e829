"""What the statements that are executed with each request need, and the ORM would do for others."""

import uuid
from collections.abc import Callable
from operator import attrgetter
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper


def own_connection() -> BaseDatabaseWrapper:
    """This thread's connection. ``django.db.connection`` looks it up anew at each mention."""
    return connections[DEFAULT_DB_ALIAS]


def prepared_cursor(connection: BaseDatabaseWrapper) -> Any:
    """On PostgreSQL the statement is parsed and planned once for each connection, and its parameters travel beside it.

    Django's own cursor writes them into the statement, which is another one each time. For SQLite it is one and the
    same: its driver remembers statements by itself.
    """
    make = getattr(connection, "prepared_cursor", connection.cursor)
    return make()


def uuid_as_stored(connection: BaseDatabaseWrapper) -> Callable[[uuid.UUID], Any]:
    """What makes of a UUID what the database keeps: SQLite has no such type, and Django writes its 32 digits there."""
    return attrgetter("hex") if connection.vendor == "sqlite" else _as_it_is


def _as_it_is(value: uuid.UUID) -> uuid.UUID:
    return value
