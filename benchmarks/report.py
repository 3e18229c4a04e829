"""Prints results of the benchmarks, as text or Markdown: facts about the machine, tables, and the goals."""

import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psycopg

from benchmarks.servers import POSTGRESQL_URL

PACKAGES = ("Django", "djangorestframework", "djangorestframework-simplejwt", "django-rest-knox", "granian")

MISSED = "MISSED"


@dataclass(frozen=True)
class Goal:
    """A number that the portal should reach. ``minimum`` and ``aim`` are for SQLite and for PostgreSQL.

    A value counts as it is, not as the table shows it: 0.4751 does not reach 0.48.
    """

    label: str
    minimum: tuple[float | None, float | None]
    aim: tuple[float | None, float | None]
    more_is_better: bool = True

    def verdict(self, column: str, value: float) -> str:
        """``column`` begins with the name of the database."""
        place = 0 if column.startswith("SQLite") else 1
        for limit, word in ((self.aim[place], "aim"), (self.minimum[place], "minimum")):
            if limit is None:
                return "no goal"
            if value >= limit if self.more_is_better else value <= limit:
                return word
        return MISSED


def machine(databases: Sequence[str]) -> list[str]:
    return [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {_processor()}, {os.cpu_count()} cores, Linux {platform.release()}, "
        f"load average {os.getloadavg()[0]:.1f} before the start",
        ", ".join([f"Python {platform.python_version()}", *_packages()]),
        f"SQLite {sqlite3.sqlite_version}, " + (f"{_postgresql()}, " if "PostgreSQL" in databases else "") + _disk(),
    ]


def print_list(lines: Sequence[str], *, markdown: bool) -> None:
    for line in lines:
        print(f"- {line}" if markdown else line)


def print_table(title: str, rows: Sequence[Sequence[str]], *, markdown: bool) -> None:
    """The first row is the header. The first column contains text, the others contain numbers."""
    if markdown:
        print(f"\n### {title}\n")
        head, *body = rows
        ruler = ["---", *("---:" for _ in head[1:])]
        for row in [head, ruler, *body]:
            print(f"| {' | '.join(row)} |")
        return
    print(f"\n{title}")
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        print("  ".join(cells))


def judge(reached: Mapping[Goal, Mapping[str, float]], columns: Sequence[str], *, markdown: bool) -> None:
    """Prints what was reached in each column. Ends the program with an error if a minimum is missed."""
    rows = [["number", "minimum", "aim", *columns]]
    rows += [
        [goal.label, _both(goal.minimum), _both(goal.aim), *(_cell(goal, column, values) for column in columns)]
        for goal, values in reached.items()
    ]
    print_table("Goals", rows, markdown=markdown)
    missed = [row[0] for row in rows if any(cell.endswith(MISSED) for cell in row)]
    if missed:
        sys.exit(f"Below the minimum: {'; '.join(missed)}")


def _cell(goal: Goal, column: str, values: Mapping[str, float]) -> str:
    if column not in values:
        return ""
    value = values[column]
    shown = f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return f"{shown} {goal.verdict(column, value)}"


def _both(limits: tuple[float | None, float | None]) -> str:
    first, second = (f"{limit:,g}" if limit is not None else "-" for limit in limits)
    return first if first == second else f"{first} / {second}"


def _packages() -> Iterator[str]:
    """Not every benchmark needs all of them."""
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            yield f"{name} {version(name)}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _postgresql() -> str:
    with psycopg.connect(POSTGRESQL_URL) as connection:
        row = connection.execute(
            "SELECT current_setting('server_version'), current_setting('fsync'), current_setting('synchronous_commit')"
        ).fetchone()
    number, fsync, synchronous_commit = row or ("", "", "")
    return f"PostgreSQL {number} (fsync {fsync}, synchronous_commit {synchronous_commit})"


def _disk() -> str:
    """The time of a durable write to this disk: the minimum for one commit, which several entries can share."""
    with tempfile.NamedTemporaryFile(prefix="opsera-portal-bench-") as file:
        kind = subprocess.run(
            ["findmnt", "--noheadings", "--output", "FSTYPE", "--target", file.name],  # noqa: S607
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        taken = []
        for _ in range(200):
            file.write(b"x" * 4096)
            start = time.perf_counter()
            file.flush()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - start)
    return f"data on {kind}, {statistics.median(taken) * 1000:.2f} ms to make 4 KiB durable"
