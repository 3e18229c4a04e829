"""How far jobs have read the logs. A job starts at the end of a log and then sees each entry once.

What it does about some entries and its new place are one transaction. If the worker is killed, or two workers read the
same entries, one of them does it.
"""

from django.db.models import Model

from auditlog.final_entries import final_until
from auditlog.models import LogPlace

# How long a job waits for transactions that may still add an entry.
WAIT_FOR_WRITERS_SECONDS = 0.5


def place_of(reader: str, log: type[Model]) -> LogPlace:
    """Where the job goes on. At first, the end of the log: entries from before are no news. Raises ``StillWriting``."""
    found = LogPlace.objects.filter(reader=reader).first()
    if found is not None:
        return found
    end = final_until(log, patience=WAIT_FOR_WRITERS_SECONDS)
    return LogPlace.objects.get_or_create(reader=reader, defaults={"last_id": end})[0]


def advance(place: LogPlace, last_id: int) -> bool:
    """Saves that the entries up to ``last_id`` are done. ``False`` if another worker has done some of them.

    Call it first in the transaction that does something about them: the second worker waits here.
    """
    if not LogPlace.objects.filter(reader=place.reader, last_id=place.last_id).update(last_id=last_id):
        return False
    place.last_id = last_id
    return True
