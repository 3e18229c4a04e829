"""Locks rows until the transaction ends."""

from typing import Any, TypeVar

from django.db.models import Model, QuerySet

Row = TypeVar("Row", bound=Model)


def lock(rows: "QuerySet[Row]", pk: Any) -> Row:
    """The row as it is now, locked until the transaction ends. Raises ``DoesNotExist``.

    The row can be read, and other rows can refer to it, but nobody else can change, lock or delete it. For an update
    that other tables must not refer to meanwhile, use ``select_for_update()`` itself. Tables that ``rows`` joins are
    not locked. SQLite has no row locks and needs none: a transaction that writes is the only one.
    """
    return rows.select_for_update(of=("self",), no_key=True).get(pk=pk)


def lock_if_exists(rows: "QuerySet[Row]", pk: Any) -> Row | None:
    """As ``lock``; ``None`` if there is no such row."""
    return lock_first(rows.filter(pk=pk))


def lock_first(rows: "QuerySet[Row]") -> Row | None:
    """As ``lock``, for the first of these rows; ``None`` if there is none."""
    return rows.select_for_update(of=("self",), no_key=True).order_by("pk").first()


def lock_all(rows: "QuerySet[Row]") -> list[Row]:
    """As ``lock``, for all of these rows, always in the same order: two transactions can't wait for each other."""
    return list(rows.select_for_update(of=("self",), no_key=True).order_by("pk"))
