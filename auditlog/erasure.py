"""Replaces the names of an erased person in sealed log entries, so that the seals still prove the entries.

The MAC of an entry covers its names. So a rewritten entry gets a new MAC, in a block of kind ``erased`` at the end of
the chain, in the transaction that rewrites it. The old MAC stays in its old block: it proves that there was an entry at
this place, and it reveals no name, because its key is not in the database. Before an entry is rewritten, it is compared
with its MAC: an erasure never makes a forged entry genuine.

Nothing else of an entry changes: its number, time, person (by id), token and address stay.
"""

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from django.db import IntegrityError, connection

from auditlog.models import Seal
from auditlog.seals import sealing
from auditlog.seals.blocks import ERASED_RECORD, RECORD, Rewritten, block_after, has_its_records, last_block
from auditlog.seals.entries import MODELS, Raw, Row, columns, organization_key, read_chosen
from auditlog.seals.macs import EntryMac, is_genuine
from core.db.batches import first_size, next_size, run_batches
from core.db.sqlite_turns import job_transaction

# What can have the name or the address of a person.
COLUMNS: dict[Seal.Log, tuple[str, ...]] = {
    Seal.Log.AUTHENTICATION: ("owner_email",),
    Seal.Log.ACTIVITY: ("actor_email", "target_name", "details"),
}

# Entries whose two columns are read at once.
WINDOW = 5_000

# Returns the values to write, by column; nothing if the entry has no name of the person.
Replace = Callable[[Mapping[str, Any]], dict[str, Any]]


class NotSealedYet(Exception):
    """Entries wait for a transaction that has not ended, so they can't be sealed. Try again in a minute."""


class Progress(NamedTuple):
    """After a batch. ``last_id``: where the next run can go on. ``forged``: how many entries were changed before by
    someone else; they stay as they are, and `verify_logs` names them."""

    last_id: int
    rewritten: int
    forged: int


def rewrite(
    log: Seal.Log, column: str, value: uuid.UUID | None, replace: Replace, *, after: int, stopping: threading.Event
) -> Iterator[Progress]:
    """Rewrites sealed entries with this value in this column, in batches and in order of ``id``, and yields after each.

    Call it when no new entry gets the names any more. Seals first what is not sealed. Stops between two batches when
    ``stopping`` is set. Raises ``NotSealedYet``, ``ChainBroken`` and ``KeyMissing``.
    """
    newest = MODELS[log].objects.order_by("-id").values_list("id", flat=True).first() or 0
    for _ in sealing.seal_due(log, stopping, at_once=True):
        pass
    last = last_block(log)
    if not stopping.is_set() and (last.last_id if last else 0) < newest:
        raise NotSealedYet("Some log entries can't be sealed yet. Try again in a minute.")
    rewriter = _Rewriter(log, replace)
    size = first_size()

    def batches() -> Iterator[Callable[[], tuple[Progress, float]]]:
        for ids, last_id in _windows(log, column, value, after=after, newest=newest):
            while ids:
                some, ids = ids[:size], ids[size:]
                # Most entries have no name of the person: they are read without a lock.
                found = [row[0] for row in read_chosen(log, some) if rewriter.changes(row)]
                yield partial(rewriter.run, found, some[-1])
            yield partial(rewriter.run, [], last_id)

    for progress, seconds in run_batches(batches(), stopping=stopping):
        yield progress
        size = next_size(size, seconds) if progress.rewritten else size


def _windows(
    log: Seal.Log, column: str, value: uuid.UUID | None, *, after: int, newest: int
) -> Iterator[tuple[list[int], int]]:
    """Yields for each range of ids those of the entries with the value, and the last id of the range.

    Reads the whole log by its primary key, two columns of each entry. The index of a person's entries has their time
    first, so each batch of a condition on the person would sort all of their entries.
    """
    rows = MODELS[log].objects.order_by("id").values_list("id", column)
    while after < newest:
        some = list(rows.filter(id__gt=after, id__lte=newest)[:WINDOW])
        if not some:
            return
        after = some[-1][0]
        yield [entry_id for entry_id, found in some if found == value], after


