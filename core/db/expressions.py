"""Database expressions that Django's ORM doesn't have, or not with an acceptable plan."""

from datetime import timedelta
from typing import Any

from django.db.models import (
    BooleanField,
    Count,
    DateTimeField,
    Func,
    IntegerField,
    QuerySet,
    Subquery,
    UUIDField,
    Value,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce
from django.db.models.sql.compiler import SQLCompiler


class LastsLonger(Func):
    """Whether the time between two columns is longer than a number of days.

    ``end__gt=F("start") + timedelta(days=30)`` means the same, but with it SQLite calls Python for each row: counting
    half a million tokens takes ten seconds instead of one.
    """

    template = "%(expressions)s"
    output_field = BooleanField()

    def __init__(self, start: str, end: str, *, days: int) -> None:
        super().__init__(start, end, Value(timedelta(days=days)))
        self.days = days

    def as_postgresql(self, compiler: SQLCompiler, connection: Any, **context: Any) -> tuple[str, tuple[Any, ...]]:
        (start, start_params), (end, end_params), (days, days_params) = map(compiler.compile, self.source_expressions)
        return f"({end} > {start} + {days})", (*end_params, *start_params, *days_params)

    def as_sqlite(self, compiler: SQLCompiler, connection: Any, **context: Any) -> tuple[str, tuple[Any, ...]]:
        """SQLite stores times as text. Fractions of a second are appended afterwards: SQLite would round them. The days
        alone are compared first, because that decides for most rows, in half of the time."""
        (start, start_params), (end, end_params), _ = map(compiler.compile, self.source_expressions)
        later = f"+{self.days} days"
        on_the_day = f"{end} >= date(substr({start}, 1, 10), %s)"
        after_it = f"{end} > (datetime(substr({start}, 1, 19), %s) || substr({start}, 20))"
        params = (*end_params, *start_params, later, *end_params, *start_params, later, *start_params)
        return f"({on_the_day} AND {after_it})", params


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


def number_of(rows: QuerySet[Any]) -> Combinable:
    """How many rows there are, as a part of another query."""
    counted = rows.order_by().values(_same=Value(1)).annotate(_number=Count("*")).values("_number")
    return Coalesce(Subquery(counted, output_field=IntegerField()), 0)
