"""The connection pool does not hand out connections that the server has closed."""

import errno
import os
import time
import uuid

import psycopg
import pytest
from django.db import OperationalError, connection, connections
from django.db.utils import ConnectionHandler

from opsera_portal.tests.portal import free_port

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.each_database]


@pytest.fixture
def pooled():
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL has a pool of connections")
    settings = {**connections.settings["default"], "NAME": connection.settings_dict["NAME"]}
    settings["OPTIONS"] = {**settings["OPTIONS"], "pool": {"min_size": 2, "max_size": 4, "timeout": 5}}
    settings["TEST"] = {}
    wrapper = ConnectionHandler({"default": settings})["default"]
    # A new alias gives the connection its own pool and circuit breaker.
    wrapper.alias = f"pooled-{uuid.uuid4()}"
    yield wrapper
    wrapper.close()
    wrapper.close_pool()


def backend_of(wrapper):
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


def test_request_gets_a_new_connection_after_the_server_closed_the_old_one(pooled):
    first = backend_of(pooled)
    pooled.close()
    with connection.cursor() as cursor:
        # Closes all connections in the pool, as a restart of the server does.
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    for _ in range(4):
        assert backend_of(pooled) != first
        pooled.close()


def test_healthy_connection_is_used_again(pooled):
    pooled.pool.open()
    pooled.pool.wait(timeout=5)
    seen = set()
    for _ in range(6):
        seen.add(backend_of(pooled))
        pooled.close()

    assert len(seen) <= 2


def test_statements_are_not_compiled(pooled):
    with pooled.cursor() as cursor:
        cursor.execute("SHOW jit")
        assert cursor.fetchone() == ("off",)


def test_statement_is_prepared_once(pooled):
    for _ in range(3):
        with pooled.prepared_cursor() as cursor:
            cursor.execute("SELECT %s::int + 41", [1])
            assert cursor.fetchone() == (42,)
    with pooled.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%%+ 41%%'")
        assert cursor.fetchone() == (1,)


def test_only_the_first_attempt_waits_for_an_unreachable_server(pooled):
    pooled.settings_dict |= {"HOST": "127.0.0.1", "PORT": str(free_port())}
    pooled.settings_dict["OPTIONS"]["pool"] |= {"timeout": 0.3}
    waits = []

    for _ in range(3):
        started_at = time.perf_counter()
        with pytest.raises(OperationalError):
            pooled.ensure_connection()
        waits.append(time.perf_counter() - started_at)

    assert waits[0] > 0.25
    assert max(waits[1:]) < 0.1


def test_nobody_else_waits_for_a_server_that_stopped_answering(pooled):
    pooled.ensure_connection()
    with pytest.raises(OperationalError), pooled.wrap_database_errors:
        raise psycopg.OperationalError(f"could not receive data from server: {os.strerror(errno.ETIMEDOUT)}")
    pooled.close()

    with pytest.raises(OperationalError, match="a moment ago"):
        pooled.ensure_connection()


def test_busy_pool_is_not_treated_as_an_unreachable_server(pooled):
    pooled.settings_dict["OPTIONS"]["pool"] |= {"min_size": 1, "max_size": 1, "timeout": 0.2}
    pooled.ensure_connection()
    other = ConnectionHandler({"default": {**pooled.settings_dict}})["default"]
    other.alias = pooled.alias
    with pytest.raises(OperationalError):
        other.ensure_connection()

    pooled.close()
    other.ensure_connection()

    assert other.is_usable()
    other.close()
