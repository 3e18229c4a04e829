"""Counts the uses of tokens from the authentication log, so that the cost of a chart does not grow with the log.

Entries are counted once, in order of ``id``, shortly after they are committed; sealing plays no part in it.
``UsageProgress`` says how far counting is. `usage.py` reads the counts, and adds the few entries after that.
"""

import logging
import re
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from typing import Any, NamedTuple

from django.db import IntegrityError, connection, models

from auditlog import address_names, final_entries
from auditlog.models import ENDED_REASONS, OrganizationUsage, TokenUsage, TokenUse, UsageProgress
from core.db.batches import first_size, next_size, run_batches
from core.db.sqlite_turns import job_transaction
from core.db.unreadable import UNREADABLE

# Entries that one query reads.
READ_AT_ONCE = 5_000
# How long counting waits for transactions that may still add an entry.
WAIT_FOR_WRITERS_SECONDS = 0.5

_catching_up = threading.Lock()
logger = logging.getLogger(__name__)

_COLUMNS = ("id", "at", "token_id", "owner_id", "organization_id", "ip", "outcome", "reason")
_COUNTS = ("allowed", "refused", "after_end")
_MOMENTS = ("first_at", "last_at", "first_after_end_at", "last_after_end_at")
_LONGEST_ADDRESS = 39
_STORED_UUID = re.compile("[0-9a-f]{32}")


class Entry(NamedTuple):
    """The columns that are counted, as the driver returns them."""

    id: int
    at: Any
    token_id: Any
    owner_id: Any
    organization_id: Any
    ip: Any
    outcome: Any
    reason: Any


@dataclass(slots=True)
class Count:
    """What is known about the uses of one token on one day from one address."""

    owner_id: Any
    organization_id: Any
    allowed: int = 0
    refused: int = 0
    after_end: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None
    first_after_end_at: datetime | None = None
    last_after_end_at: datetime | None = None

    def add(self, entry: Entry, at: datetime) -> None:
        is_allowed = entry.outcome == TokenUse.Outcome.ALLOWED
        self.allowed += is_allowed
        self.refused += not is_allowed
        self.first_at, self.last_at = _extended(self.first_at, self.last_at, at)
        if entry.reason in ENDED_REASONS:
            self.after_end += 1
            moments = _extended(self.first_after_end_at, self.last_after_end_at, at)
            self.first_after_end_at, self.last_after_end_at = moments


def _extended(first: datetime | None, last: datetime | None, at: datetime) -> tuple[datetime, datetime]:
    return at if first is None or at < first else first, at if last is None or at > last else last


@dataclass(slots=True)
class OrganizationCount:
    """The uses of all tokens of one organization on one day."""

    allowed: int = 0
    refused: int = 0

    def add(self, entry: Entry) -> None:
        if entry.outcome == TokenUse.Outcome.ALLOWED:
            self.allowed += 1
        else:
            self.refused += 1


Key = tuple[Any, date, str]


@dataclass
class Batch:
    """Entries that are counted in one transaction: their number, the last of them, and their counts."""

    entries: int = 0
    last_id: int = 0
    newest_at: datetime | None = None
    by_key: dict[Key, Count] = field(default_factory=dict)
    by_organization: defaultdict[tuple[Any, date], OrganizationCount] = field(
        default_factory=lambda: defaultdict(OrganizationCount)
    )

    def add(self, entry: Entry) -> None:
        self.entries += 1
        self.last_id = entry.id
        at = moment_of(entry.at)
        if at is None or not is_readable(entry):
            return
        self.newest_at = max(self.newest_at or at, at)
        key = (entry.token_id, at.date(), entry.ip or "")
        if key not in self.by_key:
            self.by_key[key] = Count(entry.owner_id, entry.organization_id)
        self.by_key[key].add(entry, at)
        if entry.organization_id is not None:
            self.by_organization[entry.organization_id, at.date()].add(entry)


