"""The database's part of a page: its statements are recorded once, and then repeated and timed."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection

from benchmarks.big_log.progress import Milliseconds
from benchmarks.big_log.progress import milliseconds as milliseconds_of

TABLE = "auditlog_tokenuse"
_INDEX = re.compile(r"USING (?:COVERING )?INDEX (\w+)|using (\w+) on|Index Scan on (\w+)")
_WHOLE_TABLE = re.compile(rf"SCAN {TABLE}\b|Seq Scan on {TABLE}\b")


@dataclass(frozen=True)
class Statement:
    sql: str
    params: Any

    def run(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(self.sql, self.params)
            cursor.fetchall()

    @property
    def is_of_chart(self) -> bool:
        """Lists read the log only; charts also read what was counted."""
        return bool(re.search(r'"auditlog_(?!tokenuse")', self.sql))

    def plan(self) -> str:
        words = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
        with connection.cursor() as cursor:
            cursor.execute(f"{words} {self.sql}", self.params)
            return "\n".join(str(row[-1]) for row in cursor.fetchall())


def recorded(work: Callable[[], Any]) -> list[Statement]:
    """The statements about a log that ``work`` executes."""
    found: list[Statement] = []

    def note(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if '"auditlog_' in sql:
            found.append(Statement(sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        work()
    return found


def milliseconds(statements: Sequence[Statement]) -> Milliseconds:
    """The time of all of them together."""

    def run() -> None:
        for statement in statements:
            statement.run()

    return milliseconds_of(run)


def reads_whole_table(statements: Sequence[Statement]) -> bool:
    return any(_WHOLE_TABLE.search(statement.plan()) for statement in statements)


def indexes(statements: Sequence[Statement]) -> str:
    """The indexes that the plans use, or WHOLE TABLE."""
    if reads_whole_table(statements):
        return "WHOLE TABLE"
    found = [name for statement in statements for match in _INDEX.findall(statement.plan()) for name in match if name]
    return ", ".join(dict.fromkeys(found)) or "none"
