"""Django's PostgreSQL backend, with what a request in the hot path needs of it: connections that are alive, and
statements that are planned once. Works behind a connection pooler in transaction mode, such as PgBouncer, as well."""

import logging
import select
from typing import Any

from django.db.backends.postgresql import base, operations

_ServerBindingCursor: Any = base.ServerBindingCursor

logger = logging.getLogger(__name__)


class DatabaseOperations(operations.DatabaseOperations):
    def last_executed_query(self, cursor: Any, sql: str, params: Any) -> str:
        """For who counts and shows queries. The driver keeps none of a statement that it had prepared."""
        return super().last_executed_query(cursor, sql, params) or sql


class DatabaseWrapper(base.DatabaseWrapper):
    ops_class = DatabaseOperations

    @property
    def is_pooled_outside(self) -> bool:
        """Whether a connection pooler such as PgBouncer is between the portal and PostgreSQL.

        In its transaction mode, each transaction may meet another server process. So nothing may rely on what an
        earlier one left there: no prepared statement, and no cursor that outlives its transaction.
        """
        self.ensure_connection()
        return bool(self.settings_dict.get("IS_POOLED_OUTSIDE"))

    def prepared_cursor(self) -> Any:
        """A cursor that prepares its statement in the server; see `core.db.prepared_statements`."""
        self.ensure_connection()
        make = _UnpreparedCursor if self.settings_dict.get("IS_POOLED_OUTSIDE") else _PreparingCursor
        return self._prepare_cursor(make(self.connection))  # type: ignore[attr-defined]

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """One from the pool on which the server has not hung up.

        After PostgreSQL was restarted, every connection in the pool is dead, and each would cost a request its answer.
        Django would ask each with a query of its own, for every request; a server that has gone is seen without asking.
        """
        connection = super().get_new_connection(conn_params)
        while self.pool and _has_been_hung_up(connection):
            # The pool replaces one that comes back closed.
            connection.close()
            self.pool.putconn(connection)
            connection = super().get_new_connection(conn_params)
        try:
            self._look_for_a_pooler(connection)
        except BaseException:
            connection.close()
            if self.pool:
                self.pool.putconn(connection)
            raise
        return connection

    def _look_for_a_pooler(self, connection: Any) -> None:
        """Once in each process, by its first connection. All threads share ``settings_dict``."""
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


class _PreparingCursor(_ServerBindingCursor):
    def execute(self, query: Any, params: Any = None) -> Any:
        return super().execute(query, params, prepare=True)


class _UnpreparedCursor(_ServerBindingCursor):
    """Parameters travel beside the statement, which has no name in the server and lives for this execution only."""

    def execute(self, query: Any, params: Any = None) -> Any:
        return super().execute(query, params, prepare=False)


def _has_been_hung_up(connection: Any) -> bool:
    """An idle connection on which there is something to read: the server's good-bye, or its end."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _is_pooled_outside(connection: Any) -> bool:
    """A pooler answers for many server processes, and tells its clients process ids of its own making."""
    [process_id] = connection.execute("SELECT pg_backend_pid()").fetchone()
    # The driver has begun a transaction for it.
    connection.rollback()
    return bool(process_id != connection.info.backend_pid)
