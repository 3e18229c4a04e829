"""Removes old entries from both logs, and what was counted of them. `accounts/log_retention.py` says which are old.

This is the only code that removes entries, and it removes only sealed ones. First a block of kind ``pruned`` says in
the chain which entries may be missing. Then rows are deleted in short batches: SQLite has one writer at a time, and
requests with a token wait for it.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import BooleanField, F, Func, Max, QuerySet
from django.utils import timezone

from auditlog import counting
from auditlog.models import OrganizationUsage, Seal, TokenUsage
from auditlog.seals import sealing
from auditlog.seals.blocks import ERASED_RECORD, Cutoffs, last_block, load_blocks
from auditlog.seals.entries import MODELS, organization_key
from auditlog.seals.macs import is_genuine
from core.db.batches import first_size, next_size, run_batches
from core.db.sqlite_turns import job_transaction


@dataclass(frozen=True)
class Cut:
    """The entries of one log that one organization no longer keeps; ``organization_id`` is null for entries without."""

    log: Seal.Log
    organization_id: uuid.UUID | None
    name: str
    before: datetime

    def entries(self) -> QuerySet[Any]:
        """Oldest first, read by the index of the organization's entries."""
        return _of(MODELS[self.log], self.organization_id).filter(at__lt=self.before).order_by("at", "id")

    def counts(self) -> list[QuerySet[Any]]:
        """The rows that were counted from these entries."""
        if self.log != Seal.Log.AUTHENTICATION:
            return []
        days = [_of(model, self.organization_id) for model in (TokenUsage, OrganizationUsage)]
        return [rows.filter(day__lt=self.before.date()).order_by("day", "id") for rows in days]


class Kept(NamedTuple):
    """An organization's name, and for how many days it keeps its entries."""

    name: str
    days: int


def cuts_due(log: Seal.Log, kept: Callable[[uuid.UUID | None], Kept | None]) -> list[Cut]:
    """What can be removed now: whole days (UTC), so that entries and what was counted of them go together.

    ``kept`` is called with the id of each organization that has entries, and with ``None`` for entries of no
    organization; where it returns ``None``, nothing is removed.
    """
    cuts = []
    for organization_id in _organizations_in(MODELS[log]):
        found = kept(organization_id)
        if found is None:
            continue
        cut = Cut(log, organization_id, found.name, _start_of_day_before(found.days))
        if cut.entries().exists():
            cuts.append(cut)
    return cuts


def prune(log: Seal.Log, cuts: Sequence[Cut], *, stopping: threading.Event) -> Iterator[tuple[Cut, int]]:
    """Removes entries batch by batch; yields after each batch which cut it belonged to and how many were removed.

    Stops between two batches when ``stopping`` is set; the next call removes the rest. Raises ``ChainBroken`` or
    ``KeyMissing`` before anything is removed.
    """
    newest_id = max((cut.entries().aggregate(newest=Max("id"))["newest"] or 0 for cut in cuts), default=0)
    if _sealed_until(log) < newest_id:
        for block in sealing.seal_due(log, stopping, at_once=True):
            if block.last_id >= newest_id:
                break
    last_id = _removable_until(log, stopping)
    sealed = [cut for cut in cuts if cut.entries().filter(id__lte=last_id).exists()]
    if stopping.is_set() or not sealed:
        return
    sealing.seal_pruning(log, {organization_key(cut.organization_id): cut.before for cut in sealed})
    for cut in sealed:
        for counts in cut.counts():
            for _ in _remove(counts, stopping):
                pass
        for removed in _remove(cut.entries().filter(id__lte=last_id), stopping):
            yield cut, removed
    _drop_lists(log, stopping)


def _sealed_until(log: Seal.Log) -> int:
    last = last_block(log)
    return last.last_id if last else 0


