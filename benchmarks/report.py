"""Prints results of the benchmarks: facts about the machine, and tables as text or Markdown."""

import os
import platform
import sqlite3
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psycopg

from benchmarks.servers import POSTGRESQL_URL

PACKAGES = ("Django", "djangorestframework", "djangorestframework-simplejwt", "django-rest-knox", "granian")


def machine(databases: Sequence[str]) -> list[str]:
    return [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {_processor()}, {os.cpu_count()} cores, Linux {platform.release()}, "
        f"load average {os.getloadavg()[0]:.1f} before the start",
        f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in PACKAGES),
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
