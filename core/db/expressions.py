"""What the ORM cannot say to the database, or not well."""

from datetime import timedelta
from typing import Any

from django.db.models import DateTimeField, Func, UUIDField, Value
from django.db.models.sql.compiler import SQLCompiler


class DaysAfter(Func):
    """So many days after a moment in a column.

    ``F("created_at") + timedelta(days=30)`` says the same, but SQLite then calls Python for each row: with half a
    million tokens a count takes ten seconds, and one second like this.
    """

    arg_joiner = " + "
    template = "(%(expressions)s)"

    def __init__(self, moment: str, days: int) -> None:
        super().__init__(moment, Value(timedelta(days=days)), output_field=DateTimeField())
        self.days = days

    def as_sqlite(self, compiler: SQLCompiler, connection: Any, **context: Any) -> tuple[str, tuple[Any, ...]]:
        """Moments are texts there. What is less than a second is put back afterwards: SQLite would round it."""
        moment, params = compiler.compile(self.source_expressions[0])
        later = f"strftime('%%Y-%%m-%%d %%H:%%M:%%S', substr({moment}, 1, 19), %s)"
        return f"({later} || substr({moment}, 20))", (*params, f"+{self.days} days", *params)


class LastQuarterFrom(Func):
    """When the last quarter of a span begins, between the moments in two columns, to the second."""

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
    """An id in a column which is compared without its index: https://sqlite.org/optoverview.html#disqualifying.

    Where a query may take one of several indexes, SQLite, which knows nothing of how many rows each leads to, may take
    the wrong one. PostgreSQL knows.
    """

    template = "%(expressions)s"
    output_field = UUIDField()

    def as_sqlite(self, compiler: SQLCompiler, connection: Any, **context: Any) -> tuple[str, tuple[Any, ...]]:
        sql, params = self.as_sql(compiler, connection, template="+%(expressions)s")
        return sql, tuple(params)
