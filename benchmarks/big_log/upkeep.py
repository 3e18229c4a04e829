"""VACUUM and ANALYZE."""

import threading

from django.db import connection

from benchmarks.big_log import space
from benchmarks.big_log.log import BigLog
from benchmarks.big_log.progress import clock, step
from benchmarks.big_log.results import Measured
from core.db import statistics


def measure(log: BigLog) -> Measured:
    """On PostgreSQL a plain VACUUM, which lets others read and write; on SQLite nobody can write meanwhile."""
    before = space.total()
    with step("VACUUM"):
        vacuum = clock(lambda: execute("VACUUM"))
    with step("ANALYZE"):
        analyze = clock(lambda: statistics.refresh(threading.Event()))
    rows = [["", "seconds"], ["VACUUM", f"{vacuum:,.1f}"], ["ANALYZE", f"{analyze:,.2f}"]]
    sizes = [["whole database", "MB"], ["before", f"{before / 1e6:,.0f}"], ["after", f"{space.total() / 1e6:,.0f}"]]
    return Measured([("VACUUM and ANALYZE", rows), ("disk space before and after VACUUM", sizes)])


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)
