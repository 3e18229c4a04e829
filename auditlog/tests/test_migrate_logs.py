"""The migration that numbers log entries keeps all existing ones."""

import uuid
from datetime import UTC, datetime

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from opsera_portal.tests import databases

pytestmark = pytest.mark.each_database

BEFORE = [("auditlog", "0002_more_actions"), ("accounts", "0001_initial")]
AFTER = [("auditlog", "0005_seals_and_usage"), ("accounts", "0002_organization_log_retention_days")]
AT = datetime(2026, 5, 3, 12, tzinfo=UTC)


def migrate(targets):
    executor = MigrationExecutor(connection)
    executor.migrate(targets)
    return executor.loader.project_state(targets).apps


@pytest.fixture
def without_tables(transactional_db):
    databases.begin_again(connection, migrated=False)
    yield
    databases.begin_again(connection)


@pytest.mark.slow
def test_migration_of_entries_can_be_reversed(without_tables):
    old = migrate(BEFORE)
    organization = old.get_model("accounts", "Organization").objects.create(name="Acme", slug="acme")
    user = old.get_model("accounts", "User").objects.create(
        email="a@acme.example", name="A", organization=organization, site_role="user"
    )
    gone = uuid.uuid4()
    use = old.get_model("auditlog", "TokenUse").objects.create(
        request_id=uuid.uuid4(),
        at=AT,
        token_public_id=gone,
        token_name="nightly",
        scope="api",
        owner=user,
        owner_email=user.email,
        organization=organization,
        account="acme",
        method="GET",
        target="/api/v1/me",
        status=200,
        outcome="allowed",
        reason="ok",
        duration_ms=1,
    )
    actions = [
        old.get_model("auditlog", "Activity").objects.create(
            at=AT.replace(hour=hour),
            actor=user,
            actor_public_id=user.pk,
            actor_email=user.email,
            organization=organization,
            type="user",
            action="user.changed",
            target_id=str(user.pk),
            target_name="A",
            details={"hour": hour},
        )
        for hour in (9, 7, 8)
    ]

    new = migrate(AFTER)

    kept = new.get_model("auditlog", "TokenUse").objects.get()
    assert (kept.pk, kept.token_id, kept.owner_id, kept.request_id) == (use.pk, gone, user.pk, use.request_id)
    numbered = list(new.get_model("auditlog", "Activity").objects.order_by("id"))
    assert [entry.details["hour"] for entry in numbered] == [7, 8, 9]
    assert {entry.public_id for entry in numbered} == {entry.pk for entry in actions}
    assert {entry.actor_id for entry in numbered} == {user.pk}

    back = migrate(BEFORE)

    assert set(back.get_model("auditlog", "Activity").objects.values_list("pk", flat=True)) == {a.pk for a in actions}
    assert back.get_model("auditlog", "TokenUse").objects.get().token_public_id == gone
