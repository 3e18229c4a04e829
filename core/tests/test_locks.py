"""A locked row is read as it is now, and stays so until the transaction ends."""

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.models import Organization, User
from core.db.locks import lock, lock_if_exists

pytestmark = pytest.mark.django_db


def test_locked_row_is_as_it_is_in_the_database(organization):
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
def test_lock_leaves_foreign_keys_and_joined_tables_alone(owner, locks):
    with (
        transaction.atomic(),
        CaptureQueriesContext(
            connection,
        ) as queries,
    ):
        locks(User.objects.select_related("organization"), owner.pk)

    assert 'FOR NO KEY UPDATE OF "accounts_user"' in queries[0]["sql"]
