"""Charts: uses on each day, addresses of a token, and expired tokens that are still sent."""

from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

from auditlog import counting, usage
from benchmarks.big_log import goals, statements
from benchmarks.big_log.log import BigLog
from benchmarks.big_log.people import People
from benchmarks.big_log.progress import Progress
from benchmarks.big_log.results import Measured
from benchmarks.report import Goal

Chart = tuple[str, Callable[[], Any]]


def measure_uncounted(log: BigLog) -> Measured:
    """The portal leaves out entries that wait to be counted, says so, and counts them in a thread."""
    with patch.object(counting, "catch_up"):
        return measured(log, "charts, nothing counted", goals.CHART_UNCOUNTED)


def measure_unsealed(log: BigLog) -> Measured:
    return measured(log, "charts, nothing sealed", goals.CHART_UNSEALED)


def measured(log: BigLog, title: str, goal: Goal) -> Measured:
    rows, slowest = [[title, "queries", "database ms", "fastest ms"]], 0.0
    found = list(charts(log.people))
    progress = Progress(title.capitalize(), len(found))
    for label, read in found:
        executed = statements.recorded(read)
        taken = statements.milliseconds(executed)
        rows.append([label, str(len(executed)), *taken.cells()])
        slowest = max(slowest, taken.median)
        progress.add(1)
    return Measured([(title, rows)], {goal.label: slowest})


def charts(people: People) -> Iterator[Chart]:
    """The only place that calls the portal's functions for charts."""
    busy, usual = people.busy_token, people.usual_token
    subjects: dict[str, Callable[[], usage.Uses]] = {
        "owner with a fifth of all entries": lambda: usage.of(people.busy),
        "usual owner": lambda: usage.of(people.usual),
        "busy token": lambda: usage.of_token(busy.pk, reader=people.busy),
        "usual token": lambda: usage.of_token(usual.pk, reader=people.usual),
        "organization": lambda: usage.readable_org_entries(people.auditor),
        "small organization": lambda: usage.readable_org_entries(people.auditor_of_small),
    }
    for name, uses in subjects.items():
        yield f"30 days, {name}", lambda uses=uses: usage.days(uses())  # type: ignore[misc]
        yield f"365 days, {name}", lambda uses=uses: days_of_a_year(uses)  # type: ignore[misc]
        yield f"sent after the end, {name}", lambda uses=uses: usage.after_end(uses())  # type: ignore[misc]
        if name.endswith("token"):
            yield f"addresses, {name}", lambda uses=uses: usage.addresses(uses())  # type: ignore[misc]


def days_of_a_year(uses: Callable[[], usage.Uses]) -> list[usage.DayUses]:
    with patch.object(usage, "DAYS", 365):
        return usage.days(uses())
