"""No stored value, whatever it is, hides the other entries of a log from its readers (`core/db/unreadable.py`)."""

import csv
import io
import json
import uuid

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory
from auditlog import counting, exports, usage
from auditlog.actions import Action
from auditlog.models import Activity, TokenUse
from auditlog.tests.entries import actions, sql, uses
from auditlog.tests.test_malformed_values import columns_of, malformable, spoil, values_for
from core.db import keyset
from core.db.unreadable import mark_unreadable
from core.tests.test_keyset import cursor_of

pytestmark = pytest.mark.django_db

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


def add_spoiled_everywhere(model, person, *, kept=frozenset()):
    """Two readable entries with others between them: one for each field, which is malformed in this field only, and one
    for each malformed value, which is in all fields that are not unique. The fields in ``kept`` stay readable.
    """
    fields = [field for _, field in malformable(model) if not {field.column, field.name} & kept]
    most = max(len(values_for(field)) for field in fields)
    first, *others, last = add(model, len(fields) + most + 2, person)
    alone, together = others[:-most], others[-most:]
    for number, (field, entry) in enumerate(zip(fields, alone, strict=True)):
        spoil(model, field, [*[0] * (number % len(values_for(field))), entry.pk])
        if not field.unique:
            spoil(model, field, [entry.pk for entry in together])
    return [first, *others, last]


@columns_of(TokenUse, Activity)
@pytest.mark.each_database
def test_queryset_returns_each_entry_in_order(auditor, model, field):
    entries = add_spoiled(model, field, auditor)

    read = list(model.objects.order_by("-id")[: len(entries)])

    assert [entry.pk for entry in read] == [entry.pk for entry in reversed(entries)]
    assert (read[0].unreadable, read[-1].unreadable) == ((), ())
    assert {name for entry in read for name in entry.unreadable} <= {field.verbose_name}


@columns_of(TokenUse, Activity)
@pytest.mark.each_database
def test_entry_that_is_read_alone_shows_its_other_values(auditor, model, field):
    entries = add_spoiled(model, field, auditor)
    others = [other.attname for other in model._meta.concrete_fields if other is not field and not other.unique]

    for entry in entries:
        read = model.objects.get(pk=entry.pk)

        assert [getattr(read, name) for name in others] == [getattr(entry, name) for name in others]


@pytest.mark.each_database
def test_unreadable_values_are_replaced_and_named(auditor):
    if connection.vendor == "sqlite":
        model, spoiled = TokenUse, {"at": "'2026-99-99 00:00'", "target": "CAST(X'FFFE' AS TEXT)"}
    else:
        model, spoiled = Activity, {"at": "'infinity'", "details": f"'{'9' * 5_001}'"}
    [entry] = add(model, 1, auditor)
    for column, value in spoiled.items():
        sql(f'UPDATE "{model._meta.db_table}" SET "{column}" = {value} WHERE id = %s', entry.pk)

    read = model.objects.get(pk=entry.pk)

    assert read.unreadable == mark_unreadable(read).unreadable == ("time", list(spoiled)[1])
    assert [getattr(read, name) for name in spoiled] == [None, "(unreadable)" if model is TokenUse else None]


@pytest.mark.each_database
def test_one_unreadable_entry_among_many_costs_few_queries(auditor):
    entries = add(TokenUse, 200, auditor)
    value = "'2026-99-99 00:00'" if connection.vendor == "sqlite" else "'infinity'"
    sql(f"UPDATE auditlog_tokenuse SET at = {value} WHERE id = %s", entries[77].pk)

    with CaptureQueriesContext(connection) as queries:
        assert len(list(TokenUse.objects.all())) == 200

    # The list, its ids, its halves, and the fields of one entry.
    assert len(queries) < 2 + 2 * 9 + len(TokenUse._meta.concrete_fields)


@pytest.mark.parametrize("model", ADD)
@pytest.mark.each_database
def test_readable_entries_cost_one_query(auditor, django_assert_num_queries, model):
    add(model, 3, auditor)

    with django_assert_num_queries(1):
        list(model.objects.all())


