"""Sealing a backlog, and verifying what is sealed."""

import time
from dataclasses import replace

from django.db.models import Max

from auditlog.models import Seal, TokenUse
from auditlog.seals.verification import Verification
from benchmarks.big_log import charts, goals, worker
from benchmarks.big_log.filling import add_backlog, last_id, line
from benchmarks.big_log.log import BigLog
from benchmarks.big_log.progress import Progress, clock, step
from benchmarks.big_log.results import Measured

HEAD = ["", "entries", "seconds", "entries/s"]
# After an interruption, sealing goes on with the next block, and adds to what it had noted.
NOTE_EVERY_SECONDS = 2.0


def measure_sealing(log: BigLog) -> Measured:
    """Seals the whole log."""
    seal(log)
    noted = log.results.noted("seal")
    return Measured([("sealing", [HEAD, line("usual mix", int(noted["entries"]), noted["seconds"])])])


def seal(log: BigLog) -> None:
    progress = Progress("Sealing", log.entries, done=sealed_until())
    sealed, noted_at = 0, time.perf_counter()
    for count in worker.seal_without_pauses():
        progress.add(count)
        sealed += count
        seconds = time.perf_counter() - noted_at
        if seconds >= NOTE_EVERY_SECONDS:
            log.results.note("seal", entries=sealed, seconds=seconds)
            sealed, noted_at = 0, time.perf_counter()
    log.results.note("seal", entries=sealed, seconds=time.perf_counter() - noted_at)


def sealed_until() -> int:
    return Seal.objects.filter(log=worker.LOG).aggregate(last=Max("last_id"))["last"] or 0


def measure_verification(log: BigLog) -> Measured:
    verification = Verification(worker.LOG)
    progress = Progress("Verification", last_id())
    done = 0

    def note() -> None:
        nonlocal done
        progress.add(verification.entries - done)
        done = verification.entries

    verification.progress = note
    findings: list[str] = []
    seconds = clock(lambda: findings.extend(verification.findings()))
    if findings:
        raise RuntimeError(f"The log differs from its seals: {findings[:5]}")
    return Measured([("verification", [HEAD, line("verified", verification.entries, seconds)])])


def measure_distinct(log: BigLog) -> Measured:
    """Seals a backlog in which every entry has another token or address, and reads charts while it waits."""
    with step("Sealing what is left"):
        seal_all()
    count = backlog(log)
    add_backlog(count, is_distinct=True)
    waiting = charts.measured(log, f"charts, {count:,} new entries wait", goals.CHART_WAITING)
    seconds = clock(seal_all)
    rows = [HEAD, line("each entry with another token or address", count, seconds)]
    return replace(waiting, tables=[*waiting.tables, ("sealing entries of many tokens", rows)])


def seal_all() -> None:
    progress = Progress("Sealing", TokenUse.objects.filter(pk__gt=sealed_until()).count())
    for count in worker.seal_without_pauses():
        progress.add(count)


def backlog(log: BigLog) -> int:
    """As many entries as a busy portal writes in a minute or two."""
    return min(20_000, log.entries // 10)
