"""The worker expires unused tokens if the policy requires it."""

import threading
from datetime import timedelta

import pytest
import time_machine
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Organization
from accounts.tests.factories import UserFactory
from auditlog.models import Activity
from core import periodic_jobs
from core.models import OutgoingMail
from opsera_portal.tests.mails import delivered
from tokens.expiry import unused
from tokens.models import Token
from tokens.states import TokenState
from tokens.tests.factories import TokenFactory, bearer, now_in_seconds

pytestmark = pytest.mark.each_database

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


@pytest.fixture
def organization(organization):
    organization.unused_tokens_end_after_days = 7
    organization.save()
    return organization


def idle(owner, *, days=8, **fields):
    return TokenFactory(owner=owner, created_at=now_in_seconds() - days * DAY, **fields)


def end_unused(stopping=None):
    unused.end_unused(stopping or threading.Event())


def test_unused_token_is_ended_permanently_with_the_reason(organization, owner):
    token = idle(owner, name="nightly")

    end_unused()

    token.refresh_from_db()
    assert (token.state, token.revoked_by, token.revoke_reason) == (TokenState.REVOKED, None, "Not used for 7 days.")
    assert token.live_name_key is None


def test_log_entry_has_the_owner_as_actor(organization, owner):
    token = idle(owner)

    end_unused()

    entry = Activity.objects.get()
    assert (entry.action, entry.actor, entry.target_id) == ("token.ended_unused", owner, str(token.pk))
    assert entry.details == {"reason": "Not used for 7 days."}


def test_only_live_tokens_unused_for_too_long_end(organization, owner, stranger):
    with time_machine.travel(now_in_seconds(), tick=False):
        now = timezone.now()
        due = {idle(owner), idle(owner, last_used_at=now - 8 * DAY), idle(owner, last_used_at=now - 7 * DAY - SECOND)}
        idle(owner, last_used_at=now - 7 * DAY)
        idle(owner, revealed_at=now - 7 * DAY)
        idle(owner, revealed_at=None)
        idle(owner, expires_at=now - DAY)
        # The policy of this organization has no such rule.
        idle(stranger)

        end_unused()

    assert set(Token.objects.revoked()) == due


def test_token_expired_early_keeps_its_reason(organization, owner):
    token = idle(owner, revoked_at=timezone.now(), revoke_reason="lost")

    end_unused()

    token.refresh_from_db()
    assert token.revoke_reason == "lost"


def test_all_unused_tokens_end_over_several_batches(organization, owner, monkeypatch):
    monkeypatch.setattr(unused, "BATCH", 2)
    for _ in range(5):
        idle(owner)

    end_unused()

    assert Token.objects.revoked().count() == 5


def test_unused_tokens_are_searched_once_outside_of_transactions(organization, owner, monkeypatch):
    """With a search for each batch, half a million tokens would block all writers for an hour."""
    monkeypatch.setattr(unused, "BATCH", 2)
    for _ in range(6):
        idle(owner)

    with CaptureQueriesContext(connection) as captured:
        end_unused()

    begins = next(n for n, query in enumerate(captured) if query["sql"].startswith("SAVEPOINT"))
    searches = [
        n for n, query in enumerate(captured) if '"revealed_at" <' in query["sql"] and '"id" IN' not in query["sql"]
    ]
    assert len(searches) == 1
    assert searches[0] < begins


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL knows how many rows an index leads to")
def test_tokens_of_a_batch_are_found_by_id(organization, owner):
    token_ids = [idle(owner).pk for _ in range(5)]

    with CaptureQueriesContext(connection) as captured:
        unused.end_batch(organization.pk, token_ids)

    (search,) = [query["sql"] for query in captured if '"revealed_at" <' in query["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {search}")
        assert "(id=?)" in str(cursor.fetchall())


def test_stopping_worker_stops_between_two_batches(organization, owner):
    idle(owner)
    stopping = threading.Event()
    stopping.set()

    end_unused(stopping)

    assert not Token.objects.revoked().exists()


def test_token_ended_as_unused_stays_ended_when_the_policy_changes(organization, owner, api):
    token = idle(owner)
    headers = bearer(token)
    end_unused()
    Organization.objects.update(unused_tokens_end_after_days=None)

    answer = api.get("/api/v1/me", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (401, "revoked")


def test_worker_ends_unused_tokens_every_hour():
    job = periodic_jobs._registered["unused tokens"]

    assert (job.work, job.every_seconds) == (unused.end_unused, 3600)


@pytest.mark.django_db(transaction=True)
def test_token_used_at_the_same_time_is_not_ended(organization, owner):
    token = idle(owner)
    token_ids, results = [token.pk], []

    def end():
        try:
            results.extend(unused.end_batch(organization.pk, token_ids))
        finally:
            connection.close()

    thread = threading.Thread(target=end)
    with transaction.atomic():
        token.mark_used(at=timezone.now(), ip="192.0.2.1")
        thread.start()
        # It finds the token unused and waits for the row's lock.
        thread.join(0.2)
    thread.join()

    assert results == []
    token.refresh_from_db()
    assert token.state is TokenState.ACTIVE


@pytest.mark.django_db(transaction=True)
def test_one_of_two_workers_ends_a_token(organization, owner):
    token_ids, results = [idle(owner).pk for _ in range(3)], []
    barrier = threading.Barrier(2)

    def end():
        try:
            barrier.wait()
            results.extend(unused.end_batch(organization.pk, token_ids))
        finally:
            connection.close()

    threads = [threading.Thread(target=end) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(results) == 3
    assert Activity.objects.count() == 3


# The mail


@pytest.fixture
def mails(organization, django_capture_on_commit_callbacks):
    """The mails that owners get when unused tokens end."""

    def send():
        with django_capture_on_commit_callbacks(execute=True):
            end_unused()
        return delivered()

    return send


def test_each_owner_gets_one_mail_that_names_their_tokens(owner, member, mails):
    idle(owner, name="nightly")
    idle(owner, name="weekly")
    idle(member, name="hourly")

    to_owner, to_member = sorted(mails(), key=lambda sent: sent.to, reverse=True)

    assert (to_owner.to, to_owner.subject) == ([owner.email], "Your 2 access tokens have expired unused")
    assert "nightly" in to_owner.body
    assert "weekly" in to_owner.body
    assert "Not used for 7 days." in to_owner.body
    assert "http" in to_owner.body
    assert (to_member.to, to_member.subject) == ([member.email], "Your access token “hourly” has expired unused")
    assert "nightly" not in to_member.body


def test_tokens_of_one_owner_end_together_and_are_in_one_mail(owner, member, mails, monkeypatch):
    monkeypatch.setattr(unused, "BATCH", 4)
    for _ in range(4):
        idle(owner)
        idle(member)

    assert [sent.subject for sent in mails()] == ["Your 4 access tokens have expired unused"] * 2


def test_deactivated_owner_gets_no_mail(organization, mails):
    idle(UserFactory(organization=organization, is_active=False))

    assert mails() == []


def test_outbox_contains_only_ids(owner):
    token = idle(owner, name="nightly")
    end_unused()

    assert OutgoingMail.objects.get().arguments == {"owner_id": str(owner.pk), "token_ids": [str(token.pk)]}
