"""Up to which id a log is complete: no entry with a lower id can be committed later.

SQLite has one writer, so it commits ids in order. On PostgreSQL a transaction takes its id before it commits, and one
that started earlier may commit later. The seals and followers of a log must not pass such an entry.
"""

import time

from django.db import connection
from django.db.models import Max

from auditlog.models import Activity, TokenUse

# Transactions that have written to the table and have not ended. A transaction takes this lock before it gets an id and
# gives it back after its entry is visible. Its own transaction id would not do: it may get that later than the entry's.
_WRITERS = """
    SELECT virtualtransaction, pid FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted AND relation = %s::regclass
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND pid IS DISTINCT FROM pg_backend_pid()
"""


class StillWriting(Exception):
    """Transactions that may add an entry have not ended in time. ``processes`` are their PostgreSQL process ids."""

    def __init__(self, processes: set[int]) -> None:
        super().__init__(processes)
        self.processes = processes


def final_until(model: type[TokenUse] | type[Activity], *, patience: float) -> int:
    """The newest id of the log, when every transaction with a lower id has ended.

    Waits ``patience`` seconds for those that were writing when the newest id was read, then raises ``StillWriting``.
    Transactions that start to write later get higher ids, so they delay nobody.
    """
    newest: int = model.objects.aggregate(newest=Max("id"))["newest"] or 0
    if connection.vendor != "postgresql":
        return newest
    unfinished = _writers(model)
    give_up_at = time.monotonic() + patience
    while unfinished:
        if time.monotonic() > give_up_at:
            raise StillWriting({process for _, process in unfinished if process})
        time.sleep(0.01)
        unfinished &= _writers(model)
    return newest


def _writers(model: type[TokenUse] | type[Activity]) -> set[tuple[str, int]]:
    with connection.cursor() as cursor:
        cursor.execute(_WRITERS, [model._meta.db_table])
        return set(cursor.fetchall())
