"""Every change of a sealed log is reported, and an unchanged log is proven."""

import threading
import uuid
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import time_machine
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, connection, connections, transaction
from django.utils import timezone

from auditlog.models import Activity, Seal, TokenUse
from auditlog.seals import sealing
from auditlog.seals.blocks import NO_BLOCK, ChainBroken
from auditlog.seals.entries import columns, read_entries
from auditlog.seals.keys import KeyMissing
from auditlog.seals.macs import EntryMac, block_mac
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
    sql,
    use,
    uses,
)
from core import setting_readers

pytestmark = [pytest.mark.django_db, pytest.mark.each_database]


@pytest.fixture
def chain(organization):
    """Three blocks of three uses each."""
    entries = []
    for _ in range(3):
        entries += uses(3, organization)
        seal()
    return entries


def blocks(log=USES):
    return list(Seal.objects.filter(log=log).order_by("number"))


# Unchanged logs


@pytest.mark.parametrize("log", Seal.Log)
def test_empty_log_has_no_finding(log):
    assert sealing.seal_next(log, at_once=True) is None
    assert findings(log) == []


def test_an_untouched_log_is_proven(chain):
    verification = Verification(USES)

    assert list(verification.findings()) == []
    assert (verification.entries, verification.blocks, verification.waiting) == (9, 3, 0)
    assert verification.head == f"3:{blocks()[-1].mac}"


def test_each_log_has_its_own_chain(organization):
    uses(2, organization)
    actions(3, organization)

    assert (seal(USES).count, seal(ACTIONS).count) == (2, 3)
    assert (findings(USES), findings(ACTIONS)) == ([], [])


def test_entries_with_empty_fields_are_proven():
    uses(1, None, ip=None, owner_id=None, user_agent="")
    actions(1, None, ip=None, token_id=None, request_id=None, details={})
    seal(USES)
    seal(ACTIONS)

    assert (findings(USES), findings(ACTIONS)) == ([], [])


def test_blocks_follow_each_other_without_a_gap(organization):
    first = uses(2, organization)
    seal()
    # Skips ids, as after a transaction that was rolled back.
    TokenUse.objects.bulk_create([use(organization, id=first[-1].pk + 5)])
    seal()

    one, two = blocks()
    assert (one.number, one.first_id, one.last_id, one.previous) == (1, 1, first[-1].pk, NO_BLOCK)
    assert (two.number, two.first_id, two.last_id, two.previous) == (2, one.last_id + 1, one.last_id + 5, one.mac)
    assert findings() == []


def test_sealed_entries_are_not_sealed_again(chain):
    assert sealing.seal_next(USES, at_once=True) is None
    assert len(blocks()) == 3


def test_a_long_log_is_sealed_in_several_blocks(monkeypatch, organization):
    monkeypatch.setattr(sealing, "MAX_ENTRIES", 4)
    uses(10, organization)
    made = []
    while block := sealing.seal_next(USES, at_once=True):
        made.append(block.count)

    assert made == [4, 4, 2]
    assert findings() == []


# When a block is created


def test_few_new_entries_are_not_sealed_at_once(organization):
    uses(3, organization)

    assert sealing.seal_next(USES) is None
    verification = Verification(USES)
    assert list(verification.findings()) == []
    assert (verification.entries, verification.waiting) == (0, 3)


def test_new_entries_are_sealed_after_five_minutes(organization):
    uses(1, organization)
    uses(1, organization)

    with time_machine.travel(timezone.now() + timedelta(minutes=5, seconds=1)):
        assert sealing.seal_next(USES).count == 2


def test_many_new_entries_are_sealed_at_once(monkeypatch, organization):
    monkeypatch.setattr(sealing, "MAX_ENTRIES", 3)
    uses(4, organization)

    assert sealing.seal_next(USES).count == 3
    assert sealing.seal_next(USES) is None


@pytest.mark.parametrize("days", [-3650, 3650])
def test_entry_with_a_wrong_date_does_not_delay_the_others(organization, days):
    uses(1, organization, at=days_ago(-days))
    uses(2, organization)

    assert sealing.seal_next(USES).count == 3


