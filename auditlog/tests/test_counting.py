"""Several processes count each entry once. A portal that is behind says so instead of being slow."""

import threading
from datetime import UTC, datetime

import pytest
from django.db import connection, connections
from django.db.migrations.executor import MigrationExecutor

from auditlog import counting, usage
from auditlog.models import OrganizationUsage, Seal, TokenUsage, TokenUse, UsageProgress
from auditlog.tests.entries import committed_late, days_ago, sql, use, uses
from core.db import batches
from tokens.tests.factories import TokenFactory

pytestmark = [pytest.mark.django_db, pytest.mark.each_database]

on_sqlite = pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL checks the type of each value")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(batches, "SHORTEST_PAUSE_SECONDS", 0)


def count():
    return list(counting.count_due())


def total():
    return sum(row.allowed + row.refused for row in TokenUsage.objects.all())


def test_entries_are_counted_once(organization):
    uses(3, organization)
    assert count() == [3]
    uses(2, organization)

    assert count() == [2]
    assert count() == []
    assert TokenUsage.objects.get().allowed == OrganizationUsage.objects.get().allowed == 5


def test_batch_changes_a_limited_number_of_rows(monkeypatch, organization):
    """All rows of a batch are written while the other writers wait."""
    monkeypatch.setattr(counting, "first_size", lambda: 2)
    monkeypatch.setattr(counting, "next_size", lambda size, seconds: size)
    for ip in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.3", None):
        uses(1, organization, ip=ip)

    assert count() == [3, 2, 1]
    assert TokenUsage.objects.count() == 4


def test_backlog_is_read_in_parts(monkeypatch, organization):
    monkeypatch.setattr(counting, "READ_AT_ONCE", 4)
    uses(10, organization)

    assert count() == [4, 4, 2]


def test_counting_stops_between_two_batches(monkeypatch, organization):
    monkeypatch.setattr(counting, "READ_AT_ONCE", 4)
    uses(10, organization)
    stopping = threading.Event()
    counted = counting.count_due(stopping)
    next(counted)

    stopping.set()

    assert list(counted) == []
    assert (total(), counting.counted_until()) == (4, TokenUse.objects.order_by("id")[3].pk)
    assert sum(count()) == 6


def test_counting_ends_beside_a_writer_who_never_stops(monkeypatch, organization):
    monkeypatch.setattr(counting, "READ_AT_ONCE", 2)
    uses(5, organization)
    counted = []
    for entries in counting.count_due():
        uses(3, organization)
        counted.append(entries)

    assert counted == [2, 2, 1]
    assert sum(count()) == 9


def test_failed_batch_leaves_nothing(monkeypatch, organization):
    uses(1, organization)
    count()
    uses(2, organization)

    def fail(value):
        raise RuntimeError

    with monkeypatch.context() as broken:
        broken.setattr(counting, "_as_stored", fail)
        with pytest.raises(RuntimeError):
            count()

    assert (total(), count(), total()) == (1, [2], 3)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("counted_before", [0, 5])
def test_two_processes_at_the_same_time_count_each_entry_once(monkeypatch, organization, counted_before):
    monkeypatch.setattr(counting, "READ_AT_ONCE", 5)
    uses(counted_before, organization)
    count()
    uses(60, organization)
    begin = threading.Barrier(2)

    def count_all():
        begin.wait()
        try:
            # One that was slower stops, and goes on in its next round.
            while counting.counted_until() < newest:
                count()
        finally:
            connections.close_all()

    newest = TokenUse.objects.latest("id").pk
    threads = [threading.Thread(target=count_all) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (total(), OrganizationUsage.objects.get().allowed) == (60 + counted_before, 60 + counted_before)


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite commits entries in order.")
def test_entry_that_commits_late_is_counted(organization):
    with committed_late(lambda: uses(1, organization)):
        uses(1, organization)
        count()

    count()

    assert total() == 2


def test_counting_begins_again_without_its_progress(organization):
    uses(3, organization)
    count()

    UsageProgress.objects.all().delete()

    assert count() == [3]
    assert (total(), OrganizationUsage.objects.get().allowed) == (3, 3)


@on_sqlite
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("at", "not a time"),
        ("at", 12),
        ("at", b"\xff"),
        ("token_id", "not an id"),
        ("token_id", b"\xff"),
        ("owner_id", "not an id"),
        ("organization_id", "not an id"),
        ("organization_id", 12),
        ("ip", b"\xff"),
        ("ip", "x" * 40),
    ],
    ids=str,
)
def test_entry_that_somebody_made_unreadable_is_left_out(organization, column, value):
    _, changed, last = uses(3, organization)
    sql(f"UPDATE auditlog_tokenuse SET {column} = %s WHERE id = %s", value, changed.pk)

    assert sum(count()) == 3
    assert (total(), counting.counted_until()) == (2, last.pk)
    assert usage.addresses(usage._uses(TokenUsage.objects.all(), TokenUse.objects.all()))


@on_sqlite
@pytest.mark.parametrize(
    ("column", "value"),
    [("last_id", "no id"), ("last_id", b"\xff"), ("newest_at", "2026-99-99 00:00:00"), ("newest_at", b"\xff")],
    ids=str,
)
def test_everything_is_counted_again_if_progress_is_unreadable(organization, monkeypatch, column, value):
    monkeypatch.setattr(counting, "catch_up", lambda: None)
    entries = uses(3, organization)
    count()
    sql(f"UPDATE auditlog_usageprogress SET {column} = %s", value)

    assert not usage._uses(TokenUsage.objects.all(), TokenUse.objects.all()).is_complete
    count()

    assert (total(), counting.counted_until()) == (3, entries[-1].pk)
    assert usage._uses(TokenUsage.objects.all(), TokenUse.objects.all()).is_complete