class _Rewriter:
    def __init__(self, log: Seal.Log, replace: Replace) -> None:
        self._log = log
        self._replace = replace
        self._model = MODELS[log]
        self._names = columns(self._model)
        self._mac = EntryMac(log)
        self._rewritten = Rewritten()
        self._newest_block = 0

    def changes(self, row: Row) -> dict[str, Any]:
        """What is to be written; nothing for an entry that can't be read, because it was tampered with."""
        named = dict(zip(self._names, row, strict=True))
        values = {name: named[name] for name in COLUMNS[self._log]}
        return {} if any(isinstance(value, Raw) for value in values.values()) else self._replace(values)

    def run(self, ids: Sequence[int], last_id: int) -> tuple[Progress, float]:
        """Returns also for how many seconds the lock was held."""
        while ids:
            try:
                with job_transaction():
                    started_at = time.perf_counter()
                    rewritten, forged = self._run(ids)
                return Progress(last_id, rewritten, forged), time.perf_counter() - started_at
            except IntegrityError:
                # Another worker added a block of the same number.
                continue
        return Progress(last_id, 0, 0), 0.0

    def _run(self, ids: Sequence[int]) -> tuple[int, int]:
        """Returns how many entries were rewritten, and how many are not what was sealed."""
        # On PostgreSQL: the names of another person may be replaced in the same entries just now.
        list(self._model.objects.select_for_update().filter(id__in=ids).order_by("id").values_list("id", flat=True))
        known = self._known_macs(ids)
        before = read_chosen(self._log, ids)
        genuine = [row for row in before if known.get(row[0]) == self._mac(row)]
        changed = {row[0]: values for row in genuine if (values := self.changes(row))}
        for values, chosen in _grouped(changed):
            self._write(chosen, values)
        rows = read_chosen(self._log, [*changed])
        if rows:
            self._append(rows)
        return len(rows), len(before) - len(genuine)

    def _known_macs(self, ids: Sequence[int]) -> dict[int, bytes]:
        """The MACs that the entries should have."""
        found: dict[int, bytes] = {}
        blocks = Seal.objects.filter(log=self._log, kind=Seal.Kind.ENTRIES, entries__isnull=False).order_by("last_id")
        covered = 0
        for entry_id in ids:
            if entry_id <= covered:
                continue
            block = blocks.filter(last_id__gte=entry_id).first()
            if block is not None and block.first_id <= entry_id and _is_intact(block):
                covered = block.last_id
                found |= {record[0]: record[3] for record in RECORD.iter_unpack(block.entries or b"")}
        newer = Seal.objects.filter(log=self._log, kind=Seal.Kind.ERASED, number__gt=self._newest_block)
        for block in newer.order_by("number"):
            if _is_intact(block):
                self._rewritten.add(block, is_newest=True)
            self._newest_block = block.number
        return found | self._rewritten.within(ids[0], ids[-1])

    def _write(self, ids: Sequence[int], values: dict[str, Any]) -> None:
        """Not ``QuerySet.update``, which log entries refuse."""
        quote = connection.ops.quote_name
        names = ", ".join(f"{quote(name)} = %s" for name in values)
        adapted = [
            self._model._meta.get_field(name).get_db_prep_save(value, connection)  # type: ignore[union-attr]
            for name, value in values.items()
        ]
        places = ", ".join(["%s"] * len(ids))
        with connection.cursor() as cursor:
            table = quote(self._model._meta.db_table)
            cursor.execute(f"UPDATE {table} SET {names} WHERE id IN ({places})", [*adapted, *ids])  # noqa: S608

    def _append(self, rows: Sequence[Row]) -> None:
        records = b"".join(ERASED_RECORD.pack(row[0], self._mac(row)) for row in rows)
        newest: dict[str, datetime] = {}
        for row in rows:
            organization = organization_key(row[2])
            newest[organization] = max(row[1], newest.get(organization, row[1]))
        last = last_block(self._log)
        block = block_after(
            last,
            self._log,
            Seal.Kind.ERASED,
            records,
            {organization: moment.isoformat() for organization, moment in newest.items()},
            last_id=last.last_id if last else 0,
            count=len(rows),
        )
        block.save(force_insert=True)


def _grouped(changed: Mapping[int, dict[str, Any]]) -> list[tuple[dict[str, Any], list[int]]]:
    """The ids of entries that get the same values."""
    groups: dict[str, tuple[dict[str, Any], list[int]]] = {}
    for entry_id, values in changed.items():
        groups.setdefault(json.dumps(values, sort_keys=True), (values, []))[1].append(entry_id)
    return [*groups.values()]


def _is_intact(block: Seal) -> bool:
    return is_genuine(block) and has_its_records(block)
