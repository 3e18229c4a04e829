"""No stored value, whatever it is, hides the other entries of a log from its readers (`core/db/unreadable.py`)."""

import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory
from auditlog import counting, usage
from auditlog.models import Activity, TokenUse
from auditlog.tests.entries import actions, sql, uses
from auditlog.tests.test_malformed_values import columns_of, spoil, values_for

pytestmark = [pytest.mark.django_db, pytest.mark.each_database]

ADD = {TokenUse: uses, Activity: actions}
# As in `entries.py`.
TOKEN = uuid.UUID(int=1)
PUBLIC_ID = {TokenUse: "request_id", Activity: "public_id"}
PAGES = {
    TokenUse: ["/profile/authentication-log/", "/organization/authentication-log/"],
    Activity: ["/profile/activity-log/", "/organization/activity-log/"],
}
ROUTES = {
    TokenUse: ["/api/v1/me/authentication-log", "/api/v1/logs/user/tokens"],
    Activity: ["/api/v1/me/activity-log", "/api/v1/logs/user/actions"],
}
NOT_LISTED = "The row of this cursor is not in this list."
# Who sees an entry. An entry in which they are unreadable belongs to nobody.
OF_READERS = {"organization_id", "owner_id", "actor_id"}


@pytest.fixture
def auditor(organization):
    return UserFactory(organization=organization, site_role=SiteRole.AUDITOR)


@pytest.fixture
def reader(client, auditor):
    client.force_login(auditor)
    return client


@pytest.fixture(autouse=True)
def counted_in_background(monkeypatch):
    """Filled when a page starts to count. Another thread would not see the entries of the test."""
    started = []
    monkeypatch.setattr(counting, "catch_up", lambda: started.append(True))
    return started


def add(model, count, person, **values):
    """Entries of the person at the same time, in the order of their ids."""
    owner = "owner_id" if model is TokenUse else "actor_id"
    return ADD[model](count, person.organization, at=timezone.now(), **{owner: person.pk}, **values)


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


@columns_of(TokenUse)
def test_charts_show_the_counted_uses(auditor, counted_in_background, model, field):
    add(model, 1, auditor, reason="expired", outcome="refused")
    sum(counting.count_due())
    add_spoiled(model, field, auditor)
    every = [usage.of(auditor), usage.readable_org_entries(auditor), usage.of_token(TOKEN, reader=auditor)]

    for each in every:
        assert sum(day.refused for day in usage.days(each)) >= 1
        assert sum(address.refused for address in usage.addresses(each)) >= 1
        assert sum(token.count for token in usage.after_end(each)) >= 1
    if field.name == "at":
        assert counted_in_background
    sum(counting.count_due())
    counted_in_background.clear()
    assert sum(day.total for day in usage.days(usage.of(auditor))) >= 3
    assert not counted_in_background
