"""The only place that calls what the worker does with new entries: it counts their uses, and seals them."""

import threading
from collections.abc import Iterator
from unittest.mock import patch

from auditlog import counting
from auditlog.models import Seal
from auditlog.seals import sealing

LOG = Seal.Log.AUTHENTICATION


def count_without_pauses() -> Iterator[int]:
    """Counts all entries that are not counted. Yields the number of each batch's entries."""
    with patch.object(counting, "run_batches", lambda batches, stopping: (run() for run in batches)):
        yield from counting.count_due()


def count_with_pauses(stopping: threading.Event) -> Iterator[int]:
    """The same as the worker does it, so that other writers get their turn."""
    yield from counting.count_due(stopping)


def seal_without_pauses() -> Iterator[int]:
    """Seals all entries that wait. Yields the number of each block's entries."""
    while block := sealing.seal_next(LOG, at_once=True):
        yield block.count


def seal_with_pauses(stopping: threading.Event) -> Iterator[int]:
    """The same as the worker does it, so that other writers get their turn."""
    for block in sealing.seal_due(LOG, stopping, at_once=True):
        yield block.count
