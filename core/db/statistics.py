"""What the database knows about its tables, from which it chooses indexes."""

import threading

from django.db import connection

# Rows that SQLite reads of each index, so that a log of millions takes milliseconds (sqlite.org/lang_analyze.html).
ROWS_READ_OF_AN_INDEX = 1000


def refresh(stopping: threading.Event) -> None:
    """Without statistics, SQLite searches many tokens by the wrong index.

    PostgreSQL's autovacuum collects them too, but operators can switch it off. Only a sample of each table is read.
    """
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"PRAGMA analysis_limit = {ROWS_READ_OF_AN_INDEX}")
            cursor.execute("ANALYZE")
            return
        for table in connection.introspection.django_table_names(only_existing=True):
            if stopping.is_set():
                return
            cursor.execute(f"ANALYZE {connection.ops.quote_name(table)}")
