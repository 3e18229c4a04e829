"""Queries of a small range of the primary key, whatever other conditions they have."""

from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from django.db.models.sql.compiler import SQLCompiler
from django.db.models.sql.datastructures import BaseTable

Row = TypeVar("Row", bound=Model)


def by_primary_key(queryset: QuerySet[Row]) -> QuerySet[Row]:
    """The same rows. On SQLite, no other index is used.

    SQLite doesn't know how small a range is. It would rather read all rows of a person or a token, and sort them.
    PostgreSQL knows it from its statistics.
    """
    found = queryset.all()
    alias: Any = found.query.get_initial_alias()
    found.query.alias_map[alias] = _NotIndexed(queryset.model._meta.db_table, alias)
    return found


class _NotIndexed(BaseTable):
    """https://sqlite.org/lang_indexedby.html"""

    def as_sql(self, compiler: SQLCompiler, connection: Any) -> Any:
        sql, params = super().as_sql(compiler, connection)
        return (f"{sql} NOT INDEXED" if connection.vendor == "sqlite" else sql), params
