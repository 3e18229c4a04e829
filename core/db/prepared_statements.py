"""Helpers for the statements in SQL that are executed with each request."""

import uuid
from collections.abc import Callable
from operator import attrgetter
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper


def own_connection() -> BaseDatabaseWrapper:
    """This thread's connection. ``django.db.connection`` looks it up at each access."""
    return connections[DEFAULT_DB_ALIAS]


def prepared_cursor(connection: BaseDatabaseWrapper) -> Any:
    """On PostgreSQL, the statement is parsed and planned once for each connection; its parameters are sent separately.

    Django's own cursor writes the parameters into the statement, so that each is a new one. SQLite's driver caches
    statements itself.
    """
    make = getattr(connection, "prepared_cursor", connection.cursor)
    return make()


def uuid_as_stored(connection: BaseDatabaseWrapper) -> Callable[[uuid.UUID], Any]:
    """Converts a UUID for a statement. SQLite has no such type, so Django stores its 32 digits."""
    return attrgetter("hex") if connection.vendor == "sqlite" else _as_it_is


def _as_it_is(value: uuid.UUID) -> uuid.UUID:
    return value
