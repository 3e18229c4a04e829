"""Counts the database statements of a request, in a process with Django's settings."""

from collections.abc import Callable, Iterable
from typing import Any

from django.db import connection, connections
from django.db.backends.signals import connection_created
from django.test import Client

COUNTED = 20
# Statements that only control transactions or connections.
_CONTROL = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "SET", "PRAGMA")
_WRITING = ("INSERT", "UPDATE", "DELETE", "WITH")


def per_request(targets: Iterable[tuple[str, str]]) -> list[dict[str, float]]:
    """Returns averages of 20 requests, after two for warming up, for each path and ``Authorization``.

    ``checks`` counts the statements before the first one that writes; ``entry`` counts the others. The endpoint has no
    query of its own, so reading belongs to the check and writing to the log. Includes connections of other threads.
    """
    seen: list[str] = []

    def note(execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: Any) -> Any:
        seen.append(str(sql))
        return execute(sql, parameters, many, context)

    def watch(sender: Any, connection: Any, **rest: Any) -> None:
        if note not in connection.execute_wrappers:
            connection.execute_wrappers.append(note)

    connection_created.connect(watch)
    watch(None, connection)
    try:
        return [_count(path, authorization, seen) for path, authorization in targets]
    finally:
        connection_created.disconnect(watch)
        connections.close_all()


def _count(path: str, authorization: str, seen: list[str]) -> dict[str, float]:
    client = Client(SERVER_NAME="127.0.0.1", headers={"Authorization": authorization} if authorization else {})
    checks = entries = 0
    for number in range(COUNTED + 2):
        seen.clear()
        answer = client.get(path)
        if answer.status_code != 200:
            raise RuntimeError(f"{path} answered {answer.status_code}: {answer.content[:500]!r}")
        statements = [sql for sql in seen if not sql.startswith(_CONTROL)]
        writing = [index for index, sql in enumerate(statements) if sql.startswith(_WRITING)]
        first = writing[0] if writing else len(statements)
        if number >= 2:
            checks += first
            entries += len(statements) - first
    return {"checks": checks / COUNTED, "entry": entries / COUNTED}
