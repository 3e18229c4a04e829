"""Errors that mean: the database cannot be reached, or takes no writes."""

import sqlite3
import time

import psycopg
from django.db import InterfaceError, InternalError, OperationalError

# PostgreSQL's driver raises InternalError if the server is read-only, as after a failover.
DATABASE_UNAVAILABLE = (OperationalError, InterfaceError, InternalError)

_SQLITE = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR}
_POSTGRESQL = (psycopg.errors.DiskFull, psycopg.errors.ReadOnlySqlTransaction)
# Longer than load balancers wait between two checks.
REMEMBERED_SECONDS = 10.0


class RefusedWrites:
    """Remembers when the database last refused a write because its disk is full, broken or read-only.

    Reading still works then, so a health check that only reads would see nothing.
    """

    def __init__(self) -> None:
        self.forget()

    def note(self, error: BaseException | None) -> None:
        """``error`` is Django's, of any kind."""
        if error is not None and _is_refusal(error.__cause__):
            self._last_at = time.monotonic()

    def are_recent(self) -> bool:
        return time.monotonic() - self._last_at < REMEMBERED_SECONDS

    def forget(self) -> None:
        self._last_at = -REMEMBERED_SECONDS


refused_writes = RefusedWrites()


def _is_refusal(cause: BaseException | None) -> bool:
    if isinstance(cause, sqlite3.Error):
        # The lowest byte; the others say what exactly could not be written.
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF in _SQLITE
    return isinstance(cause, _POSTGRESQL)
