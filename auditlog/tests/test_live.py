"""Live logs: the first page requests new entries, with its own filters, and gets each one once."""

import json
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory
from auditlog import following
from auditlog.models import Activity, TokenUse
from auditlog.tests.entries import action, remove, use
from auditlog.views import live
from tokens.tests.factories import TokenFactory

USES = ["/profile/authentication-log/", "/organization/authentication-log/"]
LOGS = [*USES, "/profile/activity-log/", "/organization/activity-log/"]
# A person's own log differs from the organization's only in a condition.
EACH_LOG = [*LOGS[::2], *(pytest.param(log, marks=pytest.mark.each_database) for log in LOGS[1::2])]
HTMX = {"HX-Request": "true"}


@pytest.fixture
def auditor(organization):
    return UserFactory(organization=organization, site_role=SiteRole.AUDITOR, email="auditor@acme.example")


@pytest.fixture
def reader(client, auditor):
    client.force_login(auditor)
    # Removes the entry of the sign-in.
    remove(Activity.objects.all())
    return client


def add(log, person, *names, **values):
    if "authentication" in log:
        TokenUse.objects.bulk_create(
            use(person.organization, owner_id=person.pk, target=name, **values) for name in names
        )
    else:
        Activity.objects.bulk_create(
            action(person.organization, actor_id=person.pk, target_name=name, **values) for name in names
        )


def open_live(reader, log, **query):
    """The address of the page, and the cursor up to which it has read."""
    address = f"{log}?{urlencode({'live': '1', **query})}"
    return address, reader.get(address).context["live"].cursor


def ask(reader, address, cursor):
    """What the page requests. The rows in one text, and the event."""
    answer = reader.get(address, {**query_of(address), "after": cursor}, headers=HTMX)
    event = answer.headers.get("HX-Trigger") or answer.headers["HX-Trigger-After-Swap"]
    return answer, json.loads(event)["log-read"]


def query_of(address):
    return dict(pair.split("=") for pair in address.partition("?")[2].split("&"))


def names_in(answer):
    text = answer.content.decode().replace("<wbr>", "")
    return [name for name in ("/one", "/two", "/three", "/late", "/other") if name in text]


@pytest.mark.parametrize("log", EACH_LOG)
def test_page_gets_new_entries_once_and_204_without_them(reader, auditor, log):
    add(log, auditor, "/one")
    address, cursor = open_live(reader, log)
    add(log, auditor, "/two", "/three")

    first, read = ask(reader, address, cursor)
    second, read_again = ask(reader, address, read["cursor"])

    assert (first.status_code, names_in(first)) == (200, ["/two", "/three"])
    assert first.content.index(b"three") < first.content.index(b"two")
    assert (read["count"], read["said"]) == (2, "2 new entries")
    assert (second.status_code, second.content) == (204, b"")
    assert (read_again["count"], read_again["cursor"]) == (0, read["cursor"])


@pytest.mark.parametrize("log", EACH_LOG)
def test_entry_of_a_slow_request_is_not_missed(reader, auditor, log):
    address, cursor = open_live(reader, log)
    add(log, auditor, "/one")
    _answer, read = ask(reader, address, cursor)
    add(log, auditor, "/late", at=timezone.now() - timedelta(minutes=1))

    assert names_in(ask(reader, address, read["cursor"])[0]) == ["/late"]


@pytest.mark.parametrize("log", EACH_LOG)
def test_entry_that_is_added_while_the_page_is_read_comes_with_the_first_request(reader, auditor, monkeypatch, log):
    end_of = following.end_of

    def end_of_then_one_more(model):
        end = end_of(model)
        add(log, auditor, "/one")
        return end

    monkeypatch.setattr(following, "end_of", end_of_then_one_more)
    page = reader.get(f"{log}?live=1")

    assert names_in(page) == []
    assert names_in(ask(reader, f"{log}?live=1", page.context["live"].cursor)[0]) == ["/one"]


@pytest.mark.parametrize("log", EACH_LOG)
def test_live_page_has_the_filters_of_the_list(reader, auditor, log):
    address, cursor = open_live(reader, log, q="one")
    add(log, auditor, "/one", "/other")

    answer, read = ask(reader, address, cursor)

    assert names_in(answer) == ["/one"]
    assert read["said"] == "1 new entry"


@pytest.mark.parametrize("log", EACH_LOG)
def test_entries_that_do_not_match_are_not_read_again(reader, auditor, log):
    address, cursor = open_live(reader, log, q="one")
    add(log, auditor, "/other")

    answer, read = ask(reader, address, cursor)

    assert answer.status_code == 204
    assert read["cursor"] != cursor


@pytest.mark.parametrize("log", LOGS)
def test_live_page_shows_no_entries_of_strangers(reader, auditor, stranger, log):
    address, cursor = open_live(reader, log)
    add(log, stranger, "/other")

    assert ask(reader, address, cursor)[0].status_code == 204


def test_user_gets_no_entries_of_the_organization(client, owner):
    client.force_login(owner)

    assert client.get(LOGS[3], {"live": "1", "after": "x"}, headers=HTMX).status_code == 403


@pytest.mark.each_database
def test_log_of_one_token_can_be_live(reader, auditor):
    token = TokenFactory(owner=auditor)
    address, cursor = open_live(reader, f"/profile/tokens/{token.pk}/")
    add(USES[0], auditor, "/other")
    add(USES[0], auditor, "/one", token_id=token.pk)

    assert names_in(ask(reader, address, cursor)[0]) == ["/one"]


