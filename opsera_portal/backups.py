"""Writes the database to a file and restores it from one.

Nobody can sign in or decrypt anything with a copy: it has no keys, which are files of their own, and no rows of the
tables in `LEFT_OUT`.
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

# Tables whose rows give access by themselves, or must not be restored, and why. They are empty in copies and after a
# restore. Add each new table either here or to the list in opsera_portal/tests/test_backups.py.
LEFT_OUT = {
    "django_session": "session data, for example links that people are about to use, and unfinished sign-ins",
    "usersessions_usersession": "the list of sessions",
    "gateway_servicesession": "sessions of people at services, which belong to those of the portal",
    "core_keptform": "forms that were sent after a session ended, kept for an hour",
    "portal_cache": "anything that a library caches",
    "account_emailconfirmation": "keys of links that confirm an e-mail address",
    "core_keptanswer": "answers that are kept for clients that retry",
    "socialaccount_socialtoken": "tokens of single sign-on providers",
    "core_outgoingmail": "queued mails, which would be sent again",
}


class CopyFailed(Exception):
    """Nothing was written or restored. The message says why."""


def back_up(file: Path) -> None:
    """Writes the database, as it is at one moment, to a new file with mode 0600. Raises ``CopyFailed``.

    The format is a SQLite database, or for PostgreSQL an archive for pg_restore.
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
    """Replaces the whole database with a file from ``back_up``. If it raises ``CopyFailed``, nothing has changed.

    Afterwards nobody is signed in, even if an older version of the portal wrote the file with its sessions.
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
    """Includes what is still in the write-ahead log, and does not wait for writers.

    Copies rows and not pages, because pages still contain deleted rows.
    """
    with closing(_open(_database(), "ro")) as ours:
        ours.execute("VACUUM INTO ?", [str(draft)])
    with closing(_open(draft, "rw")) as copy, copy:
        # Deleted rows are overwritten.
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
            raise CopyFailed(f"{file} is not a database ({error}).") from None


def _copy(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """In one step. Without the deadline, Python would retry forever while another process writes."""
    deadline = time.monotonic() + WAIT_FOR_OTHERS_SECONDS

    def check_deadline(status: int, remaining: int, total: int) -> None:
        if status in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED} and time.monotonic() > deadline:
            raise CopyFailed("Another process is writing to the database: stop the web server and the worker.")

    source.backup(target, progress=check_deadline)


def _database() -> Path:
    return Path(connection.settings_dict["NAME"])


def _open(file: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.resolve().as_uri()}?mode={mode}", uri=True)


def _direct_settings() -> dict[str, Any]:
    """The address of the database itself, without a connection pooler (see ``DATABASE_DIRECT``)."""
    if settings.DATABASE_DIRECT:
        return {**connection.settings_dict, **settings.DATABASE_DIRECT}
    if getattr(connection, "is_pooled_outside", False):
        raise CopyFailed(
            "DATABASE_URL leads to a connection pooler, which pg_dump and pg_restore must not use: set "
            "DATABASE_DIRECT_URL to the address of the database itself."
        )
    return connection.settings_dict


def _run(command: str, *arguments: str) -> None:
    """Passes the password in the environment, because everyone on the machine can read command lines."""
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
