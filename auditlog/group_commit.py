"""Committing in groups: what several requests have to write at the same moment is one statement and one commit.

A commit waits for the disk. While one group waits, the entries that arrive meanwhile gather in the next, so a busy
portal waits once for many entries and an idle one commits each at once: there is no timer and no thread of its own.
Each request waits until its own group is committed, so the promise of the log is that of a single commit.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from django.db import DataError, IntegrityError

Row = tuple[object, ...]
MAX_ROWS = 200


@dataclass
class _Group:
    rows: list[Row] = field(default_factory=list)
    is_decided: threading.Event = field(default_factory=threading.Event)
    errors: dict[int, BaseException] = field(default_factory=dict)


class GroupCommit:
    """Writes rows with ``write``, which commits all that it is given or raises and leaves none of them."""

    def __init__(self, write: Callable[[list[Row]], None]) -> None:
        self._write = write
        self._mutex = threading.Lock()
        self._turn = threading.Lock()
        self._open = _Group()

    def commit(self, row: Row) -> None:
        """Returns when ``row`` is committed, and raises what the database raised if it is not.

        The first of a group writes it, with its own connection, as soon as the group before is decided.
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
            group.is_decided.wait()
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
        except BaseException as error:  # noqa: BLE001  (whatever it is, nobody of the group is committed)
            group.errors = dict.fromkeys(range(len(group.rows)), error)
        finally:
            group.is_decided.set()

    def _write_each(self, rows: list[Row]) -> dict[int, BaseException]:
        """A row that the database cannot keep must not take the others of its group with it."""
        errors: dict[int, BaseException] = {}
        for place, row in enumerate(rows):
            try:
                self._write([row])
            except BaseException as error:  # noqa: BLE001  (the request of this row raises it)
                errors[place] = error
        return errors
