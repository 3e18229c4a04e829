"""Processes that write log entries to the same SQLite database take turns, and so do the jobs of the worker.

A writer that finds SQLite's lock taken sleeps and looks again, up to 100 ms later: with two busy processes, most of the
time nobody writes, and beside a job a request can miss several of its pauses. Here the next process looks every half
millisecond, at a lock of the operating system, which is free again when a process dies.

It only saves time. SQLite's own lock protects the data, so a process that gets no turn writes without one.
"""

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import Any

from django.db import connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

# A process can be stopped in its turn.
LONGEST_WAIT_SECONDS = 1.0
LOOK_EVERY_SECONDS = 0.0005

_of_this_process = threading.Lock()


def turn_to_write(connection: BaseDatabaseWrapper) -> Any:
    """A context in which nobody else writes who uses this, too. Does nothing on other databases.

    Only outside of transactions: a transaction already has SQLite's lock, for which another may wait in its turn.
    """
    if connection.vendor != "sqlite":
        return _NO_TURN
    try:
        descriptor = _lock_file(str(connection.settings_dict["NAME"]))
    except OSError:
        # The disk is full or read-only: the database says so itself.
        return _NO_TURN
    return _NO_TURN if descriptor is None else _Turn(descriptor)


@contextmanager
def job_transaction() -> Iterator[None]:
    """A short transaction of a job, in its own turn: requests that wait for it go on half a millisecond after it."""
    with turn_to_write(connection), transaction.atomic():
        yield


class _Turn:
    """A context for each log entry, so it calls as few functions as it can."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> None:
        # The threads of a process share the file and its lock, so they take turns among themselves first.
        self._is_alone = _of_this_process.acquire(timeout=LONGEST_WAIT_SECONDS)
        if self._is_alone:
            try:
                _take(self._descriptor)
            except BaseException:
                _of_this_process.release()
                raise

    def __exit__(self, *error: object) -> None:
        if self._is_alone:
            try:
                # Does nothing if the turn is another process's.
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            except OSError:
                pass  # Some file systems have no such locks.
            finally:
                _of_this_process.release()


_NO_TURN = nullcontext()


def _take(descriptor: int) -> None:
    """Waits for the turn, but not forever. Does nothing where the file system has no such locks."""
    deadline = time.monotonic() + LONGEST_WAIT_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return
            time.sleep(LOOK_EVERY_SECONDS)
        except OSError:
            return
        else:
            return


@lru_cache(maxsize=8)
def _lock_file(database: str) -> int | None:
    """The descriptor of the file beside the database; ``None`` for a database in memory. Raises ``OSError``."""
    if not os.path.isabs(database):
        return None
    return os.open(f"{database}-turns", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
