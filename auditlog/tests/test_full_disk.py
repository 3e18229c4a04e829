"""A full disk while something is written or committed: 503, nothing half-made, and all is well once there is room.

On SQLite it is a real one: no page is left (SQLITE_FULL), or the write-ahead log cannot grow. On PostgreSQL, a trigger
raises what the server raises when it cannot extend a file (53100). `test_failures.py` fills real disks below a started
portal.
"""

import logging
import resource
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial

import pytest
from django.db import connection, connections
from django.db.backends.signals import connection_created
from rest_framework.test import APIClient

from accounts import log_retention
from auditlog import jobs
from auditlog.models import Activity, Seal, TokenUsage, TokenUse
from auditlog.tests.entries import USES, days_ago, findings, sql, uses
from core import periodic_jobs
from core.db import batches, unavailable
from core.models import KeptAnswer, Submission
from opsera_portal.tests.test_errors import assert_problem
from pipelines.models import Run
from pipelines.tests.factories import StepFactory
from tokens.models import Token
from tokens.tests.factories import TokenFactory, bearer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.each_database]

ME, RUN, TOKENS = "/api/v1/me", "/api/v1/pipeline/run", "/profile/tokens/"
FORM = {"name": "nightly build", "scopes": ["pipeline"], "lifetime": "1w", "expires_at": "", "submission": f"{7:032x}"}

# On SQLite, a transaction that does not fit into the cache is written before it is committed.
MOMENTS = {"sqlite": ["write", "cache is full", "commit"], "postgresql": ["write", "commit"]}[connection.vendor]
at_each_moment = pytest.mark.parametrize("moment", MOMENTS)


@contextmanager
def a_full_disk(moment, table):
    """No row can be added to the table, or no transaction that did so can be committed."""
    full = {
        ("sqlite", "write"): no_page_is_left,
        ("sqlite", "cache is full"): write_ahead_log_cannot_grow_and_cache_is_full,
        ("sqlite", "commit"): write_ahead_log_cannot_grow,
        ("postgresql", "write"): no_file_can_be_extended,
        ("postgresql", "commit"): no_file_can_be_extended_at_the_end,
    }[connection.vendor, moment]
    with full(table):
        yield


@contextmanager
def no_page_is_left(table):
    """Each row that is added needs more pages than the database may have."""

    def limit(connection, **kwargs):
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA max_page_count = 1")

    with connection.cursor() as cursor:
        # Earlier tests have left free pages.
        free_pages, page_size = (
            cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_size")
        )
    size = (free_pages + 20) * page_size
    sql("CREATE TABLE filling (content)")
    sql(f"CREATE TRIGGER fill AFTER INSERT ON {table} BEGIN INSERT INTO filling VALUES (zeroblob({size})); END")
    limit(connection)
    connection_created.connect(limit)
    try:
        yield
    finally:
        connection_created.disconnect(limit)
        sql("PRAGMA max_page_count = 4294967294")
        sql("DROP TRIGGER fill")
        sql("DROP TABLE filling")


@contextmanager
def write_ahead_log_cannot_grow(table):
    sql("PRAGMA wal_checkpoint(TRUNCATE)")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def write_ahead_log_cannot_grow_and_cache_is_full(table):
    """SQLite then rolls back the whole transaction by itself, and its savepoints are gone."""
    sql("PRAGMA cache_size = 1")
    try:
        with write_ahead_log_cannot_grow(table):
            yield
    finally:
        # Once there is room: SQLite may have to read the write-ahead log again, for which it writes a file.
        sql("PRAGMA cache_size = -2000")


def no_file_can_be_extended(table):
    return refusing(f"CREATE TRIGGER disk_full BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION disk_full()")


def no_file_can_be_extended_at_the_end(table):
    return refusing(
        f"CREATE CONSTRAINT TRIGGER disk_full AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION disk_full()"
    )


@contextmanager
def refusing(trigger):
    message = "could not extend file: No space left on device"
    sql(
        "CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{message}' USING ERRCODE = 'disk_full'; END $$"
    )
    sql(trigger)
    try:
        yield
    finally:
        sql("DROP FUNCTION disk_full CASCADE")


@pytest.fixture
def headers(owner):
    return bearer(TokenFactory(owner=owner))


@pytest.fixture
def patient(client):
    """A browser that gets the page of an error."""
    client.raise_request_exception = False
    return client


