"""Says up to which id a log is final: no entry with a lower id can be committed later.

SQLite has one writer, so it commits ids in order. On PostgreSQL an entry gets its id before its transaction commits,
and a transaction that started earlier may commit later. Sealing and followers must not skip such an entry.
"""

import time

from django.db import connection
from django.db.models import Max, Model

# Open transactions that have written to the table. A transaction takes this lock before its entry gets an id, and
# releases it after the entry is visible. Transaction ids would not work: an entry can get its id before them.
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


def final_until(model: type[Model], *, patience: float) -> int:
    """Returns the newest id of the log, once every transaction that may hold a lower id has ended.

    Waits up to ``patience`` seconds for transactions that were open when the newest id was read, then raises
    ``StillWriting``. Transactions that start to write later get higher ids, so they are not waited for.
    """
    newest: int = model._default_manager.aggregate(newest=Max("id"))["newest"] or 0
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


def _writers(model: type[Model]) -> set[tuple[str, int]]:
    with connection.cursor() as cursor:
        cursor.execute(_WRITERS, [model._meta.db_table])
        return set(cursor.fetchall())
