"""Starts a portal with its own data for tests: web server, worker and echo endpoint."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

from opsera_portal.tests import databases

PASSWORD = "demo password for tests"


@dataclass
class Portal:
    url: str
    data: Path
    database_url: str
    output: Path
    process: subprocess.Popen[bytes]
    # For commands that work with its data.
    environment: dict[str, str] = field(default_factory=dict)

    def stop(self) -> int:
        """Stops the portal as Ctrl-C does, and returns its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=30)

    def add_many_rows(self) -> None:
        """As `manage.py demo --many`, which does it once."""
        command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "demo", "--many"]
        subprocess.run(command, env=self.environment, check=True, capture_output=True)

    def rows(self):
        """Every value of every row of every table, as text."""
        with closing(self.connect()) as connection:
            cursor = connection.cursor()
            cursor.execute(self._tables_query())
            for (table,) in cursor.fetchall():
                cursor.execute(f'SELECT * FROM "{table}"')
                for row in cursor.fetchall():
                    for value in row:
                        yield table, value if isinstance(value, str) else str(value)

    @property
    def is_sqlite(self):
        return not self.database_url

    def connect(self):
        if self.is_sqlite:
            return sqlite3.connect(self.data / "portal.sqlite3")
        import psycopg

        return psycopg.connect(self.database_url)

    def _tables_query(self):
        if self.is_sqlite:
            return "SELECT name FROM sqlite_master WHERE type = 'table'"
        return "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"


def free_port():
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(directory: Path, *, from_nothing: bool = False, **settings_of_its_own: str) -> Portal:
    """``from_nothing``: run all migrations, as on a first start. Else copy a migrated database."""
    database_url = make_database(directory.name, migrated=not from_nothing)
    (directory / "data").mkdir(mode=0o700)
    if not database_url and not from_nothing:
        databases.copy_to_sqlite(directory / "data" / "portal.sqlite3")
    port, echo_port = free_port(), free_port()
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PORTAL_", "DATABASE_URL", "DJANGO_", "REDIS_URL"))
    } | {
        "PORTAL_PORT": str(port),
        "DEMO_ECHO_PORT": str(echo_port),
        "PORTAL_DATA_DIR": str(directory / "data"),
        "PORTAL_DEMO_PASSWORD": PASSWORD,
        "SECRET_KEY": settings.SECRET_KEY,
        # Tests send more requests than people do. The portal still counts them.
        **dict.fromkeys(("API_LIMIT_TOKEN", "API_LIMIT_USER", "API_LIMIT_ADDRESS"), "1000000/m"),
        **settings_of_its_own,
    }
    if database_url:
        environment["DATABASE_URL"] = database_url
    output = directory / "output.txt"
    with databases.one_at_a_time("static-files"):
        with output.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, str(settings.BASE_DIR / "manage.py"), "serve", "--demo"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        portal = Portal(f"http://127.0.0.1:{port}", directory / "data", database_url, output, process, environment)
        wait_until_ready(portal)
    return portal


def answers(port: int) -> bool:
    """Whether something listens on this port of the machine."""
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until_ready(portal: Portal):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if portal.process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{portal.url}/readyz", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    portal.process.kill()
    raise AssertionError(f"The portal did not start:\n{portal.output.read_text()}")


def postgresql_of_the_suite() -> str:
    """The URL of the PostgreSQL server that the tests run on. Empty on SQLite."""
    if settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"):
        return ""
    return os.environ.get("DATABASE_URL", "")


def postgresql_of_this_machine() -> str:
    """The URL of this machine's PostgreSQL server, also if tests run on SQLite. Empty if none."""
    if answers(5432):
        return os.environ.get("TEST_DATABASE_URL", "postgres://postgres@127.0.0.1:5432/postgres")
    return ""


def make_database(name: str, *, server: str | None = None, migrated: bool = True) -> str:
    """Creates a database without rows and returns its URL. Empty on SQLite, where it is a file."""
    server = postgresql_of_the_suite() if server is None else server
    if not server:
        return ""
    name = "portal_" + "".join(c for c in name if c.isalnum())[-40:].lower() + f"_{os.getpid()}"
    return databases.copy_to_postgresql(server, name, migrated=migrated)


def drop_database(database_url: str):
    if database_url:
        databases.drop_from_postgresql(database_url)
