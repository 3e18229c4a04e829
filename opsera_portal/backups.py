"""Writes the database to a file and restores it from one. A copy opens nothing.

It has no key, since those are in files of their own, and no row of the tables in `LEFT_OUT`.
"""

import os
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection

from core.files import private_draft

WAIT_FOR_OTHERS_SECONDS = 5

# Tables whose rows open something by themselves, or must not come back, and why. Copies hold them empty, and a restore
# leaves them empty. A new table goes in here or into the list in tests/test_database_copies.py.
LEFT_OUT = {
    "django_session": "session data: the links that people are about to use, and states of signing in",
    "usersessions_usersession": "which sessions there are",
    "core_keptform": "what people typed into forms that came too late, for an hour",
    "portal_cache": "whatever a library remembers there",
    "account_emailconfirmation": "keys of links that confirm an address",
    "core_keptanswer": "answers that were kept for clients that retry",
    "socialaccount_socialtoken": "tokens of single sign-on providers",
    "core_outgoingmail": "mails on their way, which a restore would send again",
}


class CopyFailed(Exception):
    """Nothing was written, or nothing restored; the message says why."""


def back_up(file: Path) -> None:
    """Writes the database, as it is at one moment, to a new file that only we may read. Raises ``CopyFailed``.

    On SQLite the file is a database itself; on PostgreSQL it is what pg_restore reads.
    """
    try:
        with private_draft(file) as draft:
            if connection.vendor == "sqlite":
                _back_up_sqlite(draft)
            else:
                without = [f"--exclude-table-data={table}" for table in LEFT_OUT]
                _run("pg_dump", "--format=custom", "--no-owner", "--no-privileges", *without, f"--file={draft}")
            # Gets its name when it is complete, and never replaces an existing file.
            os.link(draft, file)
    except (OSError, sqlite3.Error) as error:
        raise CopyFailed(f"{file} cannot be written ({getattr(error, 'strerror', error)}).") from None


def restore(file: Path) -> None:
    """Puts what ``back_up`` wrote in place of the database: all of it or, with ``CopyFailed``, nothing.

    Then nobody is signed in, even if an older version of the portal wrote the copy, with its sessions.
    """
    if not file.is_file():
        raise CopyFailed(f"{file} cannot be read.")
    if connection.vendor == "sqlite":
        _restore_sqlite(file)
    else:
        options = ("--clean", "--if-exists", "--no-owner", "--no-privileges", "--single-transaction")
        _run("pg_restore", *options, str(file))
    connection.close()
    with connection.cursor() as cursor:
        for table in LEFT_OUT.keys() & set(connection.introspection.table_names(cursor)):
            cursor.execute(f"DELETE FROM {table}")  # noqa: S608  (the table's name is ours)


def _back_up_sqlite(draft: Path) -> None:
    """Sees what the write-ahead log holds, and waits for nobody.

    Row by row and not page by page: pages still hold what was deleted from them.
    """
    with closing(_open(_database(), "ro")) as ours:
        ours.execute("VACUUM INTO ?", [str(draft)])
    with closing(_open(draft, "rw")) as copy, copy:
        # Overwrites what it deletes.
        copy.execute("PRAGMA secure_delete=ON")
        tables = {name for (name,) in copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for table in LEFT_OUT.keys() & tables:
            copy.execute(f"DELETE FROM {table}")  # noqa: S608  (the table's name is ours)


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


def _direct_settings() -> dict[str, Any]:
    """Where the database itself is, and not a connection pooler before it (see ``DATABASE_DIRECT``)."""
    if settings.DATABASE_DIRECT:
        return {**connection.settings_dict, **settings.DATABASE_DIRECT}
    if getattr(connection, "is_pooled_outside", False):
        raise CopyFailed(
            "The database is reached through a connection pooler, which pg_dump and pg_restore must not use: set "
            "DATABASE_DIRECT_URL to the address of the database itself."
        )
    return connection.settings_dict


def _run(command: str, *arguments: str) -> None:
    """With the password in the environment: the command line is for everyone on the machine to read."""
    (_, *where, name), environment = connection.client.settings_to_cmd_args_env(_direct_settings(), [])
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
