"""Database expressions that Django's ORM doesn't have, or not with an acceptable plan."""

from datetime import timedelta
from typing import Any

from django.db.models import BooleanField, DateTimeField, Func, UUIDField, Value
from django.db.models.sql.compiler import SQLCompiler


class DaysAfter(Func):
    """The time in a column plus a number of days.

    ``F("created_at") + timedelta(days=30)`` means the same, but with it SQLite calls Python for each row: counting half
    a million tokens takes ten seconds instead of one.
    """

    arg_joiner = " + "
    template = "(%(expressions)s)"

    def __init__(self, moment: str, days: int) -> None:
        super().__init__(moment, Value(timedelta(days=days)), output_field=DateTimeField())
        self.days = days

    def as_sqlite(self, compiler: SQLCompiler, connection: Any, **context: Any) -> tuple[str, tuple[Any, ...]]:
        """SQLite stores times as text. Fractions of a second are appended afterwards: SQLite would round them."""
        moment, params = compiler.compile(self.source_expressions[0])
        later = f"datetime(substr({moment}, 1, 19), %s)"
        return f"({later} || substr({moment}, 20))", (*params, f"+{self.days} days", *params)


class LastQuarterFrom(Func):
    """When the last quarter of the time between two columns begins, to the second."""

    template = "(%(expressions)s)"

    def __init__(self, start: str, end: str) -> None:
        super().__init__(start, end, output_field=DateTimeField())

    def as_postgresql(self, compiler: SQLCompiler, connection: Any, **context: Any) -> tuple[str, tuple[Any, ...]]:
        (start, start_params), (end, end_params) = (compiler.compile(part) for part in self.source_expressions)
        return f"({end} - ({end} - {start}) / 4)", (*end_params, *end_params, *start_params)

    def as_sqlite(self, compiler: SQLCompiler, connection: Any, **context: Any) -> tuple[str, tuple[Any, ...]]:
        (start, start_params), (end, end_params) = (compiler.compile(part) for part in self.source_expressions)
        first, last = f"strftime('%%s', {start})", f"strftime('%%s', {end})"
        sql = f"strftime('%%Y-%%m-%%d %%H:%%M:%%S', {last} - ({last} - {first}) / 4, 'unixepoch')"
        return sql, (*end_params, *end_params, *start_params)


class Unindexed(Func):
    """A column of ids, compared without its index: https://sqlite.org/optoverview.html#disqualifying.

    If several indexes are possible, SQLite may choose the wrong one, because it has no statistics. PostgreSQL has.
    """

    template = "%(expressions)s"
    output_field = UUIDField()

    def as_sqlite(self, compiler: SQLCompiler, connection: Any, **context: Any) -> tuple[str, tuple[Any, ...]]:
        sql, params = self.as_sql(compiler, connection, template="+%(expressions)s")
        return sql, tuple(params)


class Rare(Func):
    """A condition that few rows satisfy: SQLite then prefers an index for it
    (https://sqlite.org/lang_corefunc.html#likelihood).

    ``ANALYZE`` reads only a part of each index, so in a large table SQLite takes two indexes for equally good.
    """

    template = "%(expressions)s"
    output_field = BooleanField()

    def as_sqlite(self, compiler: SQLCompiler, connection: Any, **context: Any) -> tuple[str, tuple[Any, ...]]:
        sql, params = self.as_sql(compiler, connection, template="likelihood(%(expressions)s, 0.000001)")
        return sql, tuple(params)
