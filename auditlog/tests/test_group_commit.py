"""Group commit: a request returns only when its own group is committed."""

import threading
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from django.db import DataError, OperationalError

from auditlog import group_commit
from auditlog.group_commit import GroupCommit

pytestmark = pytest.mark.each_database


class Disk:
    """Writes groups one at a time, and blocks the first one until ``go_on`` is set."""

    def __init__(self):
        self.groups, self.kept = [], []
        self.is_busy, self.go_on = threading.Event(), threading.Event()

    def write(self, rows):
        self.groups.append(list(rows))
        if len(self.groups) == 1:
            self.is_busy.set()
            assert self.go_on.wait(10)
        for row in rows:
            if row[0] == "bad":
                raise DataError("a row that cannot be kept")
            if row[0] == "away":
                raise OperationalError("the database is away")
        self.kept += rows


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def commits(disk):
    return GroupCommit(disk.write)


def outcomes(disk, commits, rows):
    """Commits the first row, and all others while the disk is busy with it.

    Returns the error type of each row, or ``None``.
    """

    arrived = threading.Semaphore(0)

    def commit(row):
        arrived.release()
        try:
            commits.commit(row)
        except (DataError, OperationalError, SystemExit) as error:
            return type(error)
        return None

    with ThreadPoolExecutor(len(rows)) as pool:
        first = pool.submit(commit, rows[0])
        assert disk.is_busy.wait(10)
        others = [pool.submit(commit, row) for row in rows[1:]]
        for _ in rows:
            assert arrived.acquire(timeout=10)
        assert not wait(others, timeout=0.15).done, "answered before it was committed"
        disk.go_on.set()
        return [future.result(timeout=10) for future in [first, *others]]


def test_rows_that_arrive_during_a_write_form_the_next_group(disk, commits):
    rows = [(str(number),) for number in range(9)]

    assert outcomes(disk, commits, rows) == [None] * 9
    assert [len(group) for group in disk.groups] == [1, 8]
    assert sorted(disk.kept) == rows


def test_single_row_is_written_at_once(disk, commits):
    disk.go_on.set()

    commits.commit(("a",))
    commits.commit(("b",))

    assert disk.groups == [[("a",)], [("b",)]]


def test_bad_row_does_not_affect_the_other_rows_of_its_group(disk, commits):
    rows = [("first",), ("a",), ("bad",), ("b",)]

    assert outcomes(disk, commits, rows) == [None, None, DataError, None]
    assert sorted(disk.kept) == [("a",), ("b",), ("first",)]


def test_bad_row_alone_is_tried_once(disk, commits):
    disk.go_on.set()

    with pytest.raises(DataError):
        commits.commit(("bad",))
    assert len(disk.groups) == 1


def test_every_caller_of_a_group_fails_if_the_database_is_unavailable(disk, commits):
    rows = [("first",), ("a",), ("away",), ("b",)]

    assert outcomes(disk, commits, rows) == [None, OperationalError, OperationalError, OperationalError]
    assert disk.kept == [("first",)]
    assert len(disk.groups) == 2


def test_next_group_is_written_after_a_failure(disk, commits):
    disk.go_on.set()
    with pytest.raises(OperationalError):
        commits.commit(("away",))

    commits.commit(("a",))

    assert disk.kept == [("a",)]


def test_size_of_a_group_is_limited(disk, commits, monkeypatch):
    monkeypatch.setattr(group_commit, "MAX_ROWS", 4)
    rows = [(str(number),) for number in range(12)]

    assert outcomes(disk, commits, rows) == [None] * len(rows)
    assert max(len(group) for group in disk.groups) == 4
    assert sorted(disk.kept) == sorted(rows)


def test_every_caller_fails_if_the_writer_exits(disk):
    def end(rows):
        disk.write(rows)
        raise SystemExit

    commits = GroupCommit(end)
    rows = [("first",), ("a",), ("b",)]

    assert outcomes(disk, commits, rows) == [SystemExit] * 3
