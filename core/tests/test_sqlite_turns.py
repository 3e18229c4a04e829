"""Processes that write to one SQLite database take turns, and a process that dies ends its turn."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from core.db import sqlite_turns
from core.db.sqlite_turns import turn_to_write

HOLD_FOREVER = """
import sys, time
from types import SimpleNamespace
from core.db.sqlite_turns import turn_to_write
with turn_to_write(SimpleNamespace(vendor="sqlite", settings_dict={"NAME": sys.argv[1]})):
    print("holds", flush=True)
    time.sleep(60)
"""


def connection_to(name, vendor="sqlite"):
    return SimpleNamespace(vendor=vendor, settings_dict={"NAME": str(name)})


@pytest.mark.slow
def test_next_process_waits_until_the_turn_ends(tmp_path):
    database = tmp_path / "portal.sqlite3"
    command = [sys.executable, "-c", HOLD_FOREVER, str(database)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."}) as other:
        assert other.stdout.readline() == b"holds\n"
        # The process holds its turn for a minute, unless it is killed.
        subprocess.Popen(["sh", "-c", f"sleep 0.3; kill -9 {other.pid}"])
        started_at = time.perf_counter()
        with turn_to_write(connection_to(database)):
            waited = time.perf_counter() - started_at

    assert 0.25 < waited < 30


def test_lock_file_is_private_and_can_be_used_again(tmp_path):
    database = tmp_path / "portal.sqlite3"

    for _ in range(2):
        with turn_to_write(connection_to(database)):
            pass

    assert os.stat(f"{database}-turns").st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("name", "vendor"), [("portal", "postgresql"), ("file:memorydb?mode=memory", "sqlite")])
def test_other_databases_need_no_turns(name, vendor, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with turn_to_write(connection_to(name, vendor)):
        pass

    assert list(tmp_path.iterdir()) == []


def test_directory_that_cannot_be_written_needs_no_turns(tmp_path):
    with turn_to_write(connection_to(tmp_path / "missing" / "portal.sqlite3")):
        pass


def test_process_that_waits_too_long_writes_without_a_turn(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_turns, "LONGEST_WAIT_SECONDS", 0.05)
    database = tmp_path / "portal.sqlite3"
    with open(f"{database}-turns", "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with turn_to_write(connection_to(database)):
            pass


def test_threads_of_one_process_take_turns_too(tmp_path):
    database, inside, most = tmp_path / "portal.sqlite3", [], []

    def write():
        with turn_to_write(connection_to(database)):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.002)
            inside.pop()

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == [1] * 8


def test_file_system_without_locks_needs_no_turns(tmp_path, monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(errno.EOPNOTSUPP, "no locks here")

    monkeypatch.setattr(sqlite_turns.fcntl, "flock", refuse)
    with turn_to_write(connection_to(tmp_path / "portal.sqlite3")):
        pass
