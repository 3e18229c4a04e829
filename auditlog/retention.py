"""Removes what is older than an organization keeps, from both logs and from what was counted of them.

The only code that removes entries, and only sealed ones. First the chain says what may be missing (a block of kind
``pruned``), then rows go in batches that are short enough for nobody to notice: SQLite has one writer at a time, and
whoever answers a request waits for it.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from django.apps import apps
from django.db import connection, transaction
from django.db.models import Max, QuerySet
from django.utils import timezone

from auditlog.models import Seal, TokenUsage
from auditlog.seals import sealing
from core.db.batches import run_batches

# How long one batch may hold the lock, commit included. Half of it is aimed at, since a batch that meets cold pages is
# slower than the one before.
LONGEST_BATCH_SECONDS = 0.040
AIMED_BATCH_SECONDS = 0.020
FIRST_BATCH = 20
LARGEST_BATCH = 2_000


@dataclass(frozen=True)
class Cut:
    """What one organization no longer keeps of one log. ``organization_id`` is null for entries of nobody's."""

    log: Seal.Log
    organization_id: uuid.UUID | None
    name: str
    before: datetime

    def entries(self) -> QuerySet[Any]:
        """The oldest first, by the index of the organization's entries."""
        return _of(sealing.MODELS[self.log], self.organization_id).filter(at__lt=self.before).order_by("at", "id")

    def usage(self) -> QuerySet[TokenUsage]:
        days = _of(TokenUsage, self.organization_id).filter(day__lt=self.before.date()).order_by("day", "id")
        return days if self.log == Seal.Log.AUTHENTICATION else days.none()


def due(log: Seal.Log, *, days: int | None = None, organization: str | None = None) -> list[Cut]:
    """What is to be removed now: whole days (UTC), so that entries and what was counted of them go together.

    ``days`` stands in for what each organization keeps; ``organization`` is the slug of the only one to look at.
    """
    organizations: dict[Any, Any] = {found.pk: found for found in apps.get_model("accounts.Organization").objects.all()}
    cuts = []
    for organization_id in _organizations_in(sealing.MODELS[log]):
        found = organizations.get(organization_id)
        if organization is not None and (found is None or found.slug != organization):
            continue
        name = found.slug if found else f"{organization_id} (gone)" if organization_id else "none"
        cut = Cut(log, organization_id, name, _start_of_day_before(days or _days_kept_by(found)))
        if cut.entries().exists():
            cuts.append(cut)
    return cuts


def prune(log: Seal.Log, cuts: Sequence[Cut], *, stopping: threading.Event) -> Iterator[tuple[Cut, int]]:
    """Removes entries batch by batch; after each comes whose they were, and how many.

    Ends between two batches when ``stopping`` is set; what is left is removed the next time. Raises ``ChainBroken`` and
    ``KeyMissing`` before anything is removed.
    """
    newest_id = max((cut.entries().aggregate(newest=Max("id"))["newest"] or 0 for cut in cuts), default=0)
    if _sealed_until(log) < newest_id:
        for block in sealing.seal_due(log, stopping, at_once=True):
            if block.last_id >= newest_id:
                break
    last_id = _sealed_until(log)
    sealed = [cut for cut in cuts if cut.entries().filter(id__lte=last_id).exists()]
    if stopping.is_set() or not sealed:
        return
    sealing.seal_pruning(log, {sealing.organization_key(cut.organization_id): cut.before for cut in sealed})
    for cut in sealed:
        for _ in _remove(cut.usage(), stopping):
            pass
        for removed in _remove(cut.entries().filter(id__lte=last_id), stopping):
            yield cut, removed
    _drop_lists(log, stopping)


def next_size(size: int, seconds: float) -> int:
    """How many rows the next batch takes after one of ``size`` took so long: slowly more, at once fewer."""
    if seconds > LONGEST_BATCH_SECONDS:
        return max(1, min(size // 2, int(size * AIMED_BATCH_SECONDS / seconds)))
    if seconds > AIMED_BATCH_SECONDS:
        return max(1, int(size * AIMED_BATCH_SECONDS / seconds))
    return min(LARGEST_BATCH, size + size // 4 + 1)


def _sealed_until(log: Seal.Log) -> int:
    last = sealing.last_block(log)
    return last.last_id if last else 0


def _remove(rows: QuerySet[Any], stopping: threading.Event) -> Iterator[int]:
    """Removes these rows in batches; after each comes how many went: fewer than were found if someone else prunes."""
    size = FIRST_BATCH

    def batches() -> Iterator[Callable[[], tuple[int, float]]]:
        # Found before the lock is taken.
        while ids := list(rows.values_list("id", flat=True)[:size]):
            yield partial(_delete, rows.model, ids)

    for removed, seconds in run_batches(batches(), stopping=stopping):
        yield removed
        size = next_size(size, seconds)


def _delete(model: Any, ids: Sequence[int]) -> tuple[int, float]:
    """How many went, and for how many seconds the lock was held."""
    with transaction.atomic():
        started_at = time.perf_counter()
        # Not QuerySet.delete, which log entries refuse.
        removed: int = model.objects.filter(id__in=ids)._raw_delete(connection.alias)
    return removed, time.perf_counter() - started_at


def _drop_lists(log: Seal.Log, stopping: threading.Event) -> None:
    """Empties blocks of which no entry is left. Their digests stay, so the chain can still be checked."""
    cutoffs = sealing.Cutoffs()
    for block in sealing.load(Seal.objects.filter(log=log).exclude(entries=None).defer("entries").order_by("-number")):
        if stopping.is_set():
            return
        if not sealing.is_genuine(block):
            continue
        if block.kind == Seal.Kind.PRUNED:
            cutoffs.add(block)
        elif cutoffs.cover_all_of(block) and not _is_there_any_of(block):
            Seal.objects.filter(pk=block.pk).update(entries=None)


def _is_there_any_of(block: Seal) -> bool:
    model = sealing.MODELS[Seal.Log(block.log)]
    return model.objects.filter(id__range=(block.first_id, block.last_id)).exists()


def _organizations_in(model: Any) -> Iterator[uuid.UUID | None]:
    """Whose entries there are; from one to the next by the index, however many entries each has."""
    yield None
    ids = model.objects.filter(organization__isnull=False).order_by("organization_id")
    found = ids.values_list("organization_id", flat=True).first()
    while found is not None:
        yield found
        found = ids.filter(organization_id__gt=found).values_list("organization_id", flat=True).first()


def _of(model: Any, organization_id: uuid.UUID | None) -> QuerySet[Any]:
    found: QuerySet[Any] = model.objects.all()
    if organization_id is None:
        return found.filter(organization__isnull=True)
    return found.filter(organization_id=organization_id)


def _days_kept_by(organization: Any) -> int:
    """Entries whose organization is gone are kept as long as a new organization would keep them."""
    if organization is None:
        organization = apps.get_model("accounts.Organization")()
    days: int = organization.log_retention_days
    return days


def _start_of_day_before(days: int) -> datetime:
    today = timezone.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=days)
