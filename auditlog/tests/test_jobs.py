"""The worker's jobs for the logs, over a long time and after errors."""

import logging
import threading
from datetime import timedelta

import pytest
import time_machine
from django.db import OperationalError, connections
from django.utils import timezone

from accounts import log_retention
from accounts.jobs import register_pruning
from auditlog import counting, jobs, retention
from auditlog.models import Seal, TokenUsage, TokenUse
from auditlog.seals import sealing
from auditlog.tests.entries import ACTIONS, USES, actions, change, days_ago, findings, remove, run, uses
from core import periodic_jobs
from core.db import batches

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.each_database]

PATIENCE = 10


@pytest.fixture(autouse=True)
def own_data_directory(settings, tmp_path):
    """Kept heads would outlive the database of a test."""
    settings.DATA_DIR = tmp_path


@pytest.fixture
def start(monkeypatch):
    """Starts the periodic jobs as the worker does, but at short intervals."""
    monkeypatch.setattr(periodic_jobs, "TRY_AGAIN_AFTER_SECONDS", 0.01)
    monkeypatch.setattr(batches, "SHORTEST_PAUSE_SECONDS", 0)
    # The jobs of the other apps have their own tests.
    monkeypatch.setattr(periodic_jobs, "_registered", {})
    jobs.register(every=timedelta(seconds=0.01))
    register_pruning()
    stopping = threading.Event()
    threads = []

    def keep():
        try:
            periodic_jobs.run(stopping)
        finally:
            connections.close_all()

    def start():
        thread = threading.Thread(target=keep)
        thread.start()
        threads.append(thread)
        return stopping

    yield start
    stopping.set()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def wait_until(condition):
    waiting = threading.Event()
    for _ in range(PATIENCE * 100):
        if condition():
            return
        waiting.wait(0.01)
    pytest.fail("This did not come true.")


def test_both_logs_are_sealed_and_uses_are_counted(organization, start):
    uses(3, organization, at=days_ago(1))
    actions(2, organization, at=days_ago(1))

    start()
    wait_until(lambda: Seal.objects.count() == 2 and TokenUsage.objects.exists())

    assert {(block.log, block.count) for block in Seal.objects.all()} == {(USES, 3), (ACTIONS, 2)}
    assert TokenUsage.objects.get().allowed == 3


def test_later_entries_are_sealed_in_a_later_round(organization, start):
    start()
    for number in (1, 2):
        uses(1, organization, at=days_ago(1))
        wait_until(lambda number=number: Seal.objects.filter(number=number).exists())

    assert findings() == []


def test_old_entries_are_removed_when_the_worker_starts(organization, start, caplog):
    uses(3, organization, at=days_ago(402))
    with caplog.at_level(logging.INFO, "accounts.log_retention"):
        start()
        wait_until(lambda: not TokenUse.objects.exists() and caplog.messages)

    assert caplog.messages == [
        f"Authentication log, organization acme: removed 3 older than {timezone.now().date() - timedelta(days=400)}"
    ]
    assert findings() == []


def test_old_entries_are_removed_again_at_every_interval(organization, monkeypatch, start):
    rounds = []
    register_pruning(every=timedelta(seconds=0.05))
    uses(1, organization, at=days_ago(399))
    monkeypatch.setattr(log_retention, "cuts_due", lambda log: rounds.append(1) or [])
    start()

    wait_until(lambda: len(rounds) >= 2)


def test_entries_that_become_old_are_removed_a_day_later(organization):
    uses(1, organization, at=days_ago(400))
    log_retention.prune(USES, threading.Event())
    assert TokenUse.objects.exists()

    with time_machine.travel(timezone.now() + timedelta(days=1)):
        log_retention.prune(USES, threading.Event())

    assert not TokenUse.objects.exists()
    assert findings() == []


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (
            OperationalError("the server went away"),
            "Authentication log, sealing: the database is unavailable: the server went away",
        ),
        (ValueError("a mistake"), "Authentication log, sealing: failed"),
    ],
    ids=["database away", "mistake"],
)
def test_failure_of_a_job_is_logged_and_does_not_end_the_worker(
    organization, monkeypatch, start, caplog, failure, said
):
    uses(1, organization, at=days_ago(1))
    seal_next = sealing.seal_next
    failed = []

    def fail_once(log, **options):
        if not failed:
            failed.append(log)
            raise failure
        return seal_next(log, **options)

    monkeypatch.setattr(sealing, "seal_next", fail_once)
    start()
    wait_until(lambda: Seal.objects.exists())

    assert said in caplog.messages


def test_sealing_stops_between_two_blocks(organization, monkeypatch):
    monkeypatch.setattr(sealing, "MAX_ENTRIES", 1)
    uses(5, organization)
    stopping = threading.Event()
    stopping.set()

    jobs.seal(USES, stopping)

    assert not Seal.objects.exists()