def count_due(stopping: threading.Event | None = None) -> Iterator[int]:
    """Counts the entries that are there and not counted yet, and yields after each batch how many entries it had.

    Leaves entries that arrive meanwhile to the next call; beside a busy writer, it would never end otherwise. Pauses
    after each batch for other writers, and stops between two batches when ``stopping`` is set, or when another process
    has counted the same entries.
    """
    size = first_size()

    def batches() -> Iterator[Callable[[], tuple[Batch | None, float]]]:
        waiting: list[Entry] = []
        until = _final_until()
        progress = stored_progress()
        while waiting := waiting or _next_entries(progress, until):
            batch = _summed(waiting, counts=size)
            waiting = waiting[batch.entries :]
            yield partial(_commit, progress, batch)
            progress = UsageProgress(last_id=batch.last_id)

    for batch, seconds in run_batches(batches(), stopping=stopping):
        if batch is None:
            return
        address_names.note(ip for _, _, ip in batch.by_key)
        yield batch.entries
        size = next_size(size, seconds)


def catch_up() -> None:
    """Counts in a thread of this process. Usually the worker does it; a portal without one must not stay behind."""
    if _catching_up.acquire(blocking=False):
        try:
            threading.Thread(target=_count_and_release, name="counting", daemon=True).start()
        except RuntimeError:
            # The machine allows no further thread just now.
            _catching_up.release()
            logger.exception("Uses of tokens cannot be counted")


def _count_and_release() -> None:
    try:
        for _ in count_due():
            pass
    except Exception:
        logger.exception("Uses of tokens cannot be counted")
    finally:
        connection.close()
        _catching_up.release()


def counted_until() -> int:
    """The newest ``id`` that has been counted."""
    progress = stored_progress()
    return progress.last_id if progress else 0


def stored_progress() -> UsageProgress | None:
    """``None`` if nothing is counted, or if the row cannot be read: everything is counted again then."""
    try:
        found = UsageProgress.objects.first()
    except UNREADABLE:
        return None
    can_be_read = found and isinstance(found.last_id, int) and isinstance(found.newest_at, datetime | None)
    return found if can_be_read else None


def _summed(entries: Iterable[Entry], *, counts: int) -> Batch:
    """The first entries, as many as change about this number of rows."""
    batch = Batch()
    for entry in entries:
        batch.add(entry)
        if len(batch.by_key) >= counts:
            break
    return batch


def _commit(progress: UsageProgress | None, batch: Batch) -> tuple[Batch | None, float]:
    """Adds a batch to the stored counts. Returns it, or ``None`` if another process was faster, and for how many
    seconds the lock was held."""
    started_at = time.perf_counter()
    try:
        with job_transaction():
            started_at = time.perf_counter()
            if not _advance(progress, batch):
                return None, 0.0
            _add(batch)
    except IntegrityError:
        if progress is None and UsageProgress.objects.exists():
            return None, 0.0
        raise
    return batch, time.perf_counter() - started_at


def _advance(progress: UsageProgress | None, batch: Batch) -> bool:
    """Says that the batch is counted; ``False`` if another process has said so."""
    if progress is None:
        # Counting begins, or begins again because somebody has removed the row or made it unreadable.
        if stored_progress() is None:
            UsageProgress.objects.all().delete()
        TokenUsage.objects.all().delete()
        OrganizationUsage.objects.all().delete()
        UsageProgress.objects.create(last_id=batch.last_id, newest_at=batch.newest_at)
        return True
    changed = {"newest_at": batch.newest_at} if batch.newest_at else {}
    return bool(UsageProgress.objects.filter(last_id=progress.last_id).update(last_id=batch.last_id, **changed))


def _add(batch: Batch) -> None:
    """Adds to the stored counts without reading them."""
    _upsert(TokenUsage, ("token_id", "day", "ip"), batch.by_key)
    _upsert(OrganizationUsage, ("organization_id", "day"), batch.by_organization)


