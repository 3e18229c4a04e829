"""Following a log in the API: every entry once, in the order in which entries became final."""

import random
import threading
import time
import uuid
from datetime import timedelta
from functools import partial

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory
from auditlog import following
from auditlog.models import Activity, TokenUse
from auditlog.tests.entries import ACTIONS, USES, action, committed_late, days_ago, remove, seal, use
from tokens.tests.factories import TokenFactory

USE_ROUTES = ["/api/v1/me/authentication-log", "/api/v1/logs/user/tokens"]
ACTION_ROUTES = ["/api/v1/me/activity-log", "/api/v1/logs/user/actions"]
ROUTES = [*USE_ROUTES, *ACTION_ROUTES]
# A person's own log differs from the organization's only in a condition.
EACH_ROUTE = [*ROUTES[::2], *(pytest.param(route, marks=pytest.mark.each_database) for route in ROUTES[1::2])]


@pytest.fixture
def auditor(organization):
    return UserFactory(organization=organization, site_role=SiteRole.AUDITOR)


@pytest.fixture
def reader(api, auditor):
    api.force_login(auditor)
    # Removes the entry of the sign-in.
    remove(Activity.objects.all())
    return api


def add(route, person, *names, **values):
    if route in USE_ROUTES:
        TokenUse.objects.bulk_create(
            use(person.organization, owner_id=person.pk, target=name, **values) for name in names
        )
    else:
        Activity.objects.bulk_create(
            action(person.organization, actor_id=person.pk, target_name=name, **values) for name in names
        )


def names(page):
    return [row.get("target", row.get("target_name")) for row in page["data"]]


def model_of(route):
    return TokenUse if route in USE_ROUTES else Activity


@pytest.mark.parametrize("route", EACH_ROUTE)
def test_follower_gets_each_entry_once_in_the_order_of_arrival(reader, auditor, route):
    add(route, auditor, "/first", at=timezone.now())
    add(route, auditor, "/began-before-the-first", at=timezone.now() - timedelta(seconds=30))
    add(route, auditor, "/third")

    one = reader.get(route, {"after": "start", "page_size": 2}).json()
    two = reader.get(one["next"]).json()
    three = reader.get(two["next"]).json()
    add(route, auditor, "/fourth", at=timezone.now() - timedelta(hours=1))
    four = reader.get(three["next"]).json()

    assert [names(page) for page in (one, two, three, four)] == [
        ["/first", "/began-before-the-first"],
        ["/third"],
        [],
        ["/fourth"],
    ]
    assert [page["count"] for page in (one, two, three, four)] == [2, 1, 0, 1]


@pytest.mark.parametrize("route", EACH_ROUTE)
def test_follower_that_begins_now_gets_only_later_entries(reader, auditor, route):
    add(route, auditor, "/before")
    begin = reader.get(route, {"after": "now"}).json()
    add(route, auditor, "/behind")

    assert begin["data"] == []
    assert names(reader.get(begin["next"]).json()) == ["/behind"]


@pytest.mark.parametrize("route", EACH_ROUTE)
def test_empty_log_can_be_followed_from_its_first_entry(reader, auditor, route):
    begin = reader.get(route, {"after": "start"}).json()
    add(route, auditor, "/first")

    assert names(reader.get(begin["next"]).json()) == ["/first"]


@pytest.mark.parametrize("route", EACH_ROUTE)
def test_follower_sees_only_entries_that_the_list_shows_them(reader, auditor, owner, stranger, route):
    add(route, stranger, "/elsewhere")
    add(route, owner, "/a-colleague's")
    add(route, auditor, "/mine")

    found = names(reader.get(route, {"after": "start"}).json())

    assert found == (["/mine"] if "/me/" in route else ["/a-colleague's", "/mine"])


@pytest.mark.parametrize("route", ["/api/v1/logs/user/tokens", "/api/v1/logs/user/actions"])
@pytest.mark.once
def test_user_cannot_follow_the_organizations_log(api, owner, route):
    api.force_login(owner)

    assert api.get(route, {"after": "start"}).status_code == 403


@pytest.mark.each_database
def test_log_of_one_token_can_be_followed(reader, auditor):
    token = TokenFactory(owner=auditor)
    add(USE_ROUTES[0], auditor, "/another-token")
    add(USE_ROUTES[0], auditor, "/this-token", token_id=token.pk)

    page = reader.get(f"/api/v1/tokens/{token.pk}/activity", {"after": "start"}).json()

    assert names(page) == ["/this-token"]
    assert "after=" in page["next"]