def test_counting_can_begin_after_a_thread_could_not_be_started(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    counting.catch_up()

    assert counting._catching_up.acquire(blocking=False)
    counting._catching_up.release()


# A portal that is behind


@pytest.fixture
def behind(monkeypatch, owner):
    """Four uses of a token, of which one is counted. Pages count at most two. Returns the token."""
    monkeypatch.setattr(usage, "MAX_UNCOUNTED", 2)
    monkeypatch.setattr(counting, "catch_up", lambda: None)
    token = TokenFactory(owner=owner)
    for number in range(4):
        uses(1, owner.organization, token_id=token.pk, owner_id=owner.pk, at=days_ago(0.01), ip=f"192.0.2.{number}")
        if number == 0:
            count()
    return token


def test_newest_uses_are_left_out_while_counting_is_far_behind(behind, owner):
    uses_of_owner = usage.of(owner)

    assert not uses_of_owner.is_complete
    assert usage.days(uses_of_owner)[-1].total == 1
    assert [address.ip for address in usage.addresses(usage.of_token(behind.pk, reader=owner))] == ["192.0.2.0"]

    count()

    assert usage.of(owner).is_complete
    assert usage.days(usage.of(owner))[-1].total == 4


def test_a_few_uncounted_uses_are_counted_by_the_page(behind, owner, monkeypatch):
    monkeypatch.setattr(usage, "MAX_UNCOUNTED", 3)

    assert usage.of(owner).is_complete
    assert usage.days(usage.of(owner))[-1].total == 4


def test_gaps_between_ids_do_not_count_as_entries_that_wait(owner, monkeypatch):
    """PostgreSQL leaves a gap where a transaction was rolled back."""
    monkeypatch.setattr(usage, "MAX_UNCOUNTED", 2)
    monkeypatch.setattr(counting, "catch_up", lambda: pytest.fail("it is near"))
    for pk in (10_000_001, 10_000_100):
        TokenUse.objects.bulk_create([use(owner.organization, pk=pk, owner_id=owner.pk)])

    assert usage.of(owner).is_complete
    assert usage.days(usage.of(owner))[-1].total == 2


@pytest.mark.once
def test_pages_and_api_say_that_uses_are_not_counted_yet(behind, owner, client):
    client.force_login(owner)
    pages = [
        client.get("/").content.decode(),
        client.get(f"/profile/tokens/{behind.pk}/").content.decode(),
    ]
    answers = [client.get(path).json() for path in ("/api/v1/me/usage", f"/api/v1/tokens/{behind.pk}/usage")]

    assert all("still being counted" in page for page in pages)
    assert [answer["is_complete"] for answer in answers] == [False, False]
    # Four entries are in the list, so a total of one would contradict it.
    assert "1 use " not in pages[1]

    count()

    assert "still being counted" not in client.get("/").content.decode()


@pytest.mark.once
def test_expiring_a_token_does_not_claim_that_it_is_unused(behind, owner, client):
    client.force_login(owner)

    page = client.get(f"/profile/tokens/{behind.pk}/expire/").content.decode()

    assert "in the last 7 days" not in page
    assert "Scripts that use this token get 401" in page


@pytest.mark.django_db(transaction=True)
def test_portal_without_a_worker_counts_by_itself(owner, monkeypatch):
    monkeypatch.setattr(usage, "MAX_UNCOUNTED", 2)
    uses(5, owner.organization, owner_id=owner.pk)

    assert not usage.of(owner).is_complete
    # Only one thread counts, however many pages are read.
    usage.of(owner)
    [thread] = [thread for thread in threading.enumerate() if thread.name == "counting"] or [None]
    if thread:
        thread.join()

    assert usage.of(owner).is_complete
    assert usage.days(usage.of(owner))[-1].total == 5


# Migration

BEFORE = [("auditlog", "0009_plain_labels")]
AFTER = [("auditlog", "0010_uses_counted_apart_from_seals")]


def migrate(targets):
    executor = MigrationExecutor(connection)
    executor.migrate(targets)
    return executor.loader.project_state(targets).apps


def rows():
    counts = TokenUsage.objects.order_by("day", "token_id", "ip").values_list(
        "token_id", "owner_id", "organization_id", "day", "ip", "allowed", "refused", "after_end", "first_at", "last_at"
    )
    return list(counts)


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
def test_counts_survive_the_migration_in_both_directions(owner):
    sealed = uses(2, owner.organization, at=datetime(2026, 5, 3, 23, 59, tzinfo=UTC), owner_id=owner.pk)
    sealed += uses(1, owner.organization, at=datetime(2026, 5, 4, tzinfo=UTC), ip=None, status=401, outcome="refused")
    count()
    counted = rows()
    later = uses(2, owner.organization, at=datetime(2026, 5, 5, tzinfo=UTC))
    count()
    Seal.objects.create(
        log=Seal.Log.AUTHENTICATION,
        kind=Seal.Kind.ENTRIES,
        number=1,
        first_id=1,
        last_id=sealed[-1].pk,
        count=3,
        newest={},
    )
    everything = rows()

    migrate(BEFORE)
    try:
        assert rows() == counted
    finally:
        migrate(MigrationExecutor(connection).loader.graph.leaf_nodes())

    assert counting.counted_until() == sealed[-1].pk
    assert [row.allowed + row.refused for row in OrganizationUsage.objects.order_by("day")] == [2, 1]
    assert sum(count()) == len(later)
    assert rows() == everything