def test_entries_that_wait_too_long_for_a_seal_are_reported(chain, organization):
    entry = uses(1, organization)[0]
    uses(1, organization)

    with time_machine.travel(timezone.now() + timedelta(minutes=59)):
        assert findings() == []
    with time_machine.travel(timezone.now() + timedelta(minutes=61)):
        [found] = findings()
    assert f"Entry {entry.pk} of" in found
    assert "has waited too long to be sealed" in found


# The entries


OTHER = {
    # Higher than every existing id.
    "id": 2**40,
    "at": datetime(2020, 1, 1, tzinfo=UTC),
    "organization_id": None,
    "ip": "198.51.100.7",
    "request_id": uuid.UUID(int=9),
    "public_id": uuid.UUID(int=9),
    "token_id": uuid.UUID(int=9),
    "owner_id": None,
    "service_id": uuid.UUID(int=9),
    "reported_at": datetime(2020, 1, 1, tzinfo=UTC),
    "actor_id": uuid.UUID(int=9),
    "status": 403,
    "duration_ms": 4,
    "details": {"scopes": ["api"], "b": 1},
}


@pytest.mark.parametrize("column", columns(TokenUse))
def test_change_of_any_column_of_a_use_is_reported(chain, column):
    entry = chain[4]
    change(TokenUse, entry.pk, **{column: OTHER.get(column, "other")})

    (found,) = findings()
    assert f"Entry {entry.pk} of" in found
    # With another id, it counts as another entry.
    assert ("was removed" if column == "id" else "was changed") in found


@pytest.mark.parametrize("column", columns(Activity))
def test_change_of_any_column_of_an_action_is_reported(organization, column):
    entry = actions(3, organization)[1]
    seal(ACTIONS)
    change(Activity, entry.pk, **{column: OTHER.get(column, "other")})

    (found,) = findings(ACTIONS)
    assert f"Entry {entry.pk} of" in found
    assert ("was removed" if column == "id" else "was changed") in found


@pytest.mark.parametrize("model", [TokenUse, Activity])
def test_a_seal_covers_every_column(model):
    assert set(columns(model)) == {field.column for field in model._meta.concrete_fields}


def test_value_moved_to_the_next_column_is_reported(organization):
    entry = uses(1, organization, token_name="ab", scope="c")[0]
    seal()
    change(TokenUse, entry.pk, token_name="a", scope="bc")

    assert "was changed" in findings()[0]


@pytest.mark.parametrize("column", ["at", "owner_id", "status", "request_id"])
def test_change_to_an_impossible_value_is_reported(chain, column):
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL takes no such value.")
    sql(f'UPDATE auditlog_tokenuse SET "{column}" = %s WHERE id = %s', "rubbish", chain[4].pk)

    (found,) = findings()
    assert f"Entry {chain[4].pk} of" in found
    assert "was changed" in found


def test_changed_time_zone_is_reported(chain):
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL keeps no time zone.")
    sql("UPDATE auditlog_tokenuse SET at = at || '+05:00' WHERE id = %s", chain[4].pk)

    assert ["was changed" in found for found in findings()] == [True]


# Unreadable values as SQL, by column. On PostgreSQL, most columns refuse such values.

RUBBISH = {
    "sqlite": [
        (TokenUse, "at", "'2026-99-99 00:00:00'"),
        (TokenUse, "at", "X'FF'"),
        (TokenUse, "at", "'rubbish'"),
        (TokenUse, "at", "5"),
        (TokenUse, "target", "CAST(X'FFFE41' AS TEXT)"),
        (TokenUse, "token_id", "X'00'"),
        (TokenUse, "organization_id", "'rubbish'"),
        (Activity, "details", "'{'"),
        (Activity, "details", "X'FF'"),
        (Activity, "details", "5"),
        (Activity, "details", f"'{'[' * 100_000}'"),
        (Activity, "details", f"'{'[' * 900}{']' * 900}'"),
        (Activity, "details", f"'{'9' * 5_001}'"),
    ],
    "postgresql": [
        (TokenUse, "at", "'infinity'"),
        (TokenUse, "at", "'-infinity'"),
        (TokenUse, "at", "'0044-03-15 00:00:00 BC'"),
        (Activity, "at", "'12026-01-01 00:00:00'"),
        (Activity, "details", f"'{'9' * 5_001}'"),
        (Activity, "details", f"'{'[' * 900}{']' * 900}'"),
    ],
}[connection.vendor]

