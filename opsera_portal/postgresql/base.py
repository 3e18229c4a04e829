"""Django's PostgreSQL backend, with what a request in the hot path needs of it: connections that are alive, and
statements that are planned once."""

import select
from typing import Any

from django.db.backends.postgresql import base, operations

_ServerBindingCursor: Any = base.ServerBindingCursor


class DatabaseOperations(operations.DatabaseOperations):
    def last_executed_query(self, cursor: Any, sql: str, params: Any) -> str:
        """For who counts and shows queries. The driver keeps none of a statement that it had prepared."""
        return super().last_executed_query(cursor, sql, params) or sql


class DatabaseWrapper(base.DatabaseWrapper):
    ops_class = DatabaseOperations

    def prepared_cursor(self) -> Any:
        """A cursor that prepares its statement in the server; see `opsera_portal.prepared`."""
        self.ensure_connection()
        return self._prepare_cursor(_PreparingCursor(self.connection))  # type: ignore[attr-defined]

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
        return connection


class _PreparingCursor(_ServerBindingCursor):
    def execute(self, query: Any, params: Any = None) -> Any:
        return super().execute(query, params, prepare=True)


def _has_been_hung_up(connection: Any) -> bool:
    """An idle connection on which there is something to read: the server's good-bye, or its end."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
