"""Log retention: old entries are removed, and the log can still be verified."""

import io
import sys
import threading
import uuid
from datetime import datetime, timedelta
from functools import partial

import pytest
from django.db import connection, connections
from django.utils import timezone

from accounts.log_retention import cuts_due
from accounts.tests.factories import OrganizationFactory
from auditlog import counting, retention
from auditlog.models import Activity, OrganizationUsage, Seal, TokenUsage, TokenUse
from auditlog.seals import sealing
from auditlog.seals.blocks import ChainBroken
from auditlog.seals.verification import Verification
from auditlog.tests.entries import (
    ACTIONS,
    USES,
    actions,
    change,
    committed_late,
    days_ago,
    findings,
    remove,
    run,
    seal,
    use,
    uses,
)
from core.db import batches

pytestmark = [pytest.mark.django_db, pytest.mark.each_database]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(batches, "SHORTEST_PAUSE_SECONDS", 0)


@pytest.fixture
def elsewhere(db):
    return OrganizationFactory(slug="elsewhere", log_retention_days=3660)


@pytest.fixture
def log(organization, elsewhere):
    """Uses of two organizations in one block. Only the first removes them after 400 days."""
    old = uses(3, organization, at=days_ago(402))
    others = uses(2, elsewhere, at=days_ago(402))
    new = uses(2, organization, at=days_ago(398))
    seal()
    return {"old": old, "others": others, "new": new}


def prune(**options):
    removed = {}
    for log in Seal.Log:
        for cut, count in retention.prune(log, cuts_due(log, **options), stopping=threading.Event()):
            removed[log, cut.name] = removed.get((log, cut.name), 0) + count
    return removed


def kept(model=TokenUse):
    return set(model.objects.values_list("pk", flat=True))


def ids(entries):
    return {entry.pk for entry in entries}


# What is removed


def test_entries_older_than_the_retention_of_their_organization_are_removed(log):
    assert prune() == {(USES, "acme"): 3}
    assert kept() == ids(log["others"] + log["new"])


def test_both_logs_are_pruned(organization):
    uses(1, organization, at=days_ago(402))
    actions(2, organization, at=days_ago(402))
    stays = actions(1, organization)

    assert prune() == {(USES, "acme"): 1, (ACTIONS, "acme"): 2}
    assert kept(Activity) == ids(stays)
    assert (findings(USES), findings(ACTIONS)) == ([], [])


def test_entries_without_an_existing_organization_are_kept_for_400_days():
    gone = uuid.UUID(int=7)
    uses(1, None, at=days_ago(402))
    uses(2, None, organization_id=gone, at=days_ago(402))
    stays = uses(1, None, at=days_ago(398)) + uses(1, None, organization_id=gone, at=days_ago(398))

    assert prune() == {(USES, "none"): 1, (USES, f"{gone} (removed)"): 2}
    assert kept() == ids(stays)
    assert findings() == []


def test_entries_are_removed_by_whole_days(organization):
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=400)
    uses(1, organization, at=midnight - timedelta(microseconds=1))
    stays = uses(1, organization, at=midnight)

    prune()

    assert kept() == ids(stays)


def test_daily_counts_are_removed_with_their_entries(log):
    assert sum(counting.count_due()) == 7
    assert TokenUsage.objects.count() == 2
    assert OrganizationUsage.objects.count() == 3

    prune()

    # All entries have the same token and address, so both organizations share one row per day.
    assert [usage.day for usage in TokenUsage.objects.all()] == [log["new"][0].at.date()]
    assert OrganizationUsage.objects.count() == 2


def test_entries_are_counted_before_they_are_removed(log):
    """An entry that is counted later would add to a day that has been removed."""
    prune()

    assert counting.counted_until() >= max(entry.pk for entries in log.values() for entry in entries)
    assert list(counting.count_due()) == []


def test_uncounted_entries_stay_while_another_process_counts(log, monkeypatch):
    monkeypatch.setattr(counting, "count_due", lambda stopping=None: iter(()))
    before = kept()

    assert prune() == {}
    assert kept() == before


def test_shorter_retention_can_be_requested(log):
    assert prune(days=300) == {(USES, "acme"): 5, (USES, "elsewhere"): 2}
    assert findings() == []


def test_pruning_can_be_limited_to_one_organization(log):
    assert prune(days=300, organization="elsewhere") == {(USES, "elsewhere"): 2}
    assert kept() == ids(log["old"] + log["new"])
    assert findings() == []


def test_many_entries_are_removed_in_several_batches(monkeypatch, organization):
    monkeypatch.setattr(batches, "LARGEST_BATCH", 30)
    uses(100, organization, at=days_ago(402))

    removed = [count for _, count in retention.prune(USES, cuts_due(USES), stopping=threading.Event())]

    assert sum(removed) == 100
    assert max(removed) <= 30
    assert kept() == set()