rubbish = pytest.mark.parametrize(("model", "column", "value"), RUBBISH, ids=lambda value: str(value)[:40])


def spoil(model, column, value, **where):
    """Changes a row with the constraints of the database switched off."""
    ((name, one),) = where.items()
    is_sqlite = connection.vendor == "sqlite"
    if is_sqlite:
        sql("PRAGMA ignore_check_constraints = 1")
    sql(f'UPDATE "{model._meta.db_table}" SET "{column}" = {value} WHERE {name} = %s', one)
    if is_sqlite:
        sql("PRAGMA ignore_check_constraints = 0")


def three(model, organization):
    return (uses if model is TokenUse else actions)(3, organization), USES if model is TokenUse else ACTIONS


@rubbish
def test_unreadable_value_is_reported_as_a_change(organization, model, column, value):
    entries, log = three(model, organization)
    seal(log)
    spoil(model, column, value, id=entries[1].pk)

    verification = Verification(log)
    [found] = verification.findings()
    assert f"Entry {entries[1].pk} of" in found
    assert found.endswith("was changed.")
    assert verification.entries == 2


@rubbish
def test_unreadable_entry_does_not_delay_sealing(organization, model, column, value):
    """The seal covers the value as the database stores it."""
    entries, log = three(model, organization)
    spoil(model, column, value, id=entries[1].pk)

    assert seal(log).count == 3
    verification = Verification(log)
    found = list(verification.findings())
    assert verification.entries == 3
    assert all(f"Entry {entries[1].pk} of" in one and "cannot be read" in one for one in found)
    with transaction.atomic():
        change(model, entries[1].pk, token_name="other")
        assert any(one.endswith("was changed.") for one in findings(log))
        transaction.set_rollback(True)
    remove(model.objects.filter(pk=entries[1].pk))
    assert [f"Entry {entries[1].pk} of" in one and "was removed" in one for one in findings(log)] == [True]


def test_changed_entry_is_reported_with_its_current_values(chain):
    change(TokenUse, chain[0].pk, target="/api/v1/pipelines", owner_email="someone@acme.example")

    assert findings() == [
        f"Entry {chain[0].pk} of {chain[0].at:%Y-%m-%d %H:%M:%S.%f} UTC "
        f"({chain[0].request_id}, someone@acme.example, GET /api/v1/pipelines) was changed."
    ]


def test_control_characters_of_a_forged_entry_are_replaced(chain):
    change(TokenUse, chain[0].pk, target="\nAll is well\x1b[2K")

    assert "GET \N{REPLACEMENT CHARACTER}All is well\N{REPLACEMENT CHARACTER}[2K) was changed." in findings()[0]


@pytest.mark.parametrize("place", [0, 1, 2, 3, 4, 8])
def test_removed_entry_is_reported(chain, organization, place):
    entry = chain[place]
    remove(TokenUse.objects.filter(pk=entry.pk))

    assert findings() == [
        f"Entry {entry.pk} of {entry.at:%Y-%m-%d %H:%M:%S.%f} UTC, organization {organization.pk}, was removed."
    ]


def test_removal_of_all_entries_is_reported(chain):
    remove(TokenUse.objects.all())

    assert len(findings()) == 9


def test_entry_inserted_between_sealed_ones_is_reported(organization):
    first = uses(1, organization)[0]
    TokenUse.objects.bulk_create([use(organization, id=first.pk + 5)])
    seal()
    TokenUse.objects.bulk_create([use(organization, id=first.pk + 2)])

    assert [f"Entry {first.pk + 2} of" in found and "was inserted" in found for found in findings()] == [True]


def test_entry_below_the_first_block_is_reported(chain):
    TokenUse.objects.bulk_create([use(id=-3)])

    assert ["Entry -3 of" in found and "is below the first block" in found for found in findings()] == [True]


def test_swapped_entries_are_both_reported(chain):
    one, two = chain[1].pk, chain[7].pk
    for old, new in ((one, 9999), (two, one), (9999, two)):
        change(TokenUse, old, id=new)

    # The number of entries is unchanged, so only the two swapped rows are reported.
    assert [f"Entry {pk} of" in found for found, pk in zip(findings(), (two, one), strict=True)] == [True, True]


# The chain