def _removable_until(log: Seal.Log, stopping: threading.Event) -> int:
    """The newest entry that is sealed and counted. An entry counted later would add to a day that has been removed."""
    if log != Seal.Log.AUTHENTICATION:
        return _sealed_until(log)
    for _ in counting.count_due(stopping):
        pass
    return min(_sealed_until(log), counting.counted_until())


def _remove(rows: QuerySet[Any], stopping: threading.Event) -> Iterator[int]:
    """Removes these rows in batches and yields how many each removed: less than its size if another process prunes."""
    size = first_size()

    def batches() -> Iterator[Callable[[], tuple[int, float]]]:
        # Reads the ids before the lock is taken.
        while ids := list(rows.values_list("id", flat=True)[:size]):
            yield partial(_delete, rows.model, ids)

    for removed, seconds in run_batches(batches(), stopping=stopping):
        yield removed
        size = next_size(size, seconds)


def _delete(model: Any, ids: Sequence[int]) -> tuple[int, float]:
    """Returns how many rows were deleted, and for how many seconds the lock was held."""
    with job_transaction():
        started_at = time.perf_counter()
        # Not QuerySet.delete, which log entries refuse.
        removed: int = model.objects.filter(id__in=ids)._raw_delete(connection.alias)
    return removed, time.perf_counter() - started_at


def _drop_lists(log: Seal.Log, stopping: threading.Event) -> None:
    """Empties the record lists of blocks whose entries are all gone. Digests stay, so the chain can be verified."""
    for _ in run_batches(_lists_to_drop(log), stopping=stopping):
        pass


def _lists_to_drop(log: Seal.Log) -> Iterator[Callable[[], None]]:
    cutoffs = Cutoffs()
    for block in load_blocks(Seal.objects.filter(log=log).exclude(entries=None).defer("entries").order_by("-number")):
        if not is_genuine(block):
            continue
        if block.kind == Seal.Kind.PRUNED:
            cutoffs.add(block)
        elif cutoffs.cover_all_of(block) and not _has_entries(block):
            yield partial(_drop_list, block)


def _drop_list(block: Seal) -> None:
    with job_transaction():
        Seal.objects.filter(pk=block.pk).update(entries=None)


def _has_entries(block: Seal) -> bool:
    model = MODELS[Seal.Log(block.log)]
    if block.kind == Seal.Kind.ERASED:
        ids = [record[0] for record in ERASED_RECORD.iter_unpack(block.entries or b"")]
        return model.objects.filter(id__in=ids).exists()
    return model.objects.filter(id__range=(block.first_id, block.last_id)).exists()


class _IsId(Func):
    """Whether a stored id is as the portal writes it. SQLite stores anything in any column, PostgreSQL only ids.

    Other texts are no ids even if Python reads them as one ("{...}", capital letters): they are in another order, so a
    search for the next id would skip some or return to the same one.
    """

    output_field = BooleanField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = f"(typeof(%(expressions)s) = 'text' AND %(expressions)s GLOB '{'[0-9a-f]' * 32}')"
        return self.as_sql(compiler, connection, template=template, **context)

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="(%(expressions)s IS NOT NULL)", **context)


def _organizations_in(model: Any) -> Iterator[uuid.UUID | None]:
    """The organizations that have entries. Skips from one to the next by the index, however many entries each has.

    An entry with anything else in place of the id is of no organization, so it is never removed: it was tampered with,
    and is the evidence for that.
    """
    yield None
    ids = model.objects.filter(_IsId(F("organization_id"))).order_by("organization_id")
    found = ids.values_list("organization_id", flat=True).first()
    while found is not None:
        yield found
        found = ids.filter(organization_id__gt=found).values_list("organization_id", flat=True).first()


def _of(model: Any, organization_id: uuid.UUID | None) -> QuerySet[Any]:
    found: QuerySet[Any] = model.objects.all()
    if organization_id is None:
        return found.filter(organization__isnull=True)
    return found.filter(organization_id=organization_id)


def _start_of_day_before(days: int) -> datetime:
    today = timezone.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=days)