def _upsert(model: type[models.Model], keys: Sequence[str], counts: Mapping[Any, Any]) -> None:
    if not counts:
        return
    names = next(iter(counts.values())).__slots__
    rows = [list(map(_as_stored, (*key, *(getattr(count, name) for name in names)))) for key, count in counts.items()]
    columns = (*keys, *names)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # A third of the time of a statement for each row.
            types = (model._meta.get_field(name).db_type(connection) for name in columns)
            source = f"SELECT * FROM unnest({', '.join(f'%s::{kind}[]' for kind in types)})"  # noqa: S608
            cursor.execute(_upsert_statement(model, keys, names, source), list(map(list, zip(*rows, strict=True))))
        else:
            source = f"VALUES ({', '.join(['%s'] * len(columns))})"
            cursor.executemany(_upsert_statement(model, keys, names, source), rows)


def _upsert_statement(model: type[models.Model], keys: Sequence[str], names: Sequence[str], source: str) -> str:
    table = model._meta.db_table
    least, greatest = ("LEAST", "GREATEST") if connection.vendor == "postgresql" else ("MIN", "MAX")
    added = [f"{name} = {table}.{name} + excluded.{name}" for name in names if name in _COUNTS]
    # On SQLite, the minimum of a time and null is null.
    moved = [
        f"{name} = {least if name.startswith('first') else greatest}"
        f"(COALESCE({table}.{name}, excluded.{name}), COALESCE(excluded.{name}, {table}.{name}))"
        for name in names
        if name in _MOMENTS
    ]
    return (
        f"INSERT INTO {table} ({', '.join([*keys, *names])}) {source} "
        f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {', '.join([*added, *moved])}"
    )


def _as_stored(value: Any) -> Any:
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    return connection.ops.adapt_datefield_value(value) if isinstance(value, date) else value


def _next_entries(progress: UsageProgress | None, until: int) -> list[Entry]:
    after = progress.last_id if progress else 0
    return entries_between(after + 1, until, READ_AT_ONCE)


def _final_until() -> int:
    """See ``final_entries.final_until``; 0 if counting must wait for the next round."""
    try:
        return final_entries.final_until(TokenUse, patience=WAIT_FOR_WRITERS_SECONDS)
    except final_entries.StillWriting:
        return 0


def entries_between(first_id: int, last_id: int, limit: int) -> list[Entry]:
    """The entries in order of ``id``. On SQLite a value may be unreadable; such an entry has no values but its id."""
    try:
        return _select(", ".join(_COLUMNS), first_id, last_id, limit)
    except UNREADABLE:
        ids = TokenUse.objects.filter(id__range=(first_id, last_id)).order_by("id").values_list("id", flat=True)
        return [_read_one(entry_id) for entry_id in ids[:limit]]


def _read_one(entry_id: int) -> Entry:
    try:
        [entry] = _select(", ".join(_COLUMNS), entry_id, entry_id, 1)
    except UNREADABLE:
        return Entry(entry_id, *[None] * (len(_COLUMNS) - 1))
    return entry


def _select(columns: str, first_id: int, last_id: int, limit: int) -> list[Entry]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {columns} FROM {TokenUse._meta.db_table} "  # noqa: S608
            "WHERE id BETWEEN %s AND %s ORDER BY id LIMIT %s",
            [first_id, last_id, limit],
        )
        return list(map(Entry._make, cursor.fetchall()))


def moment_of(at: Any) -> datetime | None:
    """The time in UTC, which is what SQLite's driver returns without a zone; ``None`` if it is unreadable."""
    if not isinstance(at, datetime):
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def is_readable(entry: Entry) -> bool:
    """Verifying the log reports other entries: somebody has changed them."""
    ids = (entry.token_id, entry.owner_id or entry.token_id, entry.organization_id or entry.token_id)
    return all(map(_is_stored_uuid, ids)) and (
        entry.ip is None or (isinstance(entry.ip, str) and len(entry.ip) <= _LONGEST_ADDRESS)
    )


def _is_stored_uuid(value: Any) -> bool:
    return isinstance(value, uuid.UUID) or (isinstance(value, str) and bool(_STORED_UUID.fullmatch(value)))
