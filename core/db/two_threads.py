"""Reads a large result of PostgreSQL part by part, two parts at the same time.

The server does the work, in a process for each connection. SQLite works in this process, where two threads wait for
each other: there, reading two parts at the same time takes longer than one after the other.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from django.db import connection

Part = TypeVar("Part")
Result = TypeVar("Result")


def read_in_two_threads(read: Callable[[Part], Result], parts: Iterable[Part]) -> Iterator[Result]:
    """The results of ``read``, in the order of ``parts``. A second thread reads every second part.

    At most two parts are in memory, however slowly the results are used. On SQLite and in a transaction, this thread
    reads all of them: another connection would not see the changes of the transaction.
    """
    if connection.vendor == "sqlite" or connection.in_atomic_block:
        yield from map(read, parts)
        return
    rest = iter(parts)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="second-reader") as second_thread:
        for part in rest:
            following = [second_thread.submit(_read_and_close, read, next_part) for next_part in islice(rest, 1)]
            yield read(part)
            yield from (result.result() for result in following)


def _read_and_close(read: Callable[[Part], Result], part: Part) -> Result:
    # Nothing else closes the connections of a thread. The pool of PostgreSQL keeps this one for the next part.
    try:
        return read(part)
    finally:
        connection.close()
