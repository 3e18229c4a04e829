"""Fills the authentication log. Batches that were committed before an interruption are not repeated."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import connection, transaction
from django.db.models import Index, Max
from django.utils import timezone

from auditlog.journal import _COLUMNS as JOURNAL_COLUMNS
from auditlog.models import TokenUse
from benchmarks.big_log import entries, space
from benchmarks.big_log.log import BigLog
from benchmarks.big_log.people import DAYS
from benchmarks.big_log.progress import Progress, clock, step
from benchmarks.big_log.results import Measured
from core.db import statistics

TABLE = TokenUse._meta.db_table
# Only of the connection that fills: an interrupted process loses at most one batch, but a power failure all of it.
_FAST = {
    "sqlite": [
        "PRAGMA synchronous=OFF",
        "PRAGMA cache_size=-1000000",
        "PRAGMA temp_store=MEMORY",
        "PRAGMA threads=2",
    ],
    "postgresql": ["SET synchronous_commit = off", "SET maintenance_work_mem = '1GB'"],
}


def measure(log: BigLog) -> Measured:
    """Fills the log up to its number of entries, and creates its indexes afterwards."""
    if {*entries.COLUMNS} != {"id", *JOURNAL_COLUMNS.split(", ")}:
        raise RuntimeError("The log has other columns than this benchmark fills.")
    done = last_id()
    if "start" not in log.results.noted("fill"):
        log.results.note("fill", start=entries.microseconds(timezone.now() - timedelta(days=DAYS)))
    with fast_connection():
        if not done:
            drop_indexes()
        fill(log, done)
        with step("Indexes"):
            log.results.note("fill", index_seconds=clock(create_indexes))
        renumber()
    with step("Statistics"):
        analyze()
    noted = log.results.noted("fill")
    together = noted["seconds"] + noted["index_seconds"]
    rows = [
        ["", "entries", "seconds", "entries/s"],
        line("entries", log.entries, noted["seconds"]),
        line("indexes afterwards", log.entries, noted["index_seconds"]),
        line("together", log.entries, together),
    ]
    return Measured([("filling", rows), ("disk space", space.table(log.entries))])


def line(label: str, count: int, seconds: float) -> list[str]:
    return [label, f"{count:,}", f"{seconds:,.1f}", f"{count / max(seconds, 1e-6):,.0f}"]


def fill(log: BigLog, done: int) -> None:
    start = int(log.results.noted("fill")["start"])
    between = timedelta(days=DAYS) // timedelta(microseconds=1) // log.entries
    progress = Progress("Filling", log.entries, done=done)
    for first, last in entries.batches(done + 1, log.entries):
        seconds = clock(partial(add, first, last, start=start, step=between))
        log.results.note("fill", seconds=seconds)
        progress.add(last - first + 1)


def add(first: int, last: int, *, start: int, step: int, is_distinct: bool = False) -> None:
    """Adds entries in one transaction; see ``entries.insert``."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {entries.TOKENS_TABLE}")  # noqa: S608
        numbers = {"first": first, "last": last, "tokens": cursor.fetchone()[0]}
        cursor.execute(entries.insert(connection.vendor, **numbers, start=start, step=step, is_distinct=is_distinct))


def add_history(count: int) -> None:
    """Adds entries of the whole period to the end of the log."""
    done = last_id()
    step = timedelta(days=DAYS) // timedelta(microseconds=1) // count
    start = entries.microseconds(timezone.now()) - (done + count) * step
    with fast_connection():
        for first, last in entries.batches(done + 1, done + count):
            add(first, last, start=start, step=step)
        renumber()


def add_backlog(count: int, *, is_distinct: bool = False) -> None:
    """Adds entries of the last seconds to the end of the log, which nobody has sealed."""
    first, step = last_id() + 1, 1_000
    start = entries.microseconds(timezone.now()) - (first + count) * step
    add(first, first + count - 1, start=start, step=step, is_distinct=is_distinct)
    renumber()


def last_id() -> int:
    return TokenUse.objects.aggregate(last=Max("id"))["last"] or 0


def renumber() -> None:
    """Lets the next entry that the portal adds follow the last one. SQLite does this by itself."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT setval(pg_get_serial_sequence('{TABLE}', 'id'), max(id)) FROM {TABLE}")  # noqa: S608


@contextmanager
def fast_connection() -> Iterator[None]:
    """The measurements use another connection, with the portal's settings."""
    with connection.cursor() as cursor:
        for statement in _FAST[connection.vendor]:
            cursor.execute(statement)
    try:
        yield
    finally:
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("RESET ALL")
        connection.close()


def drop_indexes() -> None:
    with connection.schema_editor() as editor:
        for index in existing_indexes():
            editor.remove_index(TokenUse, index)


def create_indexes() -> None:
    """Those of the model that are missing, each in a transaction of its own."""
    existing = {index.name for index in existing_indexes()}
    for index in TokenUse._meta.indexes:
        if index.name not in existing:
            with step(f"Index {index.name}"), connection.schema_editor() as editor:
                editor.add_index(TokenUse, index)


def existing_indexes() -> list[Index]:
    with connection.cursor() as cursor:
        names: dict[str, Any] = connection.introspection.get_constraints(cursor, TABLE)
    return [index for index in TokenUse._meta.indexes if index.name in names]


def analyze() -> None:
    """What the worker does each day on SQLite, and autovacuum on PostgreSQL."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM (ANALYZE)")
    else:
        statistics.refresh(threading.Event())
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
