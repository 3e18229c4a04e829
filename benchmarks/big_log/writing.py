"""A writer beside the worker: how long it waits while entries are sealed or removed.

The writer is a process of its own, as the web server is. It adds an entry every few milliseconds.
"""

import json
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TextIO, cast

from django.utils import timezone

from accounts.log_retention import cuts_due
from auditlog import journal, retention
from auditlog.models import TokenUse
from auditlog.open_use import OpenUse
from benchmarks.big_log import goals, worker
from benchmarks.big_log.filling import add_backlog
from benchmarks.big_log.keeping import backlog
from benchmarks.big_log.log import BigLog
from benchmarks.big_log.progress import WAITS_HEAD, Progress, clock, waits_cells
from benchmarks.big_log.results import Measured
from core.db.uuid7 import uuid7
from tokens.models import Token

PAUSE_SECONDS = 0.005
HEAD = ["a writer's wait", "entries", *WAITS_HEAD]
LONGEST_SECONDS = 60.0
PRUNED_DAYS = 10


@dataclass
class Waits:
    """How long the writer waited for each of its entries, in ms. Complete when the writer has ended."""

    ms: list[float] = field(default_factory=list)

    def row(self, label: str) -> list[str]:
        return [label, f"{len(self.ms):,}", *waits_cells(self.ms)]


@contextmanager
def writer(token: Token) -> Iterator[Waits]:
    waits = Waits()
    command = [sys.executable, "-m", "benchmarks.big_log", "write", str(token.pk)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        output = cast(TextIO, process.stdout)
        if output.readline() != "ready\n":
            raise RuntimeError("The writer did not start. Its output is above.")
        try:
            yield waits
        finally:
            cast(TextIO, process.stdin).close()
            waits.ms += json.loads(output.read())


def write(token_id: str) -> None:
    """The writer's process: writes until its input ends, then prints how long it waited each time."""
    token = Token.objects.select_related("owner", "organization").get(pk=token_id)
    # Recent enough that only the log is written.
    token.last_used_at = timezone.now() + timedelta(days=1)
    waits = []
    add_entry(token)
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], PAUSE_SECONDS)[0]:
        waits.append(clock(partial(add_entry, token)) * 1000)
    json.dump(waits, sys.stdout)


def add_entry(token: Token) -> None:
    use = OpenUse(request_id=uuid7(), at=timezone.now(), method="GET", target="/", ip=None, user_agent="", token=token)
    journal.commit(use, status=200, code=None)


def measure_counting(log: BigLog) -> Measured:
    alone, count = waits_alone(log), backlog(log)
    add_backlog(count, is_distinct=True)
    counted, seconds, beside = run_beside(log, partial(count_some, count), "Counting beside a writer", count)
    rows = [HEAD, alone.row("alone"), beside.row(f"beside counting ({counted:,} counted, {counted / seconds:,.0f}/s)")]
    return Measured([("a writer beside counting", rows)], {goals.WAIT_FOR_COUNTING.label: max(beside.ms)})


def measure_sealing(log: BigLog) -> Measured:
    alone, count = waits_alone(log), backlog(log)
    add_backlog(count)
    sealed, seconds, beside = run_beside(log, partial(seal_some, count), "Sealing beside a writer", count)
    rows = [HEAD, alone.row("alone"), beside.row(f"beside sealing ({sealed:,} sealed, {sealed / seconds:,.0f}/s)")]
    return Measured([("a writer beside sealing", rows)], {goals.WAIT_FOR_SEALING.label: max(beside.ms)})


def measure_pruning(log: BigLog) -> Measured:
    before, alone = TokenUse.objects.count(), waits_alone(log)
    expected = log.entries * PRUNED_DAYS // 400
    removed, seconds, beside = run_beside(log, prune, "Pruning beside a writer", expected)
    # Each writer adds one entry before it is ready.
    if before + len(alone.ms) + len(beside.ms) + 2 - removed != TokenUse.objects.count():
        raise RuntimeError("Entries are missing.")
    rows = [HEAD, alone.row("alone"), beside.row(f"beside pruning ({removed:,} removed, {removed / seconds:,.0f}/s)")]
    return Measured([("a writer beside pruning", rows)], {goals.WAIT_FOR_PRUNING.label: max(beside.ms)})


def waits_alone(log: BigLog) -> Waits:
    with writer(log.people.busy_token) as waits:
        time.sleep(10 if log.entries >= 1_000_000 else 1)
    return waits


def run_beside(
    log: BigLog, work: Callable[[threading.Event], Iterable[int]], name: str, expected: int
) -> tuple[int, float, Waits]:
    """Returns how many entries the work was about, its seconds, and the writer's waits. Stops it after a minute."""
    stopping, progress, done = threading.Event(), Progress(name, expected), 0
    timer = threading.Timer(LONGEST_SECONDS, stopping.set)
    timer.daemon = True
    with writer(log.people.busy_token) as waits:
        timer.start()
        started_at = time.perf_counter()
        for count in work(stopping):
            done += count
            progress.add(count)
        seconds = time.perf_counter() - started_at
        timer.cancel()
    return done, seconds, waits


def count_some(count: int, stopping: threading.Event) -> Iterator[int]:
    return at_most(count, worker.count_with_pauses(stopping))


def seal_some(count: int, stopping: threading.Event) -> Iterator[int]:
    return at_most(count, worker.seal_with_pauses(stopping))


def at_most(count: int, batches: Iterator[int]) -> Iterator[int]:
    """The batches until they have had this many entries. The writer adds more, so the work would never end."""
    left = count
    for done in batches:
        yield done
        left -= done
        if left <= 0:
            return


def prune(stopping: threading.Event) -> Iterator[int]:
    """Removes the oldest days of every organization."""
    oldest = TokenUse.objects.order_by("pk").values_list("at", flat=True)[0]
    days = (timezone.now() - oldest).days - PRUNED_DAYS
    for _, removed in retention.prune(worker.LOG, cuts_due(worker.LOG, days=days), stopping=stopping):
        yield removed