@pytest.mark.each_database
def test_entries_beyond_the_limit_of_the_page_are_left_out_and_it_says_so(reader, auditor, monkeypatch):
    monkeypatch.setattr(live, "MOST_ROWS", 2)
    address, cursor = open_live(reader, USES[0])
    add(USES[0], auditor, "/one", "/two", "/three")

    answer, read = ask(reader, address, cursor)

    assert names_in(answer) == ["/two", "/three"]
    assert (read["count"], read["isCut"]) == (2, True)


@pytest.mark.each_database
def test_request_after_a_long_time_searches_a_limited_number_of_entries(reader, auditor, monkeypatch):
    monkeypatch.setattr(following, "MAX_SEARCHED", 2)
    address, cursor = open_live(reader, USES[0])
    add(USES[0], auditor, "/one", "/two", "/three")

    answer, read = ask(reader, address, cursor)

    assert names_in(answer) == ["/two", "/three"]
    assert read["isCut"]


@pytest.mark.parametrize("cursor", ["", "x", "start", "now", "W10", "%00", "A" * 600])
def test_page_with_an_invalid_cursor_is_loaded_again(reader, cursor):
    answer = reader.get(USES[0], {"live": "1", "after": cursor}, headers=HTMX)

    assert answer.status_code == 200
    assert (answer.headers["HX-Refresh"], answer.content) == ("true", b"")


def test_invalid_filter_is_not_live(reader, auditor):
    page = reader.get(USES[0], {"live": "1", "date": "x"})
    assert not page.context["live"].is_on
    cursor = open_live(reader, USES[0])[1]
    add(USES[0], auditor, "/one")

    assert reader.get(USES[0], {"live": "1", "date": "x", "after": cursor}, headers=HTMX).status_code == 204


def test_opened_address_with_a_cursor_is_a_page(reader):
    assert b"<h1" in reader.get(USES[0], {"after": "x"}).content


@pytest.mark.parametrize("log", EACH_LOG)
@pytest.mark.parametrize(
    ("adds", "queries"),
    [
        # The session, the person, the newest id; on PostgreSQL also the open transactions.
        (False, 3),
        # And the new entries.
        (True, 4),
    ],
)
def test_request_takes_two_queries_by_primary_key(reader, auditor, log, adds, queries):
    add(log, auditor, "/one")
    address, cursor = open_live(reader, log, q="o")
    if adds:
        add(log, auditor, "/two", "/other")

    with CaptureQueriesContext(connection) as captured:
        ask(reader, address, cursor)

    assert len(captured) == queries + (connection.vendor == "postgresql")


def plans_of(captured):
    """How SQLite reads the entries, for each query of a log."""
    with connection.cursor() as cursor:
        for query in captured.captured_queries:
            if "ORDER BY" in query["sql"] and "auditlog" in query["sql"]:
                cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}".replace("%", "%%"))
                yield [row[3] for row in cursor.fetchall()]


@pytest.mark.parametrize("log", USES)
def test_new_entries_are_found_by_primary_key_whatever_the_filters_are(reader, auditor, log):
    """A busy token has millions of entries."""
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL has better statistics.")
    token = TokenFactory(owner=auditor)
    address, cursor = open_live(reader, log, token_id=str(token.pk))
    add(log, auditor, "/one", token_id=token.pk)

    route = "/api/v1/me/authentication-log"
    with CaptureQueriesContext(connection) as captured:
        assert names_in(ask(reader, address, cursor)[0]) == ["/one"]
        assert reader.get(route, {"token_id": str(token.pk), "after": cursor}).json()["count"] == 1

    assert [len(plan) for plan in plans_of(captured)] == [1, 1, 1]
    assert all("USING INTEGER PRIMARY KEY" in plan[0] for plan in plans_of(captured))


# The switch


@pytest.mark.parametrize("log", LOGS)
def test_switch_is_off_unless_the_address_says_otherwise(reader, log):
    page = reader.get(f"{log}?q=a").content.decode()

    assert 'aria-checked="false"' in page
    assert f'href="{log}?q=a&amp;live=1#live"' in page
    assert "hx-get" not in page


@pytest.mark.parametrize("log", LOGS)
def test_switch_of_a_live_page_turns_it_off_and_keeps_the_filters(reader, log):
    page = reader.get(f"{log}?q=a&live=1").content.decode()

    assert 'aria-checked="true"' in page
    assert f'href="{log}?q=a#live"' in page
    assert 'hx-trigger="every 3s, shown"' in page


def test_other_links_keep_the_switch_on(reader, auditor, monkeypatch):
    add(USES[0], auditor, *["/one"] * 60, ip="198.51.100.7")
    page = reader.get(USES[0], {"q": "one", "live": "1"})
    text = page.content.decode()

    assert "live=1" in page.context["page"].next_url
    assert [chip.url for chip in page.context["chips"]] == [f"{USES[0]}?live=1"]
    assert '<input type="hidden" name="live" value="1">' in text
    assert "?q=one&amp;live=1&amp;ip=198.51.100.7" in text
    assert all("live" not in file["url"] for file in page.context["files"])


def test_page_that_is_not_the_first_is_not_live(reader, auditor):
    add(USES[0], auditor, *["/one"] * 60)
    second = reader.get(reader.get(USES[0], {"live": "1"}).context["page"].next_url)

    assert not second.context["live"].is_on
    assert second.context["live"].url == f"{USES[0]}?live=1"
    assert second.context["page"].newest_url == f"{USES[0]}?live=1"


def test_page_is_not_live_while_a_transaction_delays_new_entries(reader, auditor, monkeypatch):
    add(USES[0], auditor, "/one")
    monkeypatch.setattr(following, "end_of", lambda model: None)
    page = reader.get(USES[0], {"live": "1"})

    assert not page.context["live"].is_on
    assert "New entries are delayed" in page.content.decode()
    assert names_in(page) == ["/one"]