@pytest.mark.each_database
def test_follower_can_use_the_filters_of_the_list(reader, auditor):
    token_id = uuid.uuid4()
    for values in ({"outcome": "refused"}, {"ip": "198.51.100.7"}, {"token_id": token_id}, {"at": days_ago(3)}, {}):
        add(USE_ROUTES[0], auditor, f"/{'-'.join(values)}", **values)

    def followed(**query):
        page = reader.get(USE_ROUTES[0], {"after": "start", **query}).json()
        assert names(reader.get(page["next"]).json()) == []
        return names(page)

    assert followed(outcome="refused") == ["/outcome"]
    assert followed(ip="198.51.100.7") == ["/ip"]
    assert followed(token_id=str(token_id)) == ["/token_id"]
    assert followed(date_to=f"{days_ago(2):%Y-%m-%d}") == ["/at"]
    assert followed(q="/out") == ["/outcome"]


@pytest.mark.parametrize("route", ["/api/v1/logs/user/tokens", "/api/v1/logs/user/actions"])
@pytest.mark.each_database
def test_follower_that_was_away_for_a_month_misses_nothing(reader, auditor, route):
    begin = reader.get(route, {"after": "now"}).json()
    add(route, auditor, "/long-ago", at=days_ago(30))

    assert names(reader.get(begin["next"]).json()) == ["/long-ago"]


@pytest.mark.parametrize("route", EACH_ROUTE)
def test_follower_with_a_filter_searches_until_an_entry_matches(reader, auditor, monkeypatch, route):
    monkeypatch.setattr(following, "MAX_SEARCHED", 4)
    add(route, auditor, *["/other"] * 9, "/needle")

    page = reader.get(route, {"after": "start", "q": "needle"}).json()

    assert names(page) == ["/needle"]
    assert names(reader.get(page["next"]).json()) == []


@pytest.mark.parametrize("route", EACH_ROUTE)
def test_search_that_takes_too_long_continues_with_the_next_request(reader, auditor, monkeypatch, route):
    monkeypatch.setattr(following, "MAX_SEARCHED", 4)
    monkeypatch.setattr(following, "SEARCH_SECONDS", -1)
    add(route, auditor, *["/other"] * 9, "/needle")

    page, answers = {"next": f"{route}?after=start&q=needle"}, []
    for _ in range(4):
        page = reader.get(page["next"]).json()
        answers.append(names(page))

    assert answers == [[], [], ["/needle"], []]


@pytest.mark.parametrize(
    "cursor", ["", "x", "===", "bmlj", "W10", "WyJmIiwxXQ", "%00", "WyJuIiwxLDJd", "A" * 501, "bnVsbA", "MQ"]
)
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.once
def test_wrong_cursor_is_refused(reader, route, cursor):
    answer = reader.get(f"{route}?after={cursor}")

    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == ["after"]


@pytest.mark.parametrize("position", [-1, 2**63, True, None, "1", 1.5, [1]])
@pytest.mark.once
def test_cursor_with_an_impossible_position_is_refused(reader, position):
    cursor = following._write(USES, position)

    assert reader.get(USE_ROUTES[0], {"after": cursor}).status_code == 400


@pytest.mark.once
def test_cursor_of_the_other_log_is_refused(reader, auditor):
    add(USE_ROUTES[0], auditor, "/a")
    add(ACTION_ROUTES[0], auditor, "/a")
    cursor = reader.get(USE_ROUTES[0], {"after": "start"}).json()["next"].partition("after=")[2]

    assert reader.get(f"{USE_ROUTES[1]}?after={cursor}").status_code == 200
    assert reader.get(f"{ACTION_ROUTES[0]}?after={cursor}").status_code == 400


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.once
def test_list_and_follower_positions_are_not_mixed(reader, auditor, route):
    add(route, auditor, "/a", "/b")
    cursor = reader.get(route, {"page_size": 1}).json()["next"].partition("cursor=")[2]

    assert reader.get(f"{route}?after={cursor}").status_code == 400
    assert reader.get(f"{route}?after=start&cursor={cursor}").status_code == 400


@pytest.mark.each_database
def test_follower_continues_after_old_entries_were_removed(reader, auditor):
    add(USE_ROUTES[0], auditor, "/old", "/old")
    seal(USES)
    read_to = reader.get(USE_ROUTES[0], {"after": "start"}).json()["next"]
    remove(TokenUse.objects.all())

    assert reader.get(read_to).json()["data"] == []
    add(USE_ROUTES[0], auditor, "/new")
    assert names(reader.get(read_to).json()) == ["/new"]


