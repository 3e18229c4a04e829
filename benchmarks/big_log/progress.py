"""Times work, and says on standard error what a long benchmark does and how far it is."""

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

LINE_EVERY_SECONDS = 5.0
ROUNDS = 7
LEAST_ROUNDS, LONGEST_SECONDS = 3, 20.0


def say(text: str) -> None:
    print(f"{datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


def clock(work: Callable[[], Any]) -> float:
    started_at = time.perf_counter()
    work()
    return time.perf_counter() - started_at


class Milliseconds(NamedTuple):
    """The fastest round says what the work costs when nothing else runs on the machine."""

    median: float
    fastest: float

    def __str__(self) -> str:
        return f"{self.median:,.2f}"

    def cells(self) -> list[str]:
        return [f"{self.median:,.2f}", f"{self.fastest:,.2f}"]


def milliseconds(work: Callable[[], Any]) -> Milliseconds:
    """Repeats the work at least three times, and seven times unless it is slow."""
    taken: list[float] = []
    started_at = time.perf_counter()
    while len(taken) < ROUNDS:
        taken.append(clock(work) * 1000)
        if len(taken) >= LEAST_ROUNDS and time.perf_counter() - started_at > LONGEST_SECONDS:
            break
    return Milliseconds(statistics.median(taken), min(taken))


WAITS_HEAD = ["median ms", "p99 ms", "longest ms"]


def waits_cells(ms: Sequence[float]) -> list[str]:
    ordered = sorted(ms)
    figures = statistics.median(ordered), ordered[int(len(ordered) * 0.99)], ordered[-1]
    return [f"{figure:.1f}" for figure in figures]


@contextmanager
def step(name: str) -> Iterator[None]:
    """Says when a step begins, and when it ends."""
    say(f"{name}: begins")
    started_at = time.perf_counter()
    yield
    say(f"{name}: done after {time.perf_counter() - started_at:,.1f} s")


class Progress:
    """Says every few seconds how many of ``total`` are done, and how many a second in this process."""

    def __init__(self, name: str, total: int, *, done: int = 0) -> None:
        self._name, self._total = name, total
        self._done = self._done_before = done
        self._started_at = self._said_at = time.perf_counter()

    def add(self, count: int) -> None:
        self._done += count
        now = time.perf_counter()
        if now - self._said_at < LINE_EVERY_SECONDS:
            return
        self._said_at = now
        rate = (self._done - self._done_before) / (now - self._started_at)
        say(f"{self._name}: {self._done / max(self._total, 1):.0%} of {self._total:,}, {rate:,.0f}/s")
