"""Django's PostgreSQL backend with additions for requests with a token: dead connections are replaced, statements can
be prepared, and not everybody waits for a server that is away. It also works behind a connection pooler in transaction
mode, such as PgBouncer.
"""

import errno
import logging
import os
import select
from functools import cache
from typing import Any

import psycopg
from django.db.backends.postgresql import base, operations
from django.db.utils import DatabaseErrorWrapper
from django.utils.functional import cached_property

from core.db.circuit_breaker import CircuitBreaker, CircuitOpen

_ServerBindingCursor: Any = base.ServerBindingCursor

# The driver's own reader of timestamptz.
_MOMENTS: Any = psycopg.adapters.get_loader(psycopg.adapters.types["timestamptz"].oid, psycopg.pq.Format.TEXT)

# How the driver says that the server stopped answering. There is no other sign of it.
_TIMED_OUT = os.strerror(errno.ETIMEDOUT)

logger = logging.getLogger(__name__)


class ServerAway(psycopg.OperationalError):
    """PostgreSQL cannot be reached."""


class _DatabaseErrors(DatabaseErrorWrapper):
    """Also notices that the server has disappeared without closing its connections."""

    wrapper: "DatabaseWrapper"

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if kind is None:
            return
        if isinstance(error, psycopg.OperationalError) and _TIMED_OUT in str(error):
            self.wrapper.refuse_others()
        super().__exit__(kind, error, traceback)


class DatabaseOperations(operations.DatabaseOperations):
    def last_executed_query(self, cursor: Any, sql: str, params: Any) -> str:
        """For tools that show queries. The driver does not keep the text of a prepared statement."""
        return super().last_executed_query(cursor, sql, params) or sql


class DatabaseWrapper(base.DatabaseWrapper):
    ops_class = DatabaseOperations

    @property
    def is_pooled_outside(self) -> bool:
        """Whether a connection pooler such as PgBouncer is between the portal and PostgreSQL.

        In transaction mode, each transaction may get another server process. So nothing can rely on an earlier
        transaction: no prepared statements, and no cursors that live longer than their transaction.
        """
        self.ensure_connection()
        return bool(self.settings_dict.get("IS_POOLED_OUTSIDE"))

    def prepared_cursor(self) -> Any:
        """A cursor that prepares its statement in the server, and that tools can watch."""
        self.ensure_connection()
        return self._prepare_cursor(self._preparing(self.connection))  # type: ignore[attr-defined]

    def driver_cursor(self) -> Any:
        """The driver's own cursor that does the same; see `core.db.prepared_statements`. Each connection keeps one.

        Call it with an open connection, and read its rows before the next call. The driver reads moments, and not
        Django's function in Python: they are in UTC, as the connection is.
        """
        cursor = getattr(self.connection, "kept_cursor", None)
        if cursor is None:
            cursor = self.connection.kept_cursor = self._preparing(self.connection)
            cursor.adapters.register_loader("timestamptz", _MOMENTS)
        return cursor

    @cached_property
    def wrap_database_errors(self) -> _DatabaseErrors:
        return _DatabaseErrors(self)

    def refuse_others(self) -> None:
        """After the first wait in vain, nobody else waits: the other idle connections lead to the same server."""
        if self.connection is None:
            # The try to connect has told the circuit breaker itself.
            return
        _breaker_of(self.alias).open()
        if self.pool:
            self.pool.drain()

    def _preparing(self, connection: Any) -> Any:
        return (_UnpreparedCursor if self.settings_dict.get("IS_POOLED_OUTSIDE") else _PreparingCursor)(connection)

    def get_connection_params(self) -> dict[str, Any]:
        """The pool has its own copy. Django would collect them for each request, which takes a connection from it."""
        is_pooled = self.alias in self._connection_pools  # type: ignore[attr-defined]
        return {} if is_pooled else super().get_connection_params()

    def _set_autocommit(self, autocommit: bool) -> None:
        # The driver would take its lock and ask the connection for its state.
        if self.connection.autocommit != autocommit:
            super()._set_autocommit(autocommit)  # type: ignore[misc]

    def _configure_connection(self, connection: Any) -> bool:
        """Compiling a statement takes PostgreSQL 40 to 80 ms, and a page's statements run for a few. PostgreSQL decides
        by estimates, which are too high for subqueries that it ends early.
        """
        super()._configure_connection(connection)  # type: ignore[misc]
        connection.execute("SET jit TO off")
        return True

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Returns a connection from the pool that the server has not closed.

        After a restart of PostgreSQL, every connection in the pool is dead, and each would make a request fail. Django
        could check each with a query for every request; a closed connection can be noticed without one.
        """
        try:
            with _breaker_of(self.alias).guard(ServerAway):
                connection = self._take_healthy(conn_params)
        except CircuitOpen:
            raise psycopg.OperationalError("The database could not be reached a moment ago.") from None
        try:
            self._detect_pooler(connection)
        except BaseException:
            connection.close()
            if self.pool:
                self.pool.putconn(connection)
            raise
        return connection

    def _take_healthy(self, conn_params: dict[str, Any]) -> Any:
        connection = self._take(conn_params)
        while self.pool and _is_closed_by_server(connection):
            # The pool replaces closed connections.
            connection.close()
            self.pool.putconn(connection)
            connection = self._take(conn_params)
        return connection

    def _take(self, conn_params: dict[str, Any]) -> Any:
        """Raises ``ServerAway``, or another ``OperationalError`` if all connections of the pool are in use."""
        try:
            return super().get_new_connection(conn_params)
        except psycopg.OperationalError as error:
            stats = self.pool.get_stats() if self.pool else {}
            if stats and stats["pool_size"] >= stats["pool_max"]:
                raise
            raise ServerAway(str(error)) from error

    def _detect_pooler(self, connection: Any) -> None:
        """Checks once in each process, with its first connection. All threads share ``settings_dict``."""
        if "IS_POOLED_OUTSIDE" in self.settings_dict:
            return
        is_pooled = _is_pooled_outside(connection)
        if is_pooled:
            self.settings_dict["DISABLE_SERVER_SIDE_CURSORS"] = True
            logger.info(
                "The database is reached through a connection pooler such as PgBouncer, so statements are not prepared "
                "and each query costs a little more. Backups need DATABASE_DIRECT_URL."
            )
        self.settings_dict["IS_POOLED_OUTSIDE"] = is_pooled


@cache
def _breaker_of(alias: str) -> CircuitBreaker:
    """One for each database, for all threads of the process."""
    return CircuitBreaker()


class _PreparingCursor(_ServerBindingCursor):
    def execute(self, query: Any, params: Any = None) -> Any:
        return super().execute(query, params, prepare=True)


class _UnpreparedCursor(_ServerBindingCursor):
    """Sends parameters separately, with an unnamed statement that the server forgets after this execution."""

    def execute(self, query: Any, params: Any = None) -> Any:
        return super().execute(query, params, prepare=False)


def _is_closed_by_server(connection: Any) -> bool:
    """Whether an idle connection has something to read: the server's last message, or the end of the connection."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _is_pooled_outside(connection: Any) -> bool:
    """A pooler has many server processes, and gives its clients process ids of its own."""
    [process_id] = connection.execute("SELECT pg_backend_pid()").fetchone()
    # Ends the transaction that the driver has begun for the query.
    connection.rollback()
    return bool(process_id != connection.info.backend_pid)