@pytest.mark.each_database
def test_follower_of_a_restored_log_is_told_to_begin_again(reader, auditor):
    add(ACTION_ROUTES[0], auditor, "/a")
    seal(ACTIONS)
    ahead = following._write(ACTIONS, Activity.objects.latest("id").pk + 1)

    answer = reader.get(ACTION_ROUTES[0], {"after": ahead})

    assert answer.status_code == 400
    assert "restored from a backup" in answer.json()["errors"]["after"][0]


@pytest.mark.each_database
def test_follower_reads_only_new_entries(reader, auditor, django_assert_max_num_queries):
    add(USE_ROUTES[1], auditor, *["/a"] * 50)
    address = reader.get(USE_ROUTES[1], {"after": "start"}).json()["next"]
    add(USE_ROUTES[1], auditor, "/b")

    # Session, person, newest id, writers (PostgreSQL only), end of the window, entries.
    with django_assert_max_num_queries(6):
        assert names(reader.get(address).json()) == ["/b"]


# Entries that are committed late


def slow_request(route, person, name):
    """Writes an entry on another connection at once, and commits it when the block ends."""
    return committed_late(partial(add, route, person, name))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("route", ROUTES)
def test_entry_that_commits_late_is_not_skipped(reader, auditor, monkeypatch, caplog, route):
    monkeypatch.setattr(following, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(following, "_warned_at", -following.WARN_EVERY_SECONDS)
    begin = reader.get(route, {"after": "start"}).json()
    with slow_request(route, auditor, "/slow"):
        if connection.vendor == "postgresql":
            # On SQLite, no other connection can write meanwhile.
            add(route, auditor, "/fast")
        meanwhile = reader.get(begin["next"]).json()
    afterwards = reader.get(meanwhile["next"]).json()

    assert meanwhile["data"] == []
    assert ("has been open" in caplog.text) is (connection.vendor == "postgresql")
    assert names(afterwards) == (["/slow", "/fast"] if connection.vendor == "postgresql" else ["/slow"])


@pytest.mark.django_db(transaction=True)
def test_open_transaction_does_not_delay_sealed_entries(reader, auditor, monkeypatch):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite commits entries in order.")
    monkeypatch.setattr(following, "PATIENCE_SECONDS", 0.05)
    add(USE_ROUTES[0], auditor, "/sealed")
    seal(USES)
    with slow_request(USE_ROUTES[0], auditor, "/slow"):
        add(USE_ROUTES[0], auditor, "/fast")
        meanwhile = reader.get(USE_ROUTES[0], {"after": "start"}).json()
    afterwards = reader.get(meanwhile["next"]).json()

    assert names(meanwhile) == ["/sealed"]
    assert names(afterwards) == ["/slow", "/fast"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("route", [USE_ROUTES[1], ACTION_ROUTES[1]])
def test_follower_of_a_busy_log_gets_every_entry_once(reader, auditor, route):
    """There are three writers. Some of them commit long after they wrote."""
    is_over = threading.Event()
    expected = {f"/{writer}/{number}" for writer in range(3) for number in range(15)}

    def write(writer):
        chance = random.Random(writer)
        try:
            for number in range(15):
                with transaction.atomic():
                    add(route, auditor, f"/{writer}/{number}")
                    time.sleep(chance.choice([0, 0.001, 0.02]))
        finally:
            connections.close_all()

    def write_all():
        threads = [threading.Thread(target=write, args=[writer]) for writer in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        is_over.set()

    writing = threading.Thread(target=write_all)
    writing.start()
    found, address = [], f"{route}?after=start&page_size=5"
    while True:
        was_over = is_over.is_set()
        page = reader.get(address).json()
        found += names(page)
        address = page["next"]
        if was_over and not page["data"]:
            break
    writing.join()

    assert sorted(found) == sorted(expected)


def test_entry_ids_are_in_the_order_of_commits_on_sqlite():
    """Following relies on it: transactions lock when they begin, and ids are never reused."""
    if connection.vendor != "sqlite":
        pytest.skip("For PostgreSQL see above.")
    assert connection.settings_dict["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    for model in (TokenUse, Activity):
        assert "AUTOINCREMENT" in connection.data_types_suffix[model._meta.pk.get_internal_type()]