def test_sealing_pauses_after_each_block(organization, monkeypatch):
    """A pause ends early if the worker has to stop."""
    monkeypatch.setattr(sealing, "MAX_ENTRIES", 1)
    monkeypatch.setattr(batches, "SHORTEST_PAUSE_SECONDS", 0.03)
    uses(3, organization)
    pauses = []

    class Stopping(threading.Event):
        def wait(self, timeout=None):
            pauses.append(timeout)
            if len(pauses) == 2:
                self.set()
            return self.is_set()

    jobs.seal(USES, Stopping())

    assert Seal.objects.count() == 2
    assert min(pauses) >= 0.03


def test_long_pruning_does_not_delay_sealing_or_stopping(organization, monkeypatch, start):
    """In the pause of a minute after each batch, the worker seals and can be stopped."""

    def with_long_pauses(work, *, stopping):
        for run_batch in work:
            yield run_batch()
            if stopping.wait(60):
                return

    monkeypatch.setattr(retention, "run_batches", with_long_pauses)
    monkeypatch.setattr(retention, "first_size", lambda: 20)
    uses(100, organization, at=days_ago(402))
    stopping = start()
    wait_until(lambda: Seal.objects.filter(kind="pruned").exists())

    uses(1, organization, at=days_ago(1))
    wait_until(lambda: Seal.objects.filter(kind="entries").count() == 2)
    stopping.set()

    assert TokenUse.objects.count() > 50
    assert findings() == []


def test_several_workers_write_one_chain(organization, start):
    uses(50, organization, at=days_ago(1))
    newest = uses(50, organization, at=days_ago(402))[-1].pk
    start()
    start()
    wait_until(lambda: Seal.objects.filter(kind="entries").exists() and TokenUse.objects.count() == 50)
    assert counting.counted_until() == newest

    assert findings() == []
    assert sum(usage.allowed for usage in TokenUsage.objects.all()) == 50


# Jobs that apps register


def test_registered_job_is_repeated_beside_the_jobs_of_the_logs(organization, start):
    rounds = []
    periodic_jobs.register("counting", rounds.append, every=timedelta(seconds=0.01))
    uses(1, organization, at=days_ago(1))
    stopping = start()

    wait_until(lambda: len(rounds) >= 3 and Seal.objects.exists())

    assert set(rounds) == {stopping}


def test_registered_job_is_tried_again_after_a_failure(db, start, caplog):
    rounds = []

    def fail_once(stopping):
        rounds.append(stopping)
        if len(rounds) == 1:
            raise ValueError("a mistake")

    periodic_jobs.register("failing", fail_once, every=timedelta(hours=1))
    start()
    wait_until(lambda: len(rounds) == 2)

    assert "failing: failed" in caplog.messages


def test_long_job_does_not_delay_another(db, start):
    waiting, done = threading.Event(), threading.Event()
    periodic_jobs.register("long", lambda stopping: waiting.set() or stopping.wait(PATIENCE), every=timedelta(hours=1))
    periodic_jobs.register("short", lambda stopping: waiting.wait(PATIENCE) and done.set(), every=timedelta(hours=1))
    start()

    assert done.wait(PATIENCE)


# The head of the chain, kept outside of the database


def head_file(settings):
    return settings.DATA_DIR / "log-seal-head-authentication"


def test_the_worker_keeps_the_head_outside_of_the_database(organization, settings):
    uses(1, organization, at=days_ago(1))

    jobs.seal(USES, threading.Event())

    block = Seal.objects.get()
    assert head_file(settings).read_text() == f"1:{block.mac}"
    assert head_file(settings).stat().st_mode & 0o777 == 0o600
    assert run("verify_logs")[2] == 0


def test_resealed_end_is_reported_and_does_not_replace_the_kept_head(organization, settings, caplog):
    for _ in range(2):
        uses(1, organization, at=days_ago(1))
        jobs.seal(USES, threading.Event())
    known = head_file(settings).read_text()
    remove(Seal.objects.filter(number=2))
    change(TokenUse, TokenUse.objects.order_by("-id").first().pk, target="/api/v1/else")

    jobs.seal(USES, threading.Event())

    assert findings() == []
    assert "block 2 is no longer in the chain" in caplog.messages[0]
    assert head_file(settings).read_text() == known
    said, _, code = run("verify_logs")
    assert (code, "Block 2 is not the one it was" in said) == (1, True)


def test_broken_chain_of_one_log_does_not_delay_the_other(organization, start, caplog):
    uses(1, organization, at=days_ago(1))
    jobs.seal(USES, threading.Event())
    change(Seal, Seal.objects.get().pk, count=7)
    uses(1, organization, at=days_ago(1))
    actions(1, organization, at=days_ago(1))

    start()
    # Each log has its own thread, so either may be first.
    wait_until(lambda: Seal.objects.filter(log=ACTIONS).exists())
    wait_until(
        lambda: "Authentication log, sealing: Authentication log, block 1 was not sealed with this" in caplog.text
    )

    assert Seal.objects.filter(log=USES).count() == 1