def shown(answer, status=200):
    assert answer.status_code == status, answer.content[:500]
    return answer.content.decode()


@pytest.mark.parametrize("model", ADD)
@pytest.mark.each_database
def test_lists_show_the_readable_entries(reader, auditor, model):
    entries = add_spoiled_everywhere(model, auditor)
    public_id = PUBLIC_ID[model]
    readable = {str(getattr(entry, public_id)) for entry in (entries[0], entries[-1])}

    for route in ROUTES[model]:
        assert {row["id"] for row in reader.get(route, {"date": "2020-01-01"}).json()["data"]} >= readable
        assert {row["id"] for row in reader.get(route, {"after": "start"}).json()["data"]} >= readable
    for page in PAGES[model]:
        assert all(f'="{public}"' in shown(reader.get(page)) for public in readable)


@pytest.mark.parametrize("model", ADD)
@pytest.mark.each_database
def test_each_entry_with_a_readable_id_has_a_page(reader, auditor, model):
    for entry in add_spoiled_everywhere(model, auditor, kept=OF_READERS | {PUBLIC_ID[model]}):
        public_id = getattr(entry, PUBLIC_ID[model])
        for page in PAGES[model]:
            assert 'id="entry"' in shown(reader.get(f"{page}{public_id}/"))
        for route in ROUTES[model]:
            assert reader.get(f"{route}/{public_id}").json()["id"] == str(public_id)


@pytest.mark.each_database
def test_page_of_a_use_lists_unreadable_actions_of_the_same_request(reader, auditor):
    [use] = add(TokenUse, 1, auditor)
    for entry in add_spoiled_everywhere(Activity, auditor, kept={"request_id"}):
        sql(
            "UPDATE auditlog_activity SET request_id = (SELECT request_id FROM auditlog_tokenuse WHERE id = %s) "
            "WHERE id = %s",
            use.pk,
            entry.pk,
        )

    for page in PAGES[TokenUse]:
        shown(reader.get(f"{page}{use.request_id}/"))


@pytest.mark.parametrize("model", ADD)
@pytest.mark.each_database
def test_administration_shows_unreadable_entries(client, model):
    operator = UserFactory(organization=None, is_superuser=True)
    client.force_login(operator)
    entries = add_spoiled_everywhere(model, operator)
    address = f"/admin/auditlog/{model._meta.model_name}/"

    shown(client.get(address))
    for entry in entries:
        shown(client.get(f"{address}{entry.pk}/change/"))


@pytest.mark.parametrize("model", ADD)
@pytest.mark.each_database
def test_unreadable_time_is_named_on_the_pages_and_null_in_the_api(reader, auditor, model):
    [entry] = add(model, 1, auditor)
    value = "'2026-99-99 00:00'" if connection.vendor == "sqlite" else "'infinity'"
    sql(f'UPDATE "{model._meta.db_table}" SET at = {value} WHERE id = %s', entry.pk)
    public_id = getattr(entry, PUBLIC_ID[model])

    for page in PAGES[model]:
        assert f'{public_id}/">Unreadable</a><br><span class="hint">Can’t be read: time</span>' in shown(
            reader.get(page)
        )
        assert "Can’t be read: time." in shown(reader.get(f"{page}{public_id}/"))
    for route in ROUTES[model]:
        row = reader.get(f"{route}/{public_id}").json()
        assert (row["createdAt"], row["account"]) == (None, entry.account)


@pytest.mark.parametrize("model", ADD)
def test_strangers_see_no_unreadable_entry(client, stranger, auditor, model):
    [entry] = add(model, 1, auditor)
    value = "'2026-99-99 00:00'" if connection.vendor == "sqlite" else "'infinity'"
    sql(f'UPDATE "{model._meta.db_table}" SET at = {value} WHERE id = %s', entry.pk)
    public_id = getattr(entry, PUBLIC_ID[model])
    client.force_login(stranger)

    assert client.get(f"{PAGES[model][0]}{public_id}/").status_code == 404
    assert str(public_id) not in shown(client.get(PAGES[model][0]))
    assert client.get(f"{ROUTES[model][0]}/{public_id}").status_code == 403


