"""Measures a big log to the end, on SQLite and PostgreSQL (docs/product.md#numbers).

    python -m benchmarks.logs [--entries 5000000 20000000] [--only sqlite|postgresql] [--markdown] [--fresh] [--keep]

Fills a database, and measures lists, filters, charts, exports, sealing, verification, pruning and VACUUM. This takes
hours with 20 million entries, so it says how far it is, and can be interrupted: the same command goes on where it
stopped. Finished parts are kept in ``.bench`` (or ``PORTAL_BENCH_DIR``), and a database until all of its parts are
finished. ``--fresh`` measures everything again, ``--keep`` keeps the databases.
"""

import argparse
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import report, servers
from benchmarks.big_log import goals
from benchmarks.big_log.progress import say
from benchmarks.big_log.results import Results

ROOT = Path(__file__).resolve().parent.parent
DIRECTORY = Path(os.environ.get("PORTAL_BENCH_DIR") or ROOT / ".bench")
SIZES = [5_000_000, 20_000_000]
# A log of 5 million entries needs 4 GB, and VACUUM on SQLite the same twice more.
BYTES_PER_ENTRY = 2_500


@dataclass(frozen=True)
class Run:
    """One database with one number of entries, and what is known about it."""

    database: str
    entries: int

    @property
    def directory(self) -> Path:
        return DIRECTORY / f"{self.database.lower()}-{self.entries}"

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def sqlite_file(self) -> Path:
        return self.data / "bench.sqlite3"

    @property
    def name(self) -> str:
        return f"opsera_bench_{self.entries}"

    @property
    def url(self) -> str:
        if self.database == "SQLite":
            return f"sqlite:///{self.sqlite_file}"
        return servers.postgresql_url(self.name)

    @property
    def results(self) -> Results:
        return Results(self.directory / "results.json")

    def has_database(self) -> bool:
        return self.sqlite_file.exists() if self.database == "SQLite" else servers.has_postgresql(self.name)

    def create(self) -> None:
        self.data.mkdir(parents=True, mode=0o700, exist_ok=True)
        if self.database == "PostgreSQL":
            servers.create_postgresql(self.name)

    def drop(self) -> None:
        """Removes the database and the keys that its seals were made with, but not the results."""
        shutil.rmtree(self.data, ignore_errors=True)
        if self.database == "PostgreSQL":
            servers.drop_postgresql(self.name)

    def __str__(self) -> str:
        return f"{self.database}, {self.entries:,} entries"


def main() -> None:
    options = read_options()
    servers.end_cleanly_on_sigterm()
    databases = [name for name in servers.databases() if options.only in {None, name.lower()}]
    runs = [Run(database, entries) for entries in options.entries for database in databases]
    if not runs:
        sys.exit("PostgreSQL does not answer on its default local port.")
    machine = report.machine(databases)
    try:
        for run in runs:
            with alone(run):
                measure(run, is_fresh=options.fresh, keeps=options.keep)
    except KeyboardInterrupt:
        sys.exit("Interrupted. The same command goes on here; add --fresh to begin again.")
    report.print_list(machine, markdown=options.markdown)
    for run in runs:
        print_tables(run, markdown=options.markdown)
    print_goals(runs, markdown=options.markdown)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="logs", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--entries", type=int, nargs="+", default=SIZES, help="sizes of the log")
    parser.add_argument("--only", choices=["sqlite", "postgresql"], help="measure only this database")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    parser.add_argument("--fresh", action="store_true", help="measure everything again")
    parser.add_argument("--keep", action="store_true", help="keep the databases after their last part")
    return parser.parse_args()


@contextmanager
def alone(run: Run) -> Iterator[None]:
    """Refuses to run twice at the same time."""
    run.directory.mkdir(parents=True, exist_ok=True)
    with (run.directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"{run}: another process is measuring this.")
        yield


def measure(run: Run, *, is_fresh: bool, keeps: bool) -> None:
    if run.results.is_complete and not is_fresh:
        say(f"{run}: finished earlier")
        return
    say(f"{run}: {'goes on' if prepare(run, is_fresh=is_fresh) else 'begins'}")
    # A process has one set of settings, so each database is measured in a process of its own.
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.big_log", "measure", run.directory / "results.json", str(run.entries)],
        env=servers.environment_of(str(run.data), run.url, 8000),
        cwd=ROOT,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{run}: failed, see above. The same command goes on here; add --fresh to begin again.")
    if not keeps:
        run.drop()


def prepare(run: Run, *, is_fresh: bool) -> bool:
    """Returns whether results and database of an interrupted run are there. Otherwise begins without them."""
    if run.has_database() and not run.results.are_empty and not is_fresh:
        return True
    run.drop()
    run.results.forget()
    if shutil.disk_usage(run.directory).free < run.entries * BYTES_PER_ENTRY:
        sys.exit(f"{run}: needs {run.entries * BYTES_PER_ENTRY / 1e9:,.0f} GB of free disk space.")
    run.create()
    return False


def print_tables(run: Run, *, markdown: bool) -> None:
    parts = run.results.parts()
    for part in parts.values():
        for title, rows in part.tables:
            report.print_table(f"{run}: {title}", rows, markdown=markdown)
    head = ["part", "seconds", "ended (UTC)", "commit", "load average"]
    rows = [
        [name, f"{part.seconds:,.0f}", part.ended_at, part.commit, f"{part.load:.1f}"] for name, part in parts.items()
    ]
    report.print_table(f"{run}: when each part was measured", [head, *rows], markdown=markdown)


def print_goals(runs: list[Run], *, markdown: bool) -> None:
    values = {str(run): {k: v for part in run.results.parts().values() for k, v in part.values.items()} for run in runs}
    reached = {goal: {run: found[goal.label] for run, found in values.items()} for goal in goals.ALL}
    report.judge(reached, list(values), markdown=markdown)


if __name__ == "__main__":
    main()
