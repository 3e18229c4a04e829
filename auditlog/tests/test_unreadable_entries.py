"""No stored value, whatever it is, hides the other entries of a log from its readers (`core/db/unreadable.py`)."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory
from auditlog.models import Activity, TokenUse
from auditlog.tests.entries import actions, sql, uses
from auditlog.tests.test_malformed_values import columns_of, spoil, values_for

pytestmark = [pytest.mark.django_db, pytest.mark.each_database]

ADD = {TokenUse: uses, Activity: actions}
# Who sees an entry. An entry in which they are unreadable belongs to nobody.
OF_READERS = {"organization_id", "owner_id", "actor_id"}


@pytest.fixture
def auditor(organization):
    return UserFactory(organization=organization, site_role=SiteRole.AUDITOR)


@pytest.fixture
def reader(client, auditor):
    client.force_login(auditor)
    return client


def add(model, count, person):
    """Entries of the person at the same time, in the order of their ids."""
    owner = "owner_id" if model is TokenUse else "actor_id"
    return ADD[model](count, person.organization, at=timezone.now(), **{owner: person.pk})


def add_spoiled(model, field, person):
    """Two readable entries with one for each malformed value of the field between them."""
    entries = add(model, len(values_for(field)) + 2, person)
    spoil(model, field, [entry.pk for entry in entries[1:-1]])
    return entries


@columns_of(TokenUse, Activity)
def test_queryset_returns_each_entry_in_order(auditor, model, field):
    entries = add_spoiled(model, field, auditor)

    read = list(model.objects.order_by("-id")[: len(entries)])

    assert [entry.pk for entry in read] == [entry.pk for entry in reversed(entries)]
    assert (read[0].unreadable, read[-1].unreadable) == ((), ())
    assert {name for entry in read for name in entry.unreadable} <= {field.verbose_name}


@columns_of(TokenUse, Activity)
def test_entry_that_is_read_alone_shows_its_other_values(auditor, model, field):
    entries = add_spoiled(model, field, auditor)
    others = [other.attname for other in model._meta.concrete_fields if other is not field and not other.unique]

    for entry in entries:
        read = model.objects.get(pk=entry.pk)

        assert [getattr(read, name) for name in others] == [getattr(entry, name) for name in others]


def test_unreadable_values_are_replaced_and_named(auditor):
    if connection.vendor == "sqlite":
        model, spoiled = TokenUse, {"at": "'2026-99-99 00:00'", "target": "CAST(X'FFFE' AS TEXT)"}
    else:
        model, spoiled = Activity, {"at": "'infinity'", "details": f"'{'9' * 5_001}'"}
    [entry] = add(model, 1, auditor)
    for column, value in spoiled.items():
        sql(f'UPDATE "{model._meta.db_table}" SET "{column}" = {value} WHERE id = %s', entry.pk)

    read = model.objects.get(pk=entry.pk)

    assert read.unreadable == tuple(spoiled)
    assert [getattr(read, name) for name in spoiled] == [None, "(unreadable)" if model is TokenUse else None]


def test_one_unreadable_entry_among_many_costs_few_queries(auditor):
    entries = add(TokenUse, 200, auditor)
    value = "'2026-99-99 00:00'" if connection.vendor == "sqlite" else "'infinity'"
    sql(f"UPDATE auditlog_tokenuse SET at = {value} WHERE id = %s", entries[77].pk)

    with CaptureQueriesContext(connection) as queries:
        assert len(list(TokenUse.objects.all())) == 200

    # The list, its ids, its halves, and the fields of one entry.
    assert len(queries) < 2 + 2 * 9 + len(TokenUse._meta.concrete_fields)


@pytest.mark.parametrize("model", ADD)
def test_readable_entries_cost_one_query(auditor, django_assert_num_queries, model):
    add(model, 3, auditor)

    with django_assert_num_queries(1):
        list(model.objects.all())
