"""Counting, sealing a backlog, and verifying what is sealed."""

import time
from collections.abc import Iterator
from dataclasses import replace

from django.db.models import Max

from auditlog import counting, usage
from auditlog.models import Seal
from auditlog.seals.verification import Verification
from benchmarks.big_log import charts, goals, worker
from benchmarks.big_log.filling import add_backlog, line
from benchmarks.big_log.log import BigLog
from benchmarks.big_log.progress import Progress, clock
from benchmarks.big_log.results import Measured

HEAD = ["", "entries", "seconds", "entries/s"]
# Sealing is as fast at the end of a log as at its beginning.
SEALED_AT_MOST = 1_000_000
# After an interruption, the work goes on with the next batch, and adds to what it had noted.
NOTE_EVERY_SECONDS = 2.0


def measure_counting(log: BigLog) -> Measured:
    """Counts the whole log."""
    work(log, "count", "Counting", worker.count_without_pauses(), of=log.entries, done=counting.counted_until())
    noted = log.results.noted("count")
    return Measured([("counting", [HEAD, line("usual mix", int(noted["entries"]), noted["seconds"])])])


def measure_sealing(log: BigLog) -> Measured:
    """Seals the oldest entries, as many as a day has in a very busy portal."""
    wanted = min(SEALED_AT_MOST, log.entries)
    work(log, "seal", "Sealing", until_sealed(wanted), of=wanted, done=sealed_until())
    noted = log.results.noted("seal")
    return Measured([("sealing", [HEAD, line("usual mix", int(noted["entries"]), noted["seconds"])])])


def until_sealed(wanted: int) -> Iterator[int]:
    for count in worker.seal_without_pauses():
        yield count
        if sealed_until() >= wanted:
            return


def work(log: BigLog, note: str, name: str, batches: Iterator[int], *, of: int, done: int) -> None:
    """Runs the batches, and notes how many entries they had and how long they took."""
    progress = Progress(name, of, done=done)
    entries, noted_at = 0, time.perf_counter()
    for count in batches:
        progress.add(count)
        entries += count
        seconds = time.perf_counter() - noted_at
        if seconds >= NOTE_EVERY_SECONDS:
            log.results.note(note, entries=entries, seconds=seconds)
            entries, noted_at = 0, time.perf_counter()
    log.results.note(note, entries=entries, seconds=time.perf_counter() - noted_at)


def sealed_until() -> int:
    return Seal.objects.filter(log=worker.LOG).aggregate(last=Max("last_id"))["last"] or 0


def measure_verification(log: BigLog) -> Measured:
    verification = Verification(worker.LOG)
    progress = Progress("Verification", sealed_until())
    done = 0

    def note() -> None:
        nonlocal done
        progress.add(verification.entries - done)
        done = verification.entries

    verification.progress = note
    findings: list[str] = []
    seconds = clock(lambda: findings.extend(verification.findings()))
    # One finding: the newer entries are not sealed, although they are old.
    if len(findings) > 1:
        raise RuntimeError(f"The log differs from its seals: {findings[:5]}")
    return Measured([("verification", [HEAD, line("verified", verification.entries, seconds)])])


def measure_distinct(log: BigLog) -> Measured:
    """Reads charts while as many entries wait as a page counts, and counts a backlog in which every entry has another
    token or address."""
    add_backlog(min(usage.MAX_UNCOUNTED, backlog(log)), is_distinct=True)
    waiting = charts.measured(log, "charts, new entries wait", goals.CHART_WAITING)
    count_all()
    count = backlog(log)
    add_backlog(count, is_distinct=True)
    rows = [HEAD, line("each entry with another token or address", count, clock(count_all))]
    return replace(waiting, tables=[*waiting.tables, ("counting entries of many tokens", rows)])


def count_all() -> None:
    for _ in worker.count_without_pauses():
        pass


def backlog(log: BigLog) -> int:
    """As many entries as a busy portal writes in a minute or two."""
    return min(20_000, log.entries // 10)
