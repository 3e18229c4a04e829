"""Locks rows until the transaction ends."""

from typing import Any, TypeVar

from django.db.models import Model, QuerySet

Row = TypeVar("Row", bound=Model)


def lock(rows: "QuerySet[Row]", pk: Any, *, blocks_references: bool = False) -> Row:
    """The row as it is now, locked until the transaction ends. Raises ``DoesNotExist``.

    The row can be read, and other rows can refer to it, but nobody else can change, lock or delete it. Tables that
    ``rows`` joins are not locked. SQLite has no row locks and needs none: a transaction that writes is the only one.

    ``blocks_references`` also waits for transactions that refer to the row. Use it before the row is deleted, or a
    unique column changes that a foreign key could name: PostgreSQL needs that lock then, and taking it late can be a
    deadlock. Unique expressions, such as ``Lower("email")``, don't need it.
    """
    return _locked(rows, blocks_references).get(pk=pk)


def lock_if_exists(rows: "QuerySet[Row]", pk: Any, *, blocks_references: bool = False) -> Row | None:
    """As ``lock``; ``None`` if there is no such row."""
    return lock_first(rows.filter(pk=pk), blocks_references=blocks_references)


def lock_first(rows: "QuerySet[Row]", *, blocks_references: bool = False) -> Row | None:
    """As ``lock``, for the first of these rows; ``None`` if there is none."""
    return _locked(rows, blocks_references).first()


def lock_all(rows: "QuerySet[Row]", *, blocks_references: bool = False) -> list[Row]:
    """As ``lock``, for all of these rows, always in the same order: two transactions can't wait for each other."""
    return list(_locked(rows, blocks_references))


def _locked(rows: "QuerySet[Row]", blocks_references: bool) -> "QuerySet[Row]":
    return rows.select_for_update(of=("self",), no_key=not blocks_references).order_by("pk")
