"""Runs the two statements in SQL that each request with a token needs, without Django's cursors.

Django wraps each cursor twice and each placeholder once. For the lookup of a token and its log entry, that costs more
than the database needs for them. So these statements go to the driver itself. Django's cursor is used where something
watches queries: with DEBUG, in tests that count them, and with execute wrappers.
"""

import uuid
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper


def own_connection() -> BaseDatabaseWrapper:
    """This thread's connection. ``django.db.connection`` looks it up at each access."""
    return connections[DEFAULT_DB_ALIAS]


def execute(connection: BaseDatabaseWrapper, statement: str, parameters: Sequence[Any]) -> None:
    """Runs a statement that returns no rows. Raises what Django's cursors raise."""
    _run(connection, statement, parameters)


def execute_for_each(connection: BaseDatabaseWrapper, statement: str, rows: Sequence[Sequence[Any]]) -> None:
    """Runs a statement that returns no rows for each of ``rows``, and commits all or none. Outside of transactions.

    For SQLite: each connection keeps the statements that it ran, and one for many rows takes 2 KiB for each row.
    """
    if connection.queries_logged or connection.execute_wrappers:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            cursor.executemany(statement, rows)
        return
    connection.ensure_connection()
    driver = connection.connection
    with connection.wrap_database_errors:
        driver.execute("BEGIN IMMEDIATE")
        try:
            driver.executemany(_with_question_marks(statement), rows)
            driver.execute("COMMIT")
        except BaseException:
            driver.rollback()
            raise


def fetch_one(connection: BaseDatabaseWrapper, statement: str, parameters: Sequence[Any]) -> tuple[Any, ...] | None:
    """The first row as the driver returns it; ``None`` if there is none. Raises what Django's cursors raise."""
    cursor = _run(connection, statement, parameters)
    with connection.wrap_database_errors:
        row: tuple[Any, ...] | None = cursor.fetchone()
    return row


def uuid_as_stored(connection: BaseDatabaseWrapper) -> Callable[[uuid.UUID], Any]:
    """Converts a UUID for a statement. SQLite has no such type, so Django stores its 32 digits."""
    return attrgetter("hex") if connection.vendor == "sqlite" else _as_it_is


def _run(connection: BaseDatabaseWrapper, statement: str, parameters: Sequence[Any]) -> Any:
    if connection.queries_logged or connection.execute_wrappers:
        cursor = getattr(connection, "prepared_cursor", connection.cursor)()
        cursor.execute(statement, parameters)
        return cursor
    connection.ensure_connection()
    with connection.wrap_database_errors:
        if connection.vendor == "sqlite":
            # The driver keeps the last statements prepared.
            return connection.connection.execute(_with_question_marks(statement), parameters)
        return connection.driver_cursor().execute(statement, parameters)  # type: ignore[attr-defined]


# One for each size of a group (auditlog/group_commit.py), and the lookup of a token.
@lru_cache(maxsize=256)
def _with_question_marks(statement: str) -> str:
    return statement.replace("%s", "?")


def _as_it_is(value: uuid.UUID) -> uuid.UUID:
    return value
