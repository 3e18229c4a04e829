"""No stored value, whatever it is, stops a job of the worker or the verification for everyone.

SQLite stores anything in any column. PostgreSQL stores dates and numbers that Python does not have.
"""

import threading
from contextlib import nullcontext, suppress
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models import BigAutoField, DateField, DateTimeField, JSONField
from django.utils import timezone

from accounts import log_retention
from accounts.tests.factories import OrganizationFactory
from auditlog import jobs
from auditlog.models import Activity, Seal, TokenUsage, TokenUse
from auditlog.seals.blocks import load_blocks
from auditlog.seals.verification import Verification
from auditlog.tests.entries import ACTIONS, USES, actions, days_ago, findings, seal, sql, uses
from core import periodic_jobs
from core.db import batches

pytestmark = [pytest.mark.django_db, pytest.mark.each_database]

LOGS = {TokenUse: (USES, uses), Activity: (ACTIONS, actions)}
IN_ANY_COLUMN = [
    "''",
    "'garbage'",
    "5",
    "9223372036854775807",
    "X'00FF'",
    "CAST(X'FFFE' AS TEXT)",
    "'2026-99-99 00:00'",
]
# Python reads them as ids, but they are in another order than ids.
IN_IDS = [f"'{{{'1' * 32}}}'", f"'{'AB' * 16}'", f"CAST('{'ab' * 16}' AS BLOB)"]
MOMENTS = ["'infinity'", "'-infinity'", "'0044-03-15 BC'", "'12026-01-01'"]


def values_for(field):
    if connection.vendor == "sqlite":
        return IN_ANY_COLUMN + (IN_IDS if field.column.endswith("_id") else [])
    if isinstance(field, DateField | DateTimeField):
        return MOMENTS
    return ["'5'", "'null'", f"'{'9' * 5_001}'"] if isinstance(field, JSONField) else []


def malformable(*models):
    """The fields, each with its model, that can hold a malformed value."""
    fields = [(model, field) for model in models for field in model._meta.concrete_fields]
    return [(model, field) for model, field in fields if not isinstance(field, BigAutoField) and values_for(field)]


def columns_of(*models):
    found = malformable(*models)
    return pytest.mark.parametrize(
        ("model", "field"), found, ids=[f"{model.__name__}-{field.column}" for model, field in found]
    )


def spoil(model, field, pks):
    """Writes another malformed value into each of the rows, with the constraints of the database switched off."""
    if connection.vendor == "sqlite":
        sql("PRAGMA ignore_check_constraints = 1")
    for pk, value in zip(pks, values_for(field), strict=False):
        sql(f'UPDATE "{model._meta.db_table}" SET "{field.column}" = {value} WHERE id = %s', pk)
    if connection.vendor == "sqlite":
        # The tests after this one use the same connection.
        sql("PRAGMA ignore_check_constraints = 0")


def work(*logs):
    """What the worker repeats."""
    for log in logs:
        jobs.seal(log, threading.Event())
        log_retention.prune(log, threading.Event())


@pytest.fixture(autouse=True)
def own_worker(monkeypatch, settings, tmp_path):
    """Without pauses, and with heads that are kept for one test."""
    monkeypatch.setattr(batches, "SHORTEST_PAUSE_SECONDS", 0)
    settings.DATA_DIR = tmp_path


@pytest.fixture
def others(db):
    """Organizations whose ids are before, among and after the malformed ones."""
    return [OrganizationFactory(pk=letter * 32) for letter in "0cf"]


def minutes_ago():
    """Entries of this time do not wait for others before they are sealed."""
    return timezone.now() - timedelta(minutes=10)


@columns_of(TokenUse, Activity)
def test_malformed_value_in_a_log_stops_no_job(organization, others, model, field):
    log, add = LOGS[model]
    count = len(values_for(field))
    spoiled = [entry.pk for entry in add(count, organization, at=days_ago(402))]
    old = {entry.pk for each in [organization, *others] for entry in add(1, each, at=days_ago(402))}
    seal(log)
    spoil(model, field, spoiled)
    assert {int(finding.split()[1]) for finding in findings(log)} == set(spoiled)
    if not field.unique:
        spoil(model, field, [entry.pk for entry in add(count, organization, at=minutes_ago())])
    [new] = add(1, organization, at=minutes_ago())

    work(log)

    kept = set(model.objects.values_list("pk", flat=True))
    assert new.pk in kept
    assert not old & kept
    assert Seal.objects.filter(log=log, kind="entries").latest("number").last_id == new.pk
    if field.column == "organization_id":
        # They are evidence.
        assert set(spoiled) <= kept
        assert {int(finding.split()[1]) for finding in findings(log)} >= set(spoiled)


@columns_of(TokenUsage)
def test_malformed_value_in_the_counts_stops_no_job(organization, model, field):
    for number in range(len(values_for(field))):
        uses(1, organization, ip=f"192.0.2.{number}", at=days_ago(402))
    seal()
    spoil(model, field, TokenUsage.objects.values_list("pk", flat=True))
    uses(1, organization, ip="192.0.2.0", at=days_ago(402))
    [new] = uses(1, organization, ip="192.0.2.0", at=minutes_ago())

    work(USES)

    assert [entry.pk for entry in TokenUse.objects.all()] == [new.pk]
    assert findings() == []


@columns_of(Seal)
@pytest.mark.parametrize("place", [0, 1], ids=["earlier block", "last block"])
def test_malformed_value_in_the_seals_is_named_and_stops_no_job_if_it_is_not_at_the_end(
    organization, model, field, place
):
    uses(1, organization, at=days_ago(402))
    blocks = [seal(), uses(1, organization, at=minutes_ago()) and seal()]
    uses(1, organization, at=minutes_ago())
    # Nothing is added behind a last block that was changed.
    stops = suppress(periodic_jobs.JobFailed) if place == 1 or field.column == "number" else nullcontext()
    for value in range(len(values_for(field))):
        with transaction.atomic():
            spoil(model, field, [*[0] * value, blocks[place].pk])

            assert findings(expected=[f"2:{blocks[1].mac}"])
            with stops:
                work(USES)
            transaction.set_rollback(True)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL checks the type of each value")
def test_entry_that_is_sealed_during_the_verification_is_not_reported_as_waiting(organization):
    uses(1, organization, at=days_ago(402))
    seal()
    uses(1, organization, at=minutes_ago())
    seal()
    [waiting] = uses(1, organization, at=minutes_ago())
    sql("UPDATE auditlog_tokenuse SET at = '2026-99-99 00:00' WHERE id = %s", waiting.pk)
    verification = Verification(USES)

    def seal_and_prune():
        verification.progress = lambda: None
        work(USES)

    verification.progress = seal_and_prune

    assert [finding for finding in verification.findings() if "waited too long" in finding] == []
    assert verification.pruned == 1


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL checks the type of each value")
def test_records_of_blocks_stay_in_the_database_beside_an_unreadable_block(organization):
    for _ in range(2):
        uses(1, organization)
        seal()
    sql("UPDATE auditlog_seal SET made_at = '2026-99-99 00:00' WHERE number = 1")

    _, second = load_blocks(Seal.objects.defer("entries").order_by("number"))

    assert second.get_deferred_fields() == {"entries"}