def test_pruning_stops_between_two_batches(monkeypatch, organization):
    monkeypatch.setattr(retention, "first_size", lambda: 20)
    uses(100, organization, at=days_ago(402))
    stopping = threading.Event()
    removed = 0
    for _, count in retention.prune(USES, cuts_due(USES), stopping=stopping):
        removed += count
        stopping.set()

    assert removed == 20
    assert findings() == []
    assert prune() == {(USES, "acme"): 100 - removed}
    assert findings() == []


def test_pruning_does_not_start_if_the_worker_is_stopping(log):
    stopping = threading.Event()
    stopping.set()

    assert list(retention.prune(USES, cuts_due(USES), stopping=stopping)) == []
    assert not Seal.objects.filter(kind="pruned").exists()


def test_pruning_without_old_entries_writes_no_block(organization):
    uses(2, organization)

    assert prune() == {}
    assert not Seal.objects.exists()


def test_nothing_is_removed_from_a_log_that_cannot_be_verified(log):
    change(Seal, Seal.objects.get().pk, count=3)

    with pytest.raises(ChainBroken):
        prune()
    assert len(kept()) == 7


@pytest.mark.parametrize(
    ("size", "seconds", "following"),
    [
        (20, 0.001, 26),
        (100, 0.001, 126),
        (1_900, 0.001, batches.LARGEST_BATCH),
        (100, 0.025, 80),
        (100, 0.040, 50),
        (100, 0.041, 48),
        (1000, 0.400, 50),
        (100, 9.000, batches.SMALLEST_BATCH),
    ],
)
def test_batch_size_grows_slowly_and_shrinks_at_once(size, seconds, following):
    # Only on SQLite do other writers wait.
    expected = following if connection.vendor == "sqlite" else batches.LARGEST_BATCH
    assert batches.next_size(size, seconds) == expected


def test_batches_are_found_by_an_index(log):
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL reads so few rows without one.")
    (cut,) = cuts_due(USES)

    assert "USING COVERING INDEX tokenuse_org_newest" in cut.entries().values_list("id")[:20].explain()


# Verification after pruning


def test_log_can_be_verified_after_part_of_a_block_was_pruned(log):
    prune()

    verification = Verification(USES)
    assert list(verification.findings()) == []
    assert (verification.entries, verification.pruned) == (4, 3)
    assert Seal.objects.get(kind="entries").entries is not None


def test_log_can_be_verified_after_a_whole_block_was_pruned(organization):
    uses(3, organization, at=days_ago(402))
    seal()
    uses(2, organization)
    seal()

    prune()

    assert [block.entries is None for block in Seal.objects.filter(kind="entries")] == [True, False]
    verification = Verification(USES)
    assert list(verification.findings()) == []
    assert (verification.entries, verification.pruned) == (2, 3)


def test_log_can_be_verified_after_pruning_and_new_entries(log, organization):
    prune()
    uses(2, organization)
    seal()

    verification = Verification(USES)
    assert list(verification.findings()) == []
    assert verification.entries == 6


def test_entries_are_sealed_before_they_are_removed(organization):
    uses(2, organization, at=days_ago(402))

    prune()

    sealed, pruned = Seal.objects.all()
    assert (sealed.kind, sealed.count) == ("entries", 2)
    assert (pruned.kind, pruned.count, pruned.first_id, pruned.last_id) == (
        "pruned",
        0,
        sealed.last_id + 1,
        sealed.last_id,
    )


def test_block_records_organization_and_date_of_pruned_entries(log, organization):
    (cut,) = cuts_due(USES)

    prune()

    said = Seal.objects.get(kind="pruned").newest
    assert {key: datetime.fromisoformat(moment) for key, moment in said.items()} == {organization.pk.hex: cut.before}


@pytest.mark.parametrize("which", ["new", "others"])
def test_missing_entry_that_was_not_pruned_is_a_finding(log, which):
    prune()
    entry = log[which][0]
    remove(TokenUse.objects.filter(pk=entry.pk))

    assert [f"Entry {entry.pk} of" in found and "was removed" in found for found in findings()] == [True]


def test_missing_old_entry_that_was_added_after_pruning_is_a_finding(log, organization):
    prune()
    entry = uses(1, organization, at=days_ago(402))[0]
    seal()
    remove(TokenUse.objects.filter(pk=entry.pk))

    assert [f"Entry {entry.pk} of" in found for found in findings()] == [True]


def test_pruned_entry_that_was_restored_is_reported_as_inserted(organization):
    entry = uses(1, organization, at=days_ago(402))[0]
    prune()
    TokenUse.objects.bulk_create([use(organization, id=entry.pk, at=entry.at)])

    assert [f"Entry {entry.pk} of" in found and "was inserted" in found for found in findings()] == [True]