def test_changed_block_is_reported(chain):
    for column, value in (
        ("first_id", 0),
        ("last_id", 99),
        ("count", 2),
        ("made_at", days_ago(1)),
        ("newest", {}),
        ("kind", "pruned"),
        ("entries_digest", "0" * 64),
        ("mac", "0" * 64),
        ("previous", "1" * 64),
    ):
        with transaction.atomic():
            change(Seal, blocks()[1].pk, **{column: value})
            found = findings()
            transaction.set_rollback(True)
        assert any(sentence.startswith("Block 2 was changed or forged") for sentence in found), column


BLOCK_RUBBISH = {
    "sqlite": [
        ("entries", "'text'"),
        ("mac", "X'00'"),
        ("made_at", "'2026-99-99 00:00:00'"),
        ("made_at", "'rubbish'"),
        ("first_id", "'x'"),
        ("last_id", "'x'"),
        ("count", "'x'"),
        ("newest", "'{'"),
        ("newest", "'[]'"),
        ("previous", "X'00'"),
        ("entries_digest", "CAST(X'FF' AS TEXT)"),
        ("number", "2.5"),
    ],
    "postgresql": [("made_at", "'infinity'"), ("made_at", "'0044-03-15 00:00:00 BC'"), ("newest", "'[]'")],
}[connection.vendor]


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize(("column", "value"), BLOCK_RUBBISH)
def test_unreadable_block_is_reported(chain, column, value, number):
    spoil(Seal, column, value, number=number)

    found = findings()
    named = 2 if column == "number" else number
    assert any(one.startswith(f"Block {named} was changed or forged") for one in found)
    # Sealing the next block does not need the record list of the last one.
    if number == 3 and column != "entries":
        with pytest.raises(ChainBroken):
            sealing.seal_next(USES, at_once=True)


def test_block_without_a_number_is_reported(chain):
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL takes no such value.")
    spoil(Seal, "number", "'x'", number=3)

    assert "A block has no number." in findings()


def test_removed_block_is_reported(chain):
    remove(Seal.objects.filter(number=2))

    assert findings() == [f"Block 2 is missing: nothing proves entries {chain[3].pk} to {chain[5].pk}."]


def test_removed_first_blocks_are_reported(chain):
    remove(Seal.objects.filter(number__lt=3))

    assert findings() == [f"Blocks 1 to 2 are missing: nothing proves entries 1 to {chain[5].pk}."]


def test_reordered_blocks_are_reported(chain):
    first, second = blocks()[:2]
    for pk, number in ((first.pk, 9), (second.pk, 1), (first.pk, 2)):
        change(Seal, pk, number=number)

    assert len([found for found in findings() if "was changed or forged" in found]) == 2


def test_a_block_of_the_other_log_proves_nothing(organization):
    uses(2, organization)
    actions(2, organization)
    seal(USES)
    theirs = seal(ACTIONS)
    remove(Seal.objects.filter(log=USES))
    change(Seal, theirs.pk, log=USES)

    assert "Block 1 was changed or forged" in findings(USES)[0]


def test_replaced_list_of_records_is_reported(chain):
    one, two, _ = blocks()
    change(Seal, two.pk, entries=bytes(one.entries))

    assert "Block 2 has other records than were sealed" in findings()[0]


def test_list_of_records_emptied_without_pruning_is_reported(chain):
    change(Seal, blocks()[1].pk, entries=None)

    assert "Block 2 lost its records without being pruned" in findings()[0]


def test_chain_sealed_with_another_key_is_reported_as_forged(chain, settings):
    """Someone with write access but without the key rebuilds the whole chain after a change."""
    remove(TokenUse.objects.filter(pk=chain[0].pk))
    remove(Seal.objects.all())
    settings.LOG_SEAL_KEY = "a guess that is long enough to be one"
    seal()
    settings.LOG_SEAL_KEY = ""

    assert "Block 1 was changed or forged" in findings()[0]


def test_forged_pruning_mark_does_not_hide_missing_entries(chain, settings, organization):
    settings.LOG_SEAL_KEY = "a guess that is long enough to be one"
    remove(Seal.objects.filter(number=3))
    last = blocks()[-1]
    change(Seal, last.pk, mac=block_mac(last))
    sealing.seal_pruning(USES, {str(organization.pk): timezone.now()})
    settings.LOG_SEAL_KEY = ""
    change(Seal, last.pk, mac=last.mac)
    remove(TokenUse.objects.filter(pk=chain[0].pk))

    found = findings()
    assert any("Block 3 was changed or forged" in sentence for sentence in found)
    assert any(f"Entry {chain[0].pk} of" in sentence and "removed" in sentence for sentence in found)