@at_each_moment
def test_request_is_not_answered(api, headers, moment):
    with a_full_disk(moment, "auditlog_tokenuse"):
        answer = api.get(ME, headers=headers)

    assert_problem(answer, 503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert not TokenUse.objects.exists()
    assert api.get(ME, headers=headers).status_code == 200
    assert [use.status for use in TokenUse.objects.all()] == [200]


@at_each_moment
def test_change_by_a_token_is_undone_and_can_be_repeated(api, owner, headers, moment):
    pipeline = StepFactory(pipeline__owner=owner).pipeline
    headers |= {"Idempotency-Key": "tonight"}
    with a_full_disk(moment, "auditlog_tokenuse"):
        answer = api.post(RUN, {"pipelineId": str(pipeline.pk)}, headers=headers)

    assert_problem(answer, 503, "unavailable")
    made = [Run, Activity, TokenUse, KeptAnswer]
    assert [model.objects.count() for model in made] == [0, 0, 0, 0]
    pipeline.refresh_from_db()
    assert pipeline.run_count == 0
    assert api.post(RUN, {"pipelineId": str(pipeline.pk)}, headers=headers).status_code == 200
    assert [model.objects.count() for model in made] == [1, 1, 1, 1]


@at_each_moment
def test_all_requests_of_a_group_are_not_answered(headers, moment):
    together = threading.Barrier(6)

    def ask(_):
        together.wait(10)
        try:
            return APIClient().get(ME, headers=headers).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        with a_full_disk(moment, "auditlog_tokenuse"):
            assert list(pool.map(ask, range(6))) == [503] * 6
        assert not TokenUse.objects.exists()
        assert list(pool.map(ask, range(6))) == [200] * 6
    assert TokenUse.objects.count() == 6


@at_each_moment
def test_form_is_undone_and_can_be_sent_again(patient, owner, moment):
    patient.force_login(owner)
    before = Activity.objects.count()
    with a_full_disk(moment, "auditlog_activity"):
        answer = patient.post(TOKENS, FORM)

    assert answer.status_code == 503
    assert "The portal is temporarily unavailable" in answer.content.decode()
    assert int(answer.headers["Retry-After"]) > 0
    assert (Token.objects.count(), Activity.objects.count(), Submission.objects.count()) == (0, before, 0)
    assert patient.post(TOKENS, FORM).status_code == 302
    assert (Token.objects.count(), Activity.objects.count()) == (1, before + 1)


@at_each_moment
@pytest.mark.parametrize("table", ["auditlog_tokenuse", "auditlog_activity"])
def test_portal_is_not_ready_until_some_seconds_after_a_full_disk(
    patient, api, owner, headers, monkeypatch, moment, table
):
    patient.force_login(owner)
    assert patient.get("/readyz").status_code == 200
    with a_full_disk(moment, table):
        if table == "auditlog_tokenuse":
            api.get(ME, headers=headers)
        else:
            patient.post(TOKENS, FORM)

        answer = patient.get("/readyz")
        assert (answer.status_code, answer.content) == (503, b"The database takes no writes.\n")
        assert patient.get("/healthz").status_code == 200
    assert patient.get("/readyz").status_code == 503
    monkeypatch.setattr(unavailable, "REMEMBERED_SECONDS", 0)
    assert patient.get("/readyz").status_code == 200


@contextmanager
def a_table_that_others_lock():
    lock, wait, wait_as_before = {
        "sqlite": ("BEGIN IMMEDIATE", "PRAGMA busy_timeout = 1", "PRAGMA busy_timeout = 20000"),
        "postgresql": ("BEGIN; LOCK TABLE auditlog_tokenuse", "SET lock_timeout = '1ms'", "RESET lock_timeout"),
    }[connection.vendor]
    with closing(connection.copy()) as other:
        other.cursor().execute(lock)
        sql(wait)
        yield
        sql(wait_as_before)


def test_portal_stays_ready_while_others_write(api, client, headers):
    with a_table_that_others_lock():
        answer = api.get(ME, headers=headers)

    assert_problem(answer, 503, "unavailable")
    assert client.get("/readyz").status_code == 200


# What the worker repeats


@pytest.fixture
def worker(monkeypatch, settings, tmp_path, caplog):
    """Does a job as the worker does, once, without pauses. Returns what it logs as an error; nothing if it succeeds."""
    monkeypatch.setattr(batches, "SHORTEST_PAUSE_SECONDS", 0)
    settings.DATA_DIR = tmp_path

    def errors_of(work):
        caplog.clear()
        job = periodic_jobs.Job("the job", partial(work, USES), 1)
        assert periodic_jobs._succeeds(job, threading.Event()) is not bool(caplog.messages)
        return caplog.messages

    with caplog.at_level(logging.ERROR):
        yield errors_of


def says_why(errors):
    [line] = errors
    reasons = ("database or disk is full", "disk I/O error", "No space left on device")
    return line.startswith("the job: the database is unavailable: ") and any(reason in line for reason in reasons)


@at_each_moment
def test_sealing_fails_with_the_reason_and_is_made_up_for(organization, worker, moment):
    uses(3, organization, at=days_ago(1))
    with a_full_disk(moment, "auditlog_seal"):
        errors = worker(jobs.seal)

    assert says_why(errors)
    assert (Seal.objects.count(), TokenUsage.objects.count()) == (0, 0)
    assert worker(jobs.seal) == []
    assert Seal.objects.get().count == 3
    assert findings() == []


@at_each_moment
def test_pruning_fails_with_the_reason_and_is_made_up_for(organization, worker, moment):
    uses(3, organization, at=days_ago(402))
    uses(1, organization, at=days_ago(1))
    assert worker(jobs.seal) == []
    with a_full_disk(moment, "auditlog_seal"):
        errors = worker(log_retention.prune)

    assert says_why(errors)
    assert (TokenUse.objects.count(), Seal.objects.count()) == (4, 1)
    assert findings() == []
    assert worker(log_retention.prune) == []
    assert (TokenUse.objects.count(), Seal.objects.count()) == (1, 2)
    assert findings() == []
