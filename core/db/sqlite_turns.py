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
from contextlib import contextmanager, nullcontext, suppress
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
    database = str(connection.settings_dict["NAME"])
    if connection.vendor != "sqlite" or not os.path.isabs(database):
        return nullcontext()
    try:
        return _turn(_lock_file(database))
    except OSError:
        # The disk is full or read-only: the database says so itself.
        return nullcontext()


@contextmanager
def job_transaction() -> Iterator[None]:
    """A short transaction of a job, in its own turn: requests that wait for it go on half a millisecond after it."""
    with turn_to_write(connection), transaction.atomic():
        yield


@contextmanager
def _turn(descriptor: int) -> Iterator[None]:
    # The threads of a process share the file and its lock, so they take turns among themselves first.
    is_alone = _of_this_process.acquire(timeout=LONGEST_WAIT_SECONDS)
    try:
        if is_alone:
            # Some file systems have no such locks.
            with suppress(OSError):
                _take(descriptor)
        yield
    finally:
        if is_alone:
            # Does nothing if the turn is another process's.
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            _of_this_process.release()


def _take(descriptor: int) -> None:
    """Waits for the turn, but not forever."""
    deadline = time.monotonic() + LONGEST_WAIT_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return
            time.sleep(LOOK_EVERY_SECONDS)
        else:
            return


@lru_cache(maxsize=8)
def _lock_file(database: str) -> int:
    return os.open(f"{database}-turns", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
