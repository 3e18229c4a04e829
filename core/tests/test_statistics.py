"""The daily statistics, with which the database chooses indexes."""

import threading

import pytest
from django.db import connection

from accounts.models import User
from accounts.tests.factories import UserFactory
from core import periodic_jobs
from core.db import statistics

pytestmark = [pytest.mark.django_db, pytest.mark.each_database]


def rows_known_of(table):
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT max(CAST(stat AS integer)) FROM sqlite_stat1 WHERE tbl = %s", [table])
        else:
            cursor.execute("SELECT reltuples FROM pg_class WHERE relname = %s", [table])
        return cursor.fetchone()[0]


def test_worker_collects_statistics_of_each_table_every_day():
    UserFactory.create_batch(3)
    job = periodic_jobs._registered["statistics of the database"]

    job.work(threading.Event())

    assert rows_known_of(User._meta.db_table) == User.objects.count()
    assert job.every_seconds == 24 * 60 * 60


def test_worker_that_stops_does_not_begin_with_another_table():
    if connection.vendor == "sqlite":
        pytest.skip("SQLite reads all tables with one statement")
    stopping = threading.Event()
    stopping.set()
    before = rows_known_of(User._meta.db_table)
    UserFactory.create_batch(3)

    statistics.refresh(stopping)

    assert rows_known_of(User._meta.db_table) == before
