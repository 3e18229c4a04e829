"""Runs long writes as short batches with a pause after each, so that other writers get their turn.

SQLite has one writer at a time, and answering a request with a token is a write.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from django.db import connection

T = TypeVar("T")

# In the first tenth of a second SQLite looks again at most 25 ms after it found the lock taken: a pause of this length
# lets every waiting writer in.
SHORTEST_PAUSE_SECONDS = 0.025

# How long one batch may hold SQLite's lock, commit included. Batches aim at half of it, because one that reads uncached
# pages is slower than the one before. In a smaller batch than the smallest, most of the time is the commit.
LONGEST_BATCH_SECONDS = 0.040
AIMED_BATCH_SECONDS = 0.020
SMALLEST_BATCH = 20
LARGEST_BATCH = 2_000


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


def first_size() -> int:
    """The size of the first of several batches. Only on SQLite do other writers wait for it."""
    return SMALLEST_BATCH if connection.vendor == "sqlite" else LARGEST_BATCH


def next_size(size: int, seconds: float) -> int:
    """The size of the next batch after one of ``size`` rows took ``seconds``: grows slowly, shrinks at once."""
    if connection.vendor != "sqlite":
        return LARGEST_BATCH
    if seconds > LONGEST_BATCH_SECONDS:
        return max(SMALLEST_BATCH, min(size // 2, int(size * AIMED_BATCH_SECONDS / seconds)))
    if seconds > AIMED_BATCH_SECONDS:
        return max(SMALLEST_BATCH, int(size * AIMED_BATCH_SECONDS / seconds))
    return min(LARGEST_BATCH, size + size // 4 + 1)