def test_no_block_is_added_after_a_forged_block(chain, organization):
    change(Seal, blocks()[-1].pk, last_id=10**12)
    uses(1, organization)

    with pytest.raises(ChainBroken, match="block 3"):
        sealing.seal_next(USES, at_once=True)


def test_removed_end_is_detected_by_its_earlier_head(chain):
    head = f"3:{blocks()[-1].mac}"
    assert findings(expected=[head]) == []
    remove(Seal.objects.filter(number=3))
    remove(TokenUse.objects.filter(pk__gte=chain[6].pk))

    assert findings() == []
    assert findings(expected=[head]) == ["Block 3 is not the one it was: the end of the chain was cut off or replaced."]


def test_resealed_end_is_detected_by_the_earlier_head(chain):
    head = f"3:{blocks()[-1].mac}"
    remove(Seal.objects.filter(number=3))
    change(TokenUse, chain[8].pk, target="/api/v1/else")
    seal()

    assert findings() == []
    assert len(findings(expected=[head])) == 1


def test_earlier_head_of_a_longer_chain_is_accepted(chain, organization):
    head = f"3:{blocks()[-1].mac}"
    uses(1, organization)
    seal()

    assert findings(expected=[head]) == []


def test_a_seal_does_not_depend_on_the_database(settings):
    """So a log that is moved from SQLite to PostgreSQL keeps its seals."""
    at = datetime(2026, 5, 3, 12, 0, 0, 123456, tzinfo=UTC)
    ids = {name: uuid.UUID(int=number) for number, name in enumerate(("token_id", "owner_id", "request_id"), start=1)}
    uses(1, None, at=at, organization_id=uuid.UUID(int=4), ip="2001:db8::1", **ids)
    actions(1, None, at=at, public_id=uuid.UUID(int=5), request_id=None, details={"b": [1.5, "ä"], "a": None})
    settings.LOG_SEAL_KEY = "one and the same on every database"

    macs = [EntryMac(log)((1, *row[1:])).hex()[:12] for log in Seal.Log for row in read_entries(log, 1, 2**62)]

    assert macs == ["9b86d85e7538", "c5fd9e6dadaf"]


# The key


def test_key_is_created_once_and_is_private(chain, settings):
    path = settings.DATA_DIR / "log-seal-key"

    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_text()) >= 32


def test_key_can_come_from_the_settings(chain, settings):
    settings.LOG_SEAL_KEY = (settings.DATA_DIR / "log-seal-key").read_text().strip()
    settings.DATA_DIR = None

    assert findings() == []


def test_short_key_is_an_error_that_does_not_show_it():
    with pytest.raises(ImproperlyConfigured) as raised:
        setting_readers.long_secret("LOG_SEAL_KEY", "too short")
    assert str(raised.value) == "LOG_SEAL_KEY must have at least 32 characters."


def test_empty_key_file_is_refused(settings, tmp_path):
    settings.DATA_DIR = tmp_path
    (tmp_path / "log-seal-key").write_text("")
    uses(1)

    with pytest.raises(ImproperlyConfigured, match="has no key"):
        sealing.seal_next(USES, at_once=True)


def test_no_new_key_is_created_for_an_existing_chain(chain, settings, tmp_path):
    settings.DATA_DIR = tmp_path

    with pytest.raises(KeyMissing):
        findings()
    assert list(tmp_path.iterdir()) == []


# Simultaneous sealers and writers


@pytest.mark.django_db(transaction=True)
def test_two_sealers_at_the_same_time_write_one_chain(monkeypatch, organization):
    monkeypatch.setattr(sealing, "MAX_ENTRIES", 5)
    uses(60, organization)
    begin = threading.Barrier(2)
    made = []

    def seal_all():
        begin.wait()
        try:
            while block := sealing.seal_next(USES, at_once=True):
                made.append(block.number)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=seal_all) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(made) == list(range(1, 13))
    assert findings() == []


