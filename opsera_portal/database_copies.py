"""The database written to a file, and made anew from one. No key is in it: those are kept apart."""

import os
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

from django.db import connection

WAIT_FOR_OTHERS_SECONDS = 5


class CopyFailed(Exception):
    """Nothing was written, or nothing restored; the message says why."""


def back_up(file: Path) -> None:
    """Writes the database, as it is at one moment, to a new file that only we may read. Raises ``CopyFailed``.

    On SQLite the file is a database itself; on PostgreSQL it is what pg_restore reads.
    """
    draft = file.with_name(f".{file.name}.part")
    try:
        # Only we may read it, from its first byte on.
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        if connection.vendor == "sqlite":
            _back_up_sqlite(draft)
        else:
            _run("pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={draft}")
        # Under its name once it is whole, and never in place of another.
        os.link(draft, file)
    except OSError as error:
        raise CopyFailed(f"{file} cannot be written ({error.strerror}).") from None
    finally:
        draft.unlink(missing_ok=True)


def restore(file: Path) -> None:
    """Puts what ``back_up`` wrote in place of the database: all of it or, with ``CopyFailed``, nothing."""
    if not file.is_file():
        raise CopyFailed(f"{file} cannot be read.")
    if connection.vendor == "sqlite":
        _restore_sqlite(file)
    else:
        options = ("--clean", "--if-exists", "--no-owner", "--no-privileges", "--single-transaction")
        _run("pg_restore", *options, str(file))


def _back_up_sqlite(draft: Path) -> None:
    """By SQLite's own online backup, which sees what the write-ahead log holds and waits for nobody."""
    with closing(_open(_database(), "ro")) as ours, closing(_open(draft, "rw")) as copy:
        _copy(ours, copy)


def _restore_sqlite(file: Path) -> None:
    with closing(_open(file, "ro")) as copy, closing(_open(_database(), "rw")) as ours:
        try:
            if copy.execute("PRAGMA quick_check").fetchall() != [("ok",)]:
                raise CopyFailed(f"{file} is damaged.")
            _copy(copy, ours)
        except sqlite3.DatabaseError as error:
            raise CopyFailed(f"{file} is no database ({error}).") from None


def _copy(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """All of it in one step. Python would try for ever again while somebody writes."""
    deadline = time.monotonic() + WAIT_FOR_OTHERS_SECONDS

    def look_at_the_clock(status: int, remaining: int, total: int) -> None:
        if status in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED} and time.monotonic() > deadline:
            raise CopyFailed("Something else writes to the database: stop web and worker.")

    source.backup(target, progress=look_at_the_clock)


def _database() -> Path:
    return Path(connection.settings_dict["NAME"])


def _open(file: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.resolve().as_uri()}?mode={mode}", uri=True)


def _run(command: str, *arguments: str) -> None:
    """With the password in the environment: the command line is for everyone on the machine to read."""
    (_, *where, name), environment = connection.client.settings_to_cmd_args_env(connection.settings_dict, [])
    try:
        done = subprocess.run(
            [command, *where, f"--dbname={name}", *arguments],
            env=os.environ | (environment or {}),
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise CopyFailed(f"{command} is missing: apt-get install postgresql-client") from None
    if done.returncode:
        raise CopyFailed(f"{command} failed: {done.stderr.strip()}")
