"""Runs long writes as short batches with a pause after each, so that other writers get their turn.

SQLite has one writer at a time, and answering a request with a token is a write.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

# In the first tenth of a second SQLite looks again at most 25 ms after it found the lock taken: a pause of this length
# lets every waiting writer in.
SHORTEST_PAUSE_SECONDS = 0.025


def run_batches(batches: Iterable[Callable[[], T]], *, stopping: threading.Event | None = None) -> Iterator[T]:
    """Runs the batches and yields the result of each, then pauses for as long as the batch took.

    Stops between two batches when ``stopping`` is set. Closing the iterator stops it as well.
    """
    stopping = stopping or threading.Event()
    if stopping.is_set():
        return
    for run in batches:
        started_at = time.perf_counter()
        result = run()
        seconds = time.perf_counter() - started_at
        yield result
        if stopping.wait(max(seconds, SHORTEST_PAUSE_SECONDS)):
            return


def batches_of(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items in their order, ``size`` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