def test_integrity_error_without_a_race_is_raised(chain, organization, monkeypatch):
    def fail(block, **options):
        raise IntegrityError("something else")

    monkeypatch.setattr(Seal, "save", fail)
    uses(1, organization)

    with pytest.raises(IntegrityError, match="something else"):
        sealing.seal_next(USES, at_once=True)


@pytest.mark.django_db(transaction=True)
def test_entries_that_arrive_during_sealing_are_all_sealed(monkeypatch, organization):
    monkeypatch.setattr(sealing, "MAX_ENTRIES", 7)
    done = threading.Event()

    def arrive():
        try:
            for _ in range(20):
                uses(3, organization)
        finally:
            connections.close_all()
            done.set()

    arriving = threading.Thread(target=arrive)
    arriving.start()
    while not done.is_set():
        sealing.seal_next(USES, at_once=True)
    arriving.join()
    while sealing.seal_next(USES, at_once=True):
        pass

    verification = Verification(USES)
    assert list(verification.findings()) == []
    assert (verification.entries, verification.waiting) == (60, 0)


@pytest.mark.django_db(transaction=True)
def test_transaction_that_can_still_add_an_entry_delays_the_seal(monkeypatch, organization):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite commits entries in order.")
    monkeypatch.setattr(sealing, "WAIT_FOR_WRITERS_SECONDS", 0.05)

    with committed_late(partial(uses, 1, organization, target="/slow")):
        uses(1, organization, target="/fast")
        held_back = sealing.seal_next(USES, at_once=True)
    block = sealing.seal_next(USES, at_once=True)

    assert held_back is None
    assert block.count == 2
    assert list(TokenUse.objects.order_by("id").values_list("target", flat=True)) == ["/slow", "/fast"]
    assert findings() == []


@pytest.mark.django_db(transaction=True)
def test_transaction_that_began_later_does_not_delay_the_seal(organization):
    """Under load, there is always a writer. Sealing waits only for those that began before it read
    the end of the log."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite commits entries in order.")
    uses(3, organization)
    stop = threading.Event()

    def write():
        try:
            while not stop.is_set():
                with transaction.atomic():
                    uses(1, organization)
        finally:
            connections.close_all()

    writers = [threading.Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()
    try:
        assert sealing.seal_next(USES, at_once=True) is not None
    finally:
        stop.set()
        for writer in writers:
            writer.join()


# The command


def test_command_prints_what_is_proven_and_the_heads(chain, organization):
    uses(2, organization)

    said, complaint, code = run("verify_logs")

    assert (complaint, code) == ("", 0)
    assert "Authentication log: 9 entries in 3 blocks are proven, 2 wait to be sealed" in said
    assert f"Authentication log: the head is 3:{blocks()[-1].mac}" in said
    assert "Activity log: 0 entries in 0 blocks" in said


def test_quiet_command_prints_nothing_if_both_logs_are_intact(chain):
    assert run("verify_logs", "--quiet") == ("", "", 0)


def test_command_prints_its_findings_and_fails(chain):
    remove(TokenUse.objects.filter(pk=chain[0].pk))

    said, complaint, code = run("verify_logs", "--quiet")

    assert f"Authentication log: Entry {chain[0].pk} of" in said
    assert (complaint, code) == ("The logs are not as they were when they were sealed.", 1)


def test_command_can_verify_only_one_log(chain):
    remove(TokenUse.objects.filter(pk=chain[0].pk))

    assert run("verify_logs", "--log", "activity")[2] == 0
    assert run("verify_logs", "--log", "authentication")[2] == 1


def test_command_accepts_a_head_that_it_printed(chain):
    head = f"3:{blocks()[-1].mac}"
    assert run("verify_logs", "--log", "authentication", "--expect", head)[2] == 0
    remove(Seal.objects.filter(number=3))

    said, _, code = run("verify_logs", "--log", "authentication", "--expect", head)

    assert code == 1
    assert "cut off" in said


@pytest.mark.parametrize("options", [["--expect", "3"], ["--expect", "x:y"], ["--expect", f"1:{'0' * 64}"]], ids=str)
def test_command_refuses_a_malformed_head_or_one_without_a_log(options):
    assert run("verify_logs", *options)[2] == 1


def test_the_command_says_that_the_key_is_missing(chain, settings, tmp_path):
    settings.DATA_DIR = tmp_path

    said, complaint, code = run("verify_logs")

    assert "their key is missing" in complaint
    assert (said, code) == ("", 1)
