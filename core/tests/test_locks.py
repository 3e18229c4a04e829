"""Locking a row reads its current values. Nobody else can change it until the transaction ends."""

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.models import Organization, User
from core.db.locks import lock, lock_all, lock_first, lock_if_exists

pytestmark = pytest.mark.django_db


def test_lock_reads_the_current_values_of_the_row(organization):
    Organization.objects.filter(pk=organization.pk).update(name="Renamed")

    with transaction.atomic():
        assert lock(Organization.objects.all(), organization.pk).name == "Renamed"
        assert lock_if_exists(Organization.objects.all(), organization.pk).name == "Renamed"


def test_missing_row_is_reported(owner):
    nobody = User.objects.none()

    with transaction.atomic():
        assert lock_if_exists(nobody, owner.pk) is None
        with pytest.raises(User.DoesNotExist):
            lock(nobody, owner.pk)


@pytest.mark.each_database
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no row locks")
@pytest.mark.parametrize("locks", [lock, lock_if_exists])
def test_lock_does_not_block_foreign_keys_or_joined_tables(owner, locks):
    with (
        transaction.atomic(),
        CaptureQueriesContext(
            connection,
        ) as queries,
    ):
        locks(User.objects.select_related("organization"), owner.pk)

    assert 'FOR NO KEY UPDATE OF "accounts_user"' in queries[0]["sql"]


@pytest.mark.each_database
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no row locks")
@pytest.mark.parametrize("locks", [lock_first, lock_all])
def test_lock_that_blocks_references_uses_for_update(owner, locks):
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        locks(User.objects.filter(pk=owner.pk))
        locks(User.objects.filter(pk=owner.pk), blocks_references=True)

    without, blocking = (query["sql"] for query in queries)
    assert 'FOR NO KEY UPDATE OF "accounts_user"' in without
    assert 'FOR UPDATE OF "accounts_user"' in blocking


def test_all_rows_are_locked_in_the_order_of_their_keys(owner, member):
    with transaction.atomic():
        assert lock_all(User.objects.order_by("-pk")) == sorted([owner, member], key=lambda person: person.pk)
        assert lock_first(User.objects.none()) is None
