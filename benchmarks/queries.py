"""Counts what a request asks of the database, inside of a process with Django's settings."""

from collections.abc import Callable, Iterable
from typing import Any

from django.db import connection, connections
from django.db.backends.signals import connection_created
from django.test import Client

COUNTED = 20
# What only begins and ends transactions and sets connections up.
_CONTROL = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "SET", "PRAGMA")
_WRITING = ("INSERT", "UPDATE", "DELETE", "WITH")


def per_request(targets: Iterable[tuple[str, str]]) -> list[dict[str, float]]:
    """For each path and ``Authorization``, on average of 20 requests after two that warm up: ``checks``, the
    statements before the first that writes, and ``entry``, those from there on.

    The endpoint has no query of its own, so what reads belongs to the check and what writes to the log. Connections of
    other threads are watched too.
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
