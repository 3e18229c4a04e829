"""Group commit: rows that several requests write at the same time share one statement and one commit.

A commit waits for the disk. While one group waits, rows that arrive gather in the next group. A busy portal waits once
for many rows, and an idle one commits each row at once; there is no timer and no extra thread. No request is answered
until its group has been committed.
"""

import threading
from collections.abc import Callable

from django.db import DataError, IntegrityError

Row = tuple[object, ...]
MAX_ROWS = 200


class _Group:
    """Rows that share a commit, and the errors of those that the database refused, by their place.

    ``wait`` returns after ``decide``. A plain lock is a third of the work of ``threading.Event``, and each waiting
    thread wakes the next one instead of all at once.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.errors: dict[int, BaseException] = {}
        self._gate = threading.Lock()
        self._gate.acquire()

    def decide(self) -> None:
        self._gate.release()

    def wait(self) -> None:
        with self._gate:
            pass


class GroupCommit:
    """Writes rows with ``write``, which commits all rows that it gets, or raises and commits none."""

    def __init__(self, write: Callable[[list[Row]], None]) -> None:
        self._write = write
        self._mutex = threading.Lock()
        self._turn = threading.Lock()
        self._open = _Group()

    def commit(self, row: Row) -> None:
        """Returns when ``row`` is committed; otherwise raises the error of the database.

        The thread of a group's first row writes the group with its own connection, when the previous group is done.
        """
        with self._mutex:
            group = self._open
            place = len(group.rows)
            group.rows.append(row)
            if place + 1 == MAX_ROWS:
                self._open = _Group()
        if place == 0:
            with self._turn:
                self._decide(group)
        else:
            group.wait()
        if place in group.errors:
            raise group.errors[place]

    def _decide(self, group: _Group) -> None:
        with self._mutex:
            if self._open is group:
                self._open = _Group()
        try:
            self._write(group.rows)
        except (DataError, IntegrityError) as error:
            group.errors = self._write_each(group.rows) if len(group.rows) > 1 else {0: error}
        except BaseException as error:  # noqa: BLE001  (whatever it is, no row of the group is committed)
            group.errors = dict.fromkeys(range(len(group.rows)), error)
        finally:
            group.decide()

    def _write_each(self, rows: list[Row]) -> dict[int, BaseException]:
        """Writes the rows one by one: a row that the database refuses must not affect the others of its group."""
        errors: dict[int, BaseException] = {}
        for place, row in enumerate(rows):
            try:
                self._write([row])
            except BaseException as error:  # noqa: BLE001  (raised in the request of this row)
                errors[place] = error
        return errors
