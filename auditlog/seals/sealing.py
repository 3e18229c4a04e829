"""Seals new log entries, to prove later that none was changed, removed or inserted.

The worker takes the entries that have arrived, in order of ``id``, and writes a block about them: for each entry a
record with a MAC over all of its columns. The block's own MAC covers these records and the MAC of the block before. The
key is not in the database, so write access to the database is not enough to build another chain.

`blocks.py`, `entries.py`, `macs.py` and `keys.py` are the parts; `verification.py` checks a chain.
`docs/log-keeping.md` says what it proves and what it does not.
"""

import threading
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from itertools import repeat

from django.db import IntegrityError
from django.utils import timezone

from auditlog import final_entries
from auditlog.models import Activity, Seal, TokenUse
from auditlog.seals.blocks import block_after, last_block, pack
from auditlog.seals.entries import LARGEST_ID, MODELS, Row, first_entries, moment_of
from core.db.batches import run_batches
from core.db.sqlite_turns import job_transaction

# A busy log gets full blocks, a quiet one at most 288 a day. With a block a minute, the blocks of a log with one entry
# a minute would take more space than its entries.
MAX_ENTRIES = 500
LONGEST_WAIT = timedelta(minutes=5)

# How long sealing waits for transactions that may still add an entry.
WAIT_FOR_WRITERS_SECONDS = 0.5


def seal_due(log: Seal.Log, stopping: threading.Event, *, at_once: bool = False) -> Iterator[Seal]:
    """Adds blocks while one is due, with a pause after each for other writers.

    Stops between two blocks when ``stopping`` is set. Raises ``ChainBroken`` and ``KeyMissing``.
    """
    for block in run_batches(repeat(partial(seal_next, log, at_once=at_once)), stopping=stopping):
        if block is None:
            return
        yield block


def seal_next(log: Seal.Log, *, at_once: bool = False) -> Seal | None:
    """Adds the next block to a log; returns ``None`` if none is due.

    A block is due when enough entries wait, or when the first has waited long enough; with ``at_once``, for any entry.
    Entries are read and their MACs computed before the transaction begins. Raises ``ChainBroken`` and ``KeyMissing``.
    """
    while True:
        last = last_block(log)
        rows = _rows_due(log, after=last.last_id if last else 0, at_once=at_once)
        if not rows:
            return None
        records, newest = pack(log, rows)
        block = block_after(last, log, Seal.Kind.ENTRIES, records, newest, last_id=rows[-1][0], count=len(rows))
        if _append(block):
            return block


def seal_pruning(log: Seal.Log, before: Mapping[str, datetime]) -> Seal:
    """Adds the block that allows entries to be missing: for each organization, those before a time.

    It covers no entries itself: its range of ids is empty. It is about the blocks before it only.
    """
    newest = {organization: moment.isoformat() for organization, moment in before.items()}
    while True:
        last = last_block(log)
        end = last.last_id if last else 0
        block = block_after(last, log, Seal.Kind.PRUNED, b"", newest, last_id=end, count=0)
        if _append(block):
            return block


def _append(block: Seal) -> bool:
    """Commits the block; returns ``False`` if another worker was faster."""
    try:
        with job_transaction():
            block.save(force_insert=True)
    except IntegrityError:
        if not Seal.objects.filter(log=block.log, number=block.number).exists():
            raise
        return False
    return True


def _rows_due(log: Seal.Log, *, after: int, at_once: bool) -> list[Row]:
    model = MODELS[log]
    if not at_once:
        # The entry that arrived first. `abs`: if it is dated in the future, it must not delay the others.
        oldest = first_entries(log, after + 1, LARGEST_ID, limit=1)
        if not oldest:
            return []
        has_waited = abs(timezone.now() - moment_of(oldest[0])) > LONGEST_WAIT
        waiting = model.objects.filter(id__gt=after).order_by("id")
        if not has_waited and not waiting[MAX_ENTRIES - 1 : MAX_ENTRIES].exists():
            return []
    # The entries must be read after the last final id is known.
    return first_entries(log, after + 1, _final_until(model), limit=MAX_ENTRIES)


def _final_until(model: type[TokenUse] | type[Activity]) -> int:
    """See ``final_entries.final_until``; 0 if sealing must wait for the next round."""
    try:
        return final_entries.final_until(model, patience=WAIT_FOR_WRITERS_SECONDS)
    except final_entries.StillWriting:
        return 0
