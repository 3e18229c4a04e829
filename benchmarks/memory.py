"""Measures the memory of one web process of the portal after it has answered many requests with a token.

Run it with `make bench-memory`. It measures the resident set size of the web server's single worker process, started
like the one of `manage.py serve`. Ends with an error if a minimum is missed.
"""

import argparse
import re
import sys
from pathlib import Path

from benchmarks import portal, report
from benchmarks.load import Target, ask
from benchmarks.report import Goal
from benchmarks.servers import PORTAL, databases, end_cleanly_on_sigterm, pin_the_load, serving

MARKS = [25_000, 50_000, 100_000]
MOST = Goal("most MiB of the web process", (200, 200), (150, 150), more_is_better=False)
# By the first mark everything is loaded, and every thread has a connection.
GROWTH = Goal("MiB that it grew by after the first mark", (5, 5), (2, 2), more_is_better=False)


def main() -> None:
    options = read_options()
    end_cleanly_on_sigterm()
    pin_the_load()
    chosen = [name for name in databases() if options.only in (None, name.lower())]
    if not chosen:
        sys.exit("PostgreSQL does not answer on its default local port.")
    report.print_list(report.machine(chosen), markdown=options.markdown)
    held = {database: measure(database, options.requests) for database in chosen}
    head = ["resident memory of the web process, MiB", "after start", *(f"{mark:,}" for mark in options.requests)]
    rows = [[database, *(f"{mib:.1f}" for mib in found)] for database, found in held.items()]
    report.print_table("Memory after this many requests", [head, *rows], markdown=options.markdown)
    reached = {MOST: {database: max(found) for database, found in held.items()}}
    if len(options.requests) > 1:
        reached[GROWTH] = {database: found[-1] - found[1] for database, found in held.items()}
    report.judge(reached, chosen, markdown=options.markdown)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="memory", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, nargs="+", default=MARKS, help="after how many requests to measure")
    parser.add_argument("--only", choices=["sqlite", "postgresql"], help="measure only this database")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    options = parser.parse_args()
    options.requests.sort()
    return options


def measure(database: str, marks: list[int]) -> list[float]:
    """MiB after the start, and at each mark."""
    with serving(PORTAL, database) as server:
        target = Target(server.port, portal.PATH, server.prepared["authorization"])
        worker = worker_of(server.pid)
        held = [resident_mib(worker)]
        asked = 0
        for mark in marks:
            asked += ask(target, mark - asked)
            held.append(resident_mib(worker))
    return held


def worker_of(pid: int) -> int:
    """Returns the process that runs the portal: the largest child, because Python's resource tracker is a child too."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return max((int(child) for child in children), key=resident_mib)


def resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


if __name__ == "__main__":
    main()
