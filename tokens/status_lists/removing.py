"""Removes status lists that no token needs any more."""

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from core.db.batches import run_batches
from core.db.locks import lock_if_exists
from core.db.sqlite_turns import job_transaction
from tokens.models import Token
from tokens.status_lists.models import StatusList
from tokens.status_lists.signed import ended_before_claim

EVERY = timedelta(hours=1)
BATCH = 500


def remove_finished(stopping: threading.Event) -> None:
    """Removes the lists whose tokens have all passed the end in their claims. The tokens' rows stay."""
    for list_id in list(_finished().values_list("pk", flat=True)):
        for _ in run_batches(_batches(list_id), stopping=stopping):
            pass
        if stopping.is_set():
            return
        _remove(list_id)


def _finished() -> QuerySet[StatusList]:
    needed = Token.objects.filter(_needs_list(), status_list=OuterRef("pk")).order_by()
    return StatusList.objects.filter(~Exists(needed)).order_by()


def _needs_list() -> Q:
    now = timezone.now()
    return Q(expires_at__gt=now) | ended_before_claim(now)


def _batches(list_id: uuid.UUID) -> Iterator[Callable[[], None]]:
    tokens = Token.objects.filter(~_needs_list(), status_list=list_id).order_by()
    while ids := list(tokens.values_list("pk", flat=True)[:BATCH]):
        yield partial(_release, ids)


def _release(tokens: Sequence[uuid.UUID]) -> None:
    """A token that needs its bit keeps it, whatever was true when the list was found."""
    with job_transaction():
        Token.objects.filter(~_needs_list(), pk__in=tokens).update(status_list=None, status_index=None)


def _remove(list_id: uuid.UUID) -> None:
    """Unless a new token has got a place in it meanwhile: its transaction holds the row of the list."""
    with job_transaction():
        found = lock_if_exists(StatusList.objects.all(), list_id, blocks_references=True)
        if found is not None and not Token.objects.filter(status_list=list_id).exists():
            found.delete()
