"""Parts of a large result are read by two threads, in order, and no connection stays open."""

import threading

import pytest
from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction

from core.db.two_threads import read_in_two_threads

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.each_database]


class Reader:
    """Reads numbers with a query, and records the threads and connections that it was called in."""

    def __init__(self):
        self.threads, self.connections, self.parts = set(), set(), []

    def __call__(self, part):
        self.threads.add(threading.get_ident())
        self.connections.add(connections[DEFAULT_DB_ALIAS])
        with connection.cursor() as cursor:
            cursor.execute("SELECT %s", [part])
            [(number,)] = cursor.fetchall()
        self.parts.append(int(number))
        return int(number)


@pytest.mark.parametrize("count", range(6))
def test_every_part_is_read_once_and_in_order(count):
    assert list(read_in_two_threads(Reader(), range(count))) == list(range(count))


@pytest.mark.skipif(connection.vendor == "sqlite", reason="On SQLite, one thread is faster.")
def test_second_thread_reads_every_second_part_and_closes_its_connection():
    reader = Reader()

    list(read_in_two_threads(reader, range(4)))

    assert len(reader.threads) == 2
    [of_second_thread] = reader.connections - {connections[DEFAULT_DB_ALIAS]}
    assert of_second_thread.connection is None


def test_single_part_starts_no_thread():
    reader = Reader()

    list(read_in_two_threads(reader, range(1)))

    assert reader.threads == {threading.get_ident()}


def test_at_most_two_parts_are_read_before_they_are_used():
    reader = Reader()
    results = read_in_two_threads(reader, range(10))

    next(results)

    results.close()
    assert sorted(reader.parts) == ([0] if connection.vendor == "sqlite" else [0, 1])


def test_transaction_is_read_by_its_own_connection():
    reader = Reader()

    with transaction.atomic():
        assert list(read_in_two_threads(reader, range(4))) == list(range(4))

    assert reader.threads == {threading.get_ident()}


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_error_comes_after_the_parts_before_it(broken):
    reader, found = Reader(), []

    def read(part):
        if part == broken:
            raise ValueError(part)
        return reader(part)

    with pytest.raises(ValueError, match=str(broken)):
        found.extend(read_in_two_threads(read, range(4)))

    assert found == list(range(broken))
