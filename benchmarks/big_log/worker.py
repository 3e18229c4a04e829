"""The only place that calls what the worker does with new entries."""

import threading
from collections.abc import Iterator

from auditlog.models import Seal
from auditlog.seals import sealing

LOG = Seal.Log.AUTHENTICATION


def seal_without_pauses() -> Iterator[int]:
    """Seals and counts all entries that wait. Yields the number of each block's entries."""
    while block := sealing.seal_next(LOG, at_once=True):
        yield block.count


def seal_with_pauses(stopping: threading.Event) -> Iterator[int]:
    """The same as the worker does it, so that other writers get their turn."""
    for block in sealing.seal_due(LOG, stopping, at_once=True):
        yield block.count
