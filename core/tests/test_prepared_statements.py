"""Statements that go to the driver without Django's cursors."""

import pytest
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext

from core.db.prepared_statements import execute_for_each

# PostgreSQL writes several rows with one statement.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]


@pytest.fixture
def insert():
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE numbers (n integer UNIQUE)")
    yield lambda *numbers: execute_for_each(connection, "INSERT INTO numbers VALUES (%s)", [[n] for n in numbers])
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE numbers")


def stored():
    with connection.cursor() as cursor:
        cursor.execute("SELECT n FROM numbers ORDER BY n")
        return [n for (n,) in cursor.fetchall()]


def test_all_rows_of_a_group_are_written_or_none(insert):
    insert(1, 2)
    with pytest.raises(IntegrityError):
        insert(3, 1)
    insert(4)

    assert stored() == [1, 2, 4]
    assert not connection.connection.in_transaction


def test_rows_are_written_the_same_while_queries_are_watched(insert):
    with CaptureQueriesContext(connection) as queries:
        insert(1, 2)
        with pytest.raises(IntegrityError):
            insert(3, 1)

    assert stored() == [1, 2]
    assert any("INSERT INTO numbers" in query["sql"] for query in queries)
