"""Starts and stops the measured servers. Each has its own temporary data and is pinned to one core.

They listen only on the loopback interface. Even after an error, the servers are stopped and their
data is removed.
"""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg.sql import SQL, Identifier

from benchmarks.load import HOST

ROOT = Path(__file__).resolve().parent.parent
PORTAL = "benchmarks.portal"
PEERS = "benchmarks.peers"
POSTGRESQL_PORT = 5432
POSTGRESQL_URL = os.environ.get("TEST_DATABASE_URL") or f"postgres://postgres@{HOST}:{POSTGRESQL_PORT}/postgres"
START_WITHIN_SECONDS = 30
STOP_WITHIN_SECONDS = 15

_numbers = count(1)
_cores = sorted(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Server:
    module: str
    environment: dict[str, str]
    database_url: str
    port: int
    pid: int
    # The output of the module's `prepare`.
    prepared: Any

    def count_queries(self) -> Any:
        return _tell(self.module, "queries", self.environment, self.prepared)

    def count_rows(self, table: str) -> int:
        """Counts only committed rows, over another connection."""
        query = f"SELECT count(*) FROM {table}"  # noqa: S608  (the table's name is ours)
        if self.database_url.startswith("sqlite"):
            with closing(sqlite3.connect(self.database_url.removeprefix("sqlite:///"))) as connection:
                return int(connection.execute(query).fetchone()[0])
        with psycopg.connect(self.database_url) as connection:
            row = connection.execute(SQL("SELECT count(*) FROM {}").format(Identifier(table))).fetchone()
            return int(row[0]) if row else 0


def pin_the_load() -> None:
    """Pins this process, and the programs that it starts for the load, to another core than the servers."""
    os.sched_setaffinity(0, {_cores[-1]})


def databases() -> list[str]:
    """SQLite, and PostgreSQL if it answers on its default local port."""
    with closing(socket.socket()) as probe:
        return ["SQLite", "PostgreSQL"] if probe.connect_ex((HOST, POSTGRESQL_PORT)) == 0 else ["SQLite"]


@contextmanager
def serving(module: str, database: str, *, processes: int = 1, first_core: int = 0) -> Iterator[Server]:
    """Runs a web server with the portal or the peers, started as `manage.py serve` does it.

    It is pinned to as many cores as it has processes, counted from ``first_core``; -1 is the last one.
    """
    with directory_for_data() as directory, empty_database(database) as database_url:
        port = free_port()
        environment = environment_of(directory, database_url, port)
        prepared = _tell(module, "prepare", environment)
        *command, application = _tell(PORTAL, "command", environment)
        if module != PORTAL:
            application = f"{module}.wsgi:application"
        if processes > 1:
            environment["GRANIAN_WORKERS"] = str(processes)
        process = subprocess.Popen(
            [*_pinned_to_cores(processes, first_core), *command, application],
            env=environment,
            cwd=ROOT,
            start_new_session=True,
        )
        try:
            _wait_until_it_answers(process, port)
            yield Server(module, environment, database_url, port, process.pid, prepared)
        finally:
            _stop(process)


@contextmanager
def also_serving(server: Server) -> Iterator[int]:
    """Runs a second web server of the portal with the data of the first, on another core. Yields its port."""
    port = free_port()
    *command, application = _tell(PORTAL, "command", {**server.environment, "PORTAL_PORT": str(port)})
    process = subprocess.Popen(
        ["taskset", "--cpu-list", str(_cores[-1]), *command, application],  # noqa: S607
        env={**server.environment, "PORTAL_PORT": str(port)},
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        _wait_until_it_answers(process, port)
        yield port
    finally:
        _stop(process)


def end_cleanly_on_sigterm() -> None:
    """Makes SIGTERM raise an exception, so that servers are stopped and data is removed."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


@contextmanager
def directory_for_data() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="opsera-portal-bench-") as directory:
        yield directory


@contextmanager
def empty_database(database: str) -> Iterator[str]:
    """Yields the URL of a new database, and drops the database afterwards."""
    if database == "SQLite":
        with directory_for_data() as directory:
            yield f"sqlite:///{directory}/bench.sqlite3"
        return
    name = f"opsera_portal_bench_{os.getpid()}_{next(_numbers)}"
    create_postgresql(name)
    try:
        yield postgresql_url(name)
    finally:
        drop_postgresql(name)


def postgresql_url(name: str) -> str:
    return urlsplit(POSTGRESQL_URL)._replace(path=f"/{name}").geturl()


def has_postgresql(name: str) -> bool:
    with psycopg.connect(POSTGRESQL_URL) as connection:
        return bool(connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone())


def create_postgresql(name: str) -> None:
    _administer("CREATE DATABASE {}", name)


def drop_postgresql(name: str) -> None:
    _administer("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


def _administer(statement: Any, name: str) -> None:
    with psycopg.connect(POSTGRESQL_URL, autocommit=True) as connection:
        connection.execute(SQL(statement).format(Identifier(name)))


def environment_of(directory: str, database_url: str, port: int) -> dict[str, str]:
    """Returns a server's environment. WEB_THREADS and GRANIAN_WORKERS can be set from outside."""
    kept = {
        name: os.environ[name]
        for name in ("PATH", "HOME", "LANG", "TMPDIR", "WEB_THREADS", "GRANIAN_WORKERS")
        if name in os.environ
    }
    return {
        **kept,
        "PORTAL_DATA_DIR": directory,
        "PORTAL_PORT": str(port),
        "PORTAL_URL": f"http://{HOST}:{port}",
        "DATABASE_URL": database_url,
        # For proxies in front of services.
        "TRUSTED_PROXIES": HOST,
        # Requests are counted as usual, but never reach a limit.
        **dict.fromkeys(("API_LIMIT_TOKEN", "API_LIMIT_USER", "API_LIMIT_ADDRESS"), "1000000/m"),
        # Static files are not collected, because only the API is measured. WhiteNoise warns about this.
        "PYTHONWARNINGS": "ignore:No directory at:UserWarning",
    }


def _tell(module: str, command: str, environment: dict[str, str], given: Any = None) -> Any:
    """Runs one command of ``benchmarks.portal`` or ``benchmarks.peers`` in a separate process.

    They use different Django settings, and a process can have only one set.
    """
    told = subprocess.run(
        [sys.executable, "-m", module, command],
        input=json.dumps(given),
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(told.stdout)


def _pinned_to_cores(number: int, first: int) -> list[str]:
    return ["taskset", "--cpu-list", ",".join(map(str, _cores[first:][:number]))]


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_WITHIN_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with closing(socket.socket()) as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError("A server did not start. Its output is above.")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=STOP_WITHIN_SECONDS)
    except subprocess.TimeoutExpired:
        # Also ends its worker: the server and its children have their own process group.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
