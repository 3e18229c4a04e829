"""What SQLite knows about its tables, from which it chooses indexes. PostgreSQL collects this itself (autovacuum)."""

import threading

from django.db import connection

# Rows that SQLite reads of each index, so that a log of millions takes milliseconds (sqlite.org/lang_analyze.html).
ROWS_READ_OF_AN_INDEX = 1000


def refresh(stopping: threading.Event) -> None:
    """Without statistics, SQLite searches many tokens by the wrong index."""
    if connection.vendor != "sqlite":
        return
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA analysis_limit = {ROWS_READ_OF_AN_INDEX}")
        cursor.execute("ANALYZE")