def test_entry_that_was_backdated_and_pruned_is_a_finding(log):
    entry = log["new"][0]
    change(TokenUse, entry.pk, at=days_ago(500))

    prune()

    assert entry.pk not in kept()
    assert [f"Entry {entry.pk} of" in found and "was removed" in found for found in findings()] == [True]


def test_block_without_its_entry_list_is_a_finding_while_it_has_entries(log):
    prune()
    change(Seal, Seal.objects.get(kind="entries").pk, entries=None)

    assert "lost its records without being pruned" in findings()[0]


def test_pruning_during_a_verification_is_not_a_finding(monkeypatch, organization):
    for _ in range(3):
        uses(1, organization, at=days_ago(402))
        seal()
    monkeypatch.setattr("auditlog.seals.verification.BLOCKS_AT_ONCE", 1)
    verification = Verification(USES)
    verification.progress = lambda: verification.blocks == 1 and prune()

    assert list(verification.findings()) == []
    assert (verification.entries, verification.pruned) == (1, 2)


@pytest.mark.django_db(transaction=True)
def test_entry_that_cannot_be_sealed_yet_is_not_removed(monkeypatch, organization):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite commits entries in order.")
    monkeypatch.setattr(sealing, "WAIT_FOR_WRITERS_SECONDS", 0.05)

    with committed_late(partial(uses, 1, organization)):
        old = uses(1, organization, at=days_ago(402))
        removed = prune()

    assert removed == {}
    assert ids(old) <= kept()
    assert not Seal.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_simultaneous_prunings_remove_each_entry_once(organization):
    uses(300, organization, at=days_ago(402))
    begin = threading.Barrier(2)
    failures, removed = [], []

    def prune_too():
        begin.wait()
        try:
            removed.append(prune().get((USES, "acme"), 0))
        except Exception as error:  # noqa: BLE001  (reported to the test)
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=prune_too) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert sum(removed) == 300
    assert kept() == set()
    assert findings() == []


def test_pruning_reports_only_the_entries_that_it_removed(organization, monkeypatch):
    """Another process removes two entries of a batch after the batch was selected."""
    entries = uses(5, organization, at=days_ago(402))
    delete = retention._delete

    def delete_late(model, found):
        remove(TokenUse.objects.filter(pk__in=[entry.pk for entry in entries[:2]]))
        return delete(model, found)

    monkeypatch.setattr(retention, "_delete", delete_late)

    assert prune() == {(USES, "acme"): 3}


# The command


@pytest.fixture
def terminal(monkeypatch):
    """Simulates a terminal where a person types the given answer."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    def answer(text):
        monkeypatch.setattr(sys, "stdin", Terminal(f"{text}\n"))

    return answer


def test_command_removes_old_entries_and_reports_them(log):
    said, complaint, code = run("prune_logs", "--no-input")

    before = timezone.now().date() - timedelta(days=400)
    assert said == f"Removed from the authentication log, organization acme: 3 older than {before}.\n"
    assert (complaint, code) == ("", 0)
    assert len(kept()) == 4


def test_dry_run_changes_nothing(log):
    said, _, _ = run("prune_logs", "--dry-run")

    assert "Would remove from the authentication log, organization acme: 3 older than" in said
    assert len(kept()) == 7
    assert not Seal.objects.filter(kind="pruned").exists()


def test_command_accepts_days_and_organization(log):
    said, _, _ = run("prune_logs", "--days", "300", "--organization", "elsewhere", "--no-input")

    assert "organization elsewhere: 2 older than" in said
    assert kept() == ids(log["old"] + log["new"])


@pytest.mark.parametrize(("answer", "left"), [("y", 4), ("yes", 4), ("", 7), ("n", 7)])
def test_command_asks_for_confirmation_on_a_terminal(log, terminal, answer, left):
    terminal(answer)

    run("prune_logs")

    assert len(kept()) == left


def test_command_does_not_ask_without_a_terminal(log, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())

    assert "Removed" in run("prune_logs")[0]


def test_command_says_that_there_is_nothing_to_remove(organization):
    assert run("prune_logs")[0] == "There are no entries to remove.\n"


@pytest.mark.parametrize("options", [["--days", "0"], ["--days", "x"], ["--organization", "nobody"]], ids=str)
def test_command_refuses_wrong_options(log, options):
    assert run("prune_logs", *options)[2] == 1
    assert len(kept()) == 7


def test_command_removes_nothing_from_a_log_that_cannot_be_verified(log):
    change(Seal, Seal.objects.get().pk, count=3)

    _, complaint, code = run("prune_logs", "--no-input")

    assert "cannot be verified" in complaint
    assert code == 1
    assert len(kept()) == 7
