"""Queries of a part of a table that a query of its own selects."""

from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from django.db.models.sql.compiler import SQLCompiler
from django.db.models.sql.datastructures import BaseTable

Row = TypeVar("Row", bound=Model)


def among(part: QuerySet[Row, Any]) -> QuerySet[Row]:
    """A queryset of only these rows, which Django can group even if they are limited: it refuses to group a queryset
    after its limit. ``part`` reads the fields that the new queryset uses: ``rows.values("at", ...)[:10]``.

    A condition on the ids of the rows would mean the same, but the database would look up each of them once more.
    """
    found: QuerySet[Row] = part.model._default_manager.order_by()
    alias: Any = found.query.get_initial_alias()
    found.query.alias_map[alias] = _Derived(part.model._meta.db_table, alias, part)
    return found


class _Derived(BaseTable):
    def __init__(self, table_name: str, alias: str | None, part: QuerySet[Any, Any]) -> None:
        super().__init__(table_name, alias)
        self.part = part

    def as_sql(self, compiler: SQLCompiler, connection: Any) -> Any:
        sql, params = self.part.query.get_compiler(connection=connection).as_sql()
        return f"({sql}) {compiler.quote_name_unless_alias(self.table_name)}", params