@columns_of(TokenUse)
@pytest.mark.each_database
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


def walked(reader, address):
    """The ids on all pages, by following ``next``."""
    found = []
    while address:
        answer = reader.get(address).json()
        found += [row["id"] for row in answer["data"]]
        address = answer["next"] and answer["next"].removeprefix(settings.PORTAL_URL)
    return found


@pytest.mark.parametrize("size", [1, pytest.param(2, marks=pytest.mark.each_database), 3])
@pytest.mark.parametrize("search", ["", "&ip=192.0.2.1"], ids=["list", "search"])
@pytest.mark.parametrize("model", ADD)
def test_pages_continue_after_an_unreadable_time(reader, auditor, monkeypatch, model, search, size):
    monkeypatch.setattr(keyset, "MAX_SEARCHED", 2)
    entries = add_spoiled(model, model._meta.get_field("at"), auditor)

    found = walked(reader, f"{ROUTES[model][0]}?page_size={size}{search}")

    assert len(found) == len(set(found))
    assert {str(getattr(entry, PUBLIC_ID[model])) for entry in entries} <= set(found)


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("model", ADD)
@pytest.mark.each_database
def test_pages_lead_back_over_an_unreadable_time(auditor, model, descending):
    add_spoiled(model, model._meta.get_field("at"), auditor)
    order = keyset.Keyset(("at", "id"), descending=descending)
    pages = [order.page(model.objects.all(), cursor=None, size=2)]
    while pages[-1].next_cursor:
        pages.append(order.page(model.objects.all(), cursor=pages[-1].next_cursor, size=2))
    back = pages[-1:]
    while back[-1].previous_cursor:
        back.append(order.page(model.objects.all(), cursor=back[-1].previous_cursor, size=2))

    assert sum(len(page.rows) for page in pages) == model.objects.count()
    assert [page.rows for page in back] == [page.rows for page in pages[::-1]]


@pytest.mark.parametrize("letter", "nNpP")
@pytest.mark.parametrize("model", ADD)
def test_cursor_does_not_reveal_the_place_of_an_entry_of_others(reader, stranger, auditor, model, letter):
    add(model, 2, auditor)
    [hidden] = add(model, 1, stranger)

    for route in ROUTES[model]:
        for pk in (hidden.pk, hidden.pk + 1_000):
            answer = reader.get(route, {"cursor": cursor_of([letter, None, pk])})
            assert (answer.status_code, answer.json()["errors"]) == (400, {"cursor": [NOT_LISTED]})


@pytest.mark.parametrize("whose", ["of the reader", "of nobody"])
@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
@pytest.mark.parametrize("model", ADD)
@pytest.mark.each_database
def test_exports_contain_each_entry(reader, auditor, monkeypatch, model, file_format, whose):
    monkeypatch.setattr(exports, "PART_SIZE", 2)
    if whose == "of the reader":
        entries = add_spoiled_everywhere(model, auditor, kept=OF_READERS | {PUBLIC_ID[model]})
    else:
        first, *_, last = add_spoiled_everywhere(model, auditor)
        entries = [first, last]
    expected = {str(getattr(entry, PUBLIC_ID[model])) for entry in entries}

    answer = reader.get(f"{ROUTES[model][0]}/export", {"format": file_format})
    content = b"".join(answer.streaming_content).decode()
    if file_format == "csv":
        rows = list(csv.DictReader(io.StringIO(content)))
    else:
        rows = [json.loads(line, parse_int=str) for line in content.splitlines()]

    found = [row["id"] for row in rows]
    assert expected <= set(found)
    assert len(found) == len(set(found)) or whose == "of nobody"
    assert rows[found.index(str(getattr(entries[0], PUBLIC_ID[model])))]["account"] == entries[0].account


@pytest.mark.each_database
def test_security_page_opens_although_the_time_of_the_last_password_is_unreadable(reader, auditor):
    field = Activity._meta.get_field("at")
    entries = add(Activity, len(values_for(field)), auditor, action=Action.PASSWORD_CHANGED)
    spoil(Activity, field, [entry.pk for entry in entries])

    shown(reader.get(reverse("accounts:security")))
