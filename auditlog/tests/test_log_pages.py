"""The pages of the logs: filters, paging, and the page of one entry."""

import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import resolve
from django.utils import timezone

from accounts.models import Organization
from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory
from auditlog.actions import Action
from auditlog.models import Activity, TokenUse
from auditlog.reason_texts import EXPLANATIONS
from auditlog.record import record
from auditlog.tables import LogTable, outcome_badge
from auditlog.tests.entries import action, sql, use
from core.api.scopes import BY_ID
from core.db import keyset
from core.pages.views import KeysetTableMixin
from opsera_portal.tests.worlds import check_row
from pipelines.tests.factories import PipelineFactory, limit_to
from tokens.models import Token
from tokens.scope_cards import without_included
from tokens.tests.factories import TokenFactory, bearer
from tokens.views import logs

MY_USES = "/profile/authentication-log/"
OUR_USES = "/organization/authentication-log/"
MY_ACTIVITY = "/profile/activity-log/"
OUR_ACTIVITY = "/organization/activity-log/"
ROUTES = {
    MY_USES: "/api/v1/me/authentication-log",
    OUR_USES: "/api/v1/logs/user/tokens",
    MY_ACTIVITY: "/api/v1/me/activity-log",
    OUR_ACTIVITY: "/api/v1/logs/user/actions",
}
TOKEN = uuid.UUID("11111111-1111-4111-8111-111111111111")
REQUEST = uuid.UUID("22222222-2222-4222-8222-222222222222")


@pytest.fixture
def auditor(organization):
    return UserFactory(organization=organization, site_role=SiteRole.AUDITOR, email="auditor@acme.example")


@pytest.fixture
def reader(client, auditor):
    client.force_login(auditor)
    return client


def add_uses(owner, *entries):
    """Adds entries in order: each is newer than the previous one."""
    now = timezone.now() - timedelta(minutes=1)
    TokenUse.objects.bulk_create(
        use(
            owner.organization,
            **{"at": now + timedelta(seconds=number), "owner_id": owner.pk, "owner_email": owner.email} | values,
        )
        for number, values in enumerate(entries)
    )


def add_actions(actor, *entries):
    now = timezone.now() - timedelta(minutes=1)
    Activity.objects.bulk_create(
        action(
            actor.organization,
            **{"at": now + timedelta(seconds=number), "actor_id": actor.pk, "actor_email": actor.email} | values,
        )
        for number, values in enumerate(entries)
    )


def names(answer):
    """The names of the listed entries, without the reader's own sign-in."""
    rows = [row.record for row in answer.context["table"].rows]
    return "".join(getattr(row, "target", None) or row.target_name for row in rows if not is_sign_in(row))


def is_sign_in(row):
    return getattr(row, "action", None) == Action.SIGNED_IN


def names_in_api(answer):
    rows = [row for row in answer.json()["data"] if row.get("action") != Action.SIGNED_IN]
    return "".join(row.get("target") or row["target_name"] for row in rows)


# Filters


FOUND_USES = [
    ({}, "edcba"),
    ({"token_id": str(TOKEN)}, "b"),
    ({"token_id": str(TOKEN).upper()}, "b"),
    ({"request_id": str(REQUEST)}, "c"),
    ({"ip": "2001:DB8:0::7"}, "b"),
    ({"ip": "2001:db8::/32"}, "b"),
    ({"ip": " 192.0.2.77/24 "}, "ca"),
    ({"ip": "192.0.2.1/32"}, "ca"),
    ({"ip": "192.0.2.2/31"}, ""),
    ({"ip": "0.0.0.0/0"}, "ca"),
    ({"ip": "::/0"}, "b"),
    ({"q": "2001:db8::7"}, "b"),
    ({"q": f" {REQUEST} "}, "c"),
    ({"q": str(TOKEN)}, "b"),
    ({"q": "NIGHT"}, "ca"),
    ({"q": "%"}, ""),
    ({"scope": "api"}, "ca"),
    ({"outcome": "refused", "reason": "forbidden"}, "b"),
    ({"outcome": "refused", "ip": "192.0.2.1"}, ""),
    ({"after_end": "true"}, "ed"),
    ({"after_end": "true", "reason": "revoked"}, "e"),
]


@pytest.mark.parametrize("page", [MY_USES, pytest.param(OUR_USES, marks=pytest.mark.each_database)])
def test_page_and_api_filter_uses_in_the_same_way(reader, auditor, page):
    add_uses(
        auditor,
        {"target": "a"},
        {
            "target": "b",
            "token_id": TOKEN,
            "token_name": "weekly",
            "scope": "pipeline",
            "ip": "2001:db8::7",
            "outcome": "refused",
            "reason": "forbidden",
        },
        {"target": "c", "request_id": REQUEST, "scope": "pipeline api"},
        *(
            {"target": target, "token_name": "old", "scope": "", "ip": None, "outcome": "refused", "reason": reason}
            for target, reason in (("d", "expired"), ("e", "revoked"))
        ),
    )

    check_filters(reader, page, FOUND_USES)


def check_filters(reader, page, found):
    """Tries every query of ``found``, pairs of a query and the names it finds, on the page and in the API."""

    def attempt(query):
        return names(reader.get(f"{page}?{query}")), names_in_api(reader.get(f"{ROUTES[page]}?{query}"))

    check_row(page, {urlencode(query): (expected, expected) for query, expected in found}, attempt)


@pytest.mark.parametrize("page", [MY_USES, OUR_USES])
@pytest.mark.parametrize("form", ["{0.hex}", "{{{0}}}", "urn:uuid:{0}", "{0}\u0660"])
@pytest.mark.once
def test_page_and_api_refuse_an_id_in_another_form(reader, auditor, page, form):
    add_uses(auditor, {"target": "a", "token_id": TOKEN})
    sent = form.format(TOKEN)

    assert reader.get(page, {"token_id": sent}).context["filter"].form.errors.keys() == {"token_id"}
    assert reader.get(ROUTES[page], {"token_id": sent}).json()["errors"].keys() == {"token_id"}
    assert names(reader.get(page, {"q": sent})) == names_in_api(reader.get(ROUTES[page], {"q": sent}))


FOUND_ACTIONS = [
    ({}, "cba"),
    ({"type": "user"}, "b"),
    ({"action": "user.changed"}, "b"),
    ({"token_id": str(TOKEN)}, "c"),
    ({"request_id": str(REQUEST)}, "c"),
    ({"ip": "198.51.100.7"}, "b"),
    ({"ip": "198.51.100.0/24"}, "b"),
    ({"q": "198.51.100.7"}, "b"),
    ({"q": str(REQUEST)}, "c"),
    ({"q": "33333333-3333-4333-8333-333333333333"}, "a"),
    ({"q": "night"}, "ba"),
]


@pytest.mark.parametrize("page", [MY_ACTIVITY, pytest.param(OUR_ACTIVITY, marks=pytest.mark.each_database)])
def test_page_and_api_filter_actions_in_the_same_way(reader, auditor, page):
    add_actions(
        auditor,
        {"target_name": "a", "target_id": "33333333-3333-4333-8333-333333333333"},
        {"target_name": "b", "type": "user", "action": "user.changed", "ip": "198.51.100.7"},
        {"target_name": "c", "token_id": TOKEN, "token_name": "", "request_id": REQUEST},
    )

    check_filters(reader, page, FOUND_ACTIONS)


@pytest.mark.parametrize(("page", "add"), [(OUR_USES, add_uses), (OUR_ACTIVITY, add_actions)])
@pytest.mark.each_database
def test_organizations_log_is_filtered_by_person(reader, auditor, owner, page, add):
    name = "target" if add is add_uses else "target_name"
    add(auditor, {name: "a"})
    add(owner, {name: "b"})

    for address, read in ((page, names), (ROUTES[page], names_in_api)):
        assert read(reader.get(address, {"user_email": "OWNER@"})) == "b"


@pytest.mark.parametrize(("page", "add"), [(OUR_USES, add_uses), (OUR_ACTIVITY, add_actions)])
@pytest.mark.each_database
def test_complete_email_address_finds_only_its_person(reader, organization, page, add):
    name = "target" if add is add_uses else "target_name"
    add(UserFactory(organization=organization, email="ann@acme.example"), {name: "a"})
    add(UserFactory(organization=organization, email="joann@acme.example"), {name: "b"})

    for address, read in ((page, names), (ROUTES[page], names_in_api)):
        assert read(reader.get(address, {"user_email": "Ann@acme.example"})) == "a"
        assert read(reader.get(address, {"user_email": "ann@acme"})) == "ba"


@pytest.mark.parametrize("route", [ROUTES[MY_USES], ROUTES[MY_ACTIVITY]])
@pytest.mark.once
def test_own_log_has_no_filter_for_a_person(api, auditor, route):
    api.force_login(auditor)

    assert api.get(route, {"user_email": "a"}).status_code == 400


@pytest.mark.parametrize("page", ROUTES)
@pytest.mark.once
def test_page_and_api_have_the_same_filters(page):
    assert resolve(page).func.view_class.filterset_class is resolve(ROUTES[page]).func.cls.filterset_class


@pytest.mark.parametrize("page", ROUTES)
def test_log_page_without_a_date_shows_all_entries(reader, auditor, page):
    old = timezone.now() - timedelta(days=100)
    add_uses(auditor, {"at": old, "target": "a"})
    add_actions(auditor, {"at": old, "target_name": "a"})

    assert names(reader.get(page)) == "a"
    assert names_in_api(reader.get(ROUTES[page])) == ("a" if page.startswith("/profile/") else "")


def test_own_tokens_can_be_chosen_by_name(reader, auditor, owner):
    token = TokenFactory(owner=auditor, name="nightly")
    TokenFactory(owner=owner, name="another's")

    page = reader.get(MY_USES, {"token_id": str(token.pk)})

    field = page.context["filter"].form["token_id"]
    assert [value for value, _ in field.field.widget.choices] == ["", str(token.pk)]
    assert page.context["chips"][0].value.startswith("nightly (")
    assert "another" not in page.content.decode()


def test_token_that_is_not_among_the_choices_can_be_filtered(reader, auditor):
    add_uses(auditor, {"target": "a", "token_id": TOKEN})

    page = reader.get(MY_USES, {"token_id": str(TOKEN)})

    assert names(page) == "a"
    assert f'<option value="{TOKEN}" selected>' in page.content.decode()


def test_reader_with_very_many_tokens_filters_by_token_id(reader, auditor, monkeypatch):
    monkeypatch.setattr(logs, "MOST_CHOICES", 2)
    for _ in range(3):
        TokenFactory(owner=auditor)

    assert re.search('<input [^>]*id="id_token_id"', reader.get(MY_USES).content.decode())


@pytest.mark.parametrize("page", [OUR_USES, OUR_ACTIVITY])
@pytest.mark.once
def test_name_instead_of_the_id_of_a_token_leads_to_the_search(reader, page):
    shown = reader.get(page, {"token_id": "nightly"})

    field = shown.context["filter"].form["token_id"]
    assert (field.label, field.errors) == ("Token ID", ["Enter the ID of a token. “Search” finds the name."])


@pytest.mark.once
def test_each_filter_that_is_set_can_be_removed(reader, auditor):
    answer = reader.get(OUR_USES, {"outcome": "refused", "q": "a b&c", "ip": "", "cursor": "x"})

    chips = {chip.name: chip for chip in answer.context["chips"]}
    assert {name: (chip.label, chip.value) for name, chip in chips.items()} == {
        "outcome": ("Outcome", "Refused"),
        "q": ("Search", "a b&c"),
    }
    assert chips["outcome"].url == f"{OUR_USES}?q=a+b%26c"
    assert "cursor" not in chips["q"].url
    page = answer.content.decode()
    assert 'data-filter="outcome"' in page
    assert 'id="clear-filters"' in page
    assert f">{settings.PORTAL_URL}{OUR_USES}?outcome=refused&amp;q=a+b%26c</span>" in page
    assert "Copy link to this view" in page


@pytest.mark.once
def test_list_without_a_filter_has_no_filter_chips(reader):
    page = reader.get(OUR_USES).content.decode()

    assert "filter-chips" not in page
    assert "Copy link to this view" not in page


@pytest.mark.parametrize(
    ("page", "found"),
    [
        (MY_USES, {"Refused in the last 24 hours": 1, "Last 24 hours": 2}),
        (OUR_USES, {"Refused in the last 24 hours": 1, "Last 24 hours": 2}),
        (MY_ACTIVITY, {"Last 24 hours": 1}),
        (OUR_ACTIVITY, {"Last 24 hours": 1}),
    ],
)
@pytest.mark.once
def test_link_to_the_last_24_hours_finds_their_entries_in_every_time_zone(reader, auditor, page, found):
    auditor.time_zone = "Asia/Tokyo"
    auditor.save()
    before = timezone.now() - timedelta(hours=24, minutes=2)
    add_uses(
        auditor,
        {"at": before, "outcome": "refused", "target": "a"},
        {"outcome": "refused", "target": "b"},
        {"target": "c"},
    )
    add_actions(auditor, {"at": before, "target_name": "a"}, {"target_name": "b"})

    presets = reader.get(page, {"ip": "192.0.2.1"}).context["presets"]

    assert {preset["label"]: len(names(reader.get(preset["url"]))) for preset in presets} == found


@pytest.mark.parametrize("page", ROUTES)
@pytest.mark.once
def test_invalid_filter_finds_nothing_and_shows_an_error(reader, auditor, monkeypatch, page):
    monkeypatch.setattr(keyset, "MAX_SEARCHED", 1)
    add_uses(auditor, {}, {}, {})
    add_actions(auditor, {}, {}, {})

    answer = reader.get(page, {"ip": "abc", "date": "2020-01-01"})

    said = answer.content.decode()
    assert "Correct the marked filter to see entries." in said
    assert answer.context["filter"].form["ip"].errors
    for absent in ("matches", "Searched back", "Download these entries", "entry-count"):
        assert absent not in said


@pytest.mark.parametrize("page", ROUTES)
@pytest.mark.once
def test_date_range_that_ends_before_it_begins_is_an_error_of_its_field(reader, page):
    query = {"date": "2026-05-02", "date_to": "2026-05-01"}

    assert reader.get(page, query).context["filter"].form["date_to"].errors
    assert reader.get(f"{page}export/", query).status_code == 400
    assert list(reader.get(ROUTES[page], query).json()["errors"]) == ["date_to"]
    assert not reader.get(page, query | {"date_to": "2026-05-02"}).context["filter"].form.errors


@pytest.mark.once
def test_chart_is_shown_only_if_the_list_is_not_filtered(reader, auditor):
    add_uses(auditor, {})
    heading = "Uses of your organization&#x27;s tokens per day</h2>"

    assert heading in reader.get(OUR_USES).content.decode().replace("'", "&#x27;")
    for query in ({"outcome": "refused"}, {"ip": "abc"}, {"cursor": "x"}):
        answer = reader.get(OUR_USES, query)
        assert answer.context["days"] is None
        assert "tokens per day" not in answer.content.decode()


# Paging


@pytest.mark.each_database
def test_long_search_stops_and_can_be_continued(reader, auditor, monkeypatch):
    monkeypatch.setattr(keyset, "MAX_SEARCHED", 4)
    add_uses(auditor, *({"target": name} for name in "wzwwwwwwkw"))

    page = reader.get(MY_USES, {"q": "z"})

    assert names(page) == ""
    assert page.context["page"].searched_to == TokenUse.objects.order_by("-at")[3].at
    assert (page.context["page"].next_url, page.context["page"].count) == (None, None)
    seen, steps = "", 0
    while page.context["page"].searched_url:
        assert "Search further back" in page.content.decode()
        page = reader.get(page.context["page"].searched_url)
        seen, steps = seen + names(page), steps + 1
    assert (seen, steps) == ("z", 2)
    assert page.context["page"].next_url is None


@pytest.mark.each_database
def test_search_in_one_token_looks_for_its_end_in_the_index_of_the_token(reader, auditor, monkeypatch):
    monkeypatch.setattr(keyset, "MAX_SEARCHED", 2)
    add_uses(auditor, *({"token_id": TOKEN} for _ in range(4)))

    with CaptureQueriesContext(connection) as captured:
        page = reader.get(MY_USES, {"token_id": str(TOKEN), "q": "not to be found"})

    ends = [query["sql"] for query in captured if query["sql"].endswith("OFFSET 1") and "token_id" in query["sql"]]
    assert page.context["page"].searched_to
    assert ends
    assert all("owner_id" not in sql for sql in ends)


@pytest.mark.each_database
def test_search_in_a_token_of_a_stranger_finds_no_place(reader, auditor, stranger, monkeypatch):
    """Not even how far it searched."""
    monkeypatch.setattr(keyset, "MAX_SEARCHED", 2)
    add_uses(stranger, *({"token_id": TOKEN} for _ in range(4)))

    for address in (MY_USES, OUR_USES):
        page = reader.get(address, {"token_id": str(TOKEN), "q": "not to be found"}).context["page"]
        assert (page.searched_to, page.searched_url, page.next_url) == (None, None, None)


@pytest.mark.each_database
def test_matches_before_a_long_search_stops_are_shown(reader, auditor, monkeypatch):
    monkeypatch.setattr(keyset, "MAX_SEARCHED", 4)
    add_uses(auditor, *({"target": name} for name in "zzzwwzwz"))

    first = reader.get(MY_USES, {"q": "z"})

    assert names(first) == "zz"
    assert names(reader.get(first.context["page"].searched_url)) == "zzz"


@pytest.mark.each_database
def test_long_search_for_newer_entries_stops_too(reader, auditor, monkeypatch):
    monkeypatch.setattr(keyset, "MAX_SEARCHED", 3)
    monkeypatch.setattr(logs.TokenUseListView, "page_size", 1)
    add_uses(auditor, *({"target": name} for name in "zzwwwwwz"))
    page = reader.get(MY_USES, {"q": "z"})
    while page.context["page"].searched_url or names(page) == "":
        page = reader.get(page.context["page"].searched_url)
    page = reader.get(page.context["page"].next_url)
    assert (names(page), page.context["page"].next_url) == ("z", None)

    page = reader.get(page.context["page"].previous_url)
    seen = names(page)
    while page.context["page"].searched_url:
        assert "Search further forward" in page.content.decode()
        page = reader.get(page.context["page"].searched_url)
        seen = names(page) + seen
    assert seen == "zz"


@pytest.mark.each_database
def test_empty_page_links_back_to_the_previous_one(reader, auditor, monkeypatch):
    monkeypatch.setattr(keyset, "MAX_SEARCHED", 3)
    add_uses(auditor, *({"target": name} for name in "wwwwzww"))
    found = reader.get(MY_USES, {"q": "z"})
    assert names(found) == "z"

    page = reader.get(found.context["page"].searched_url)
    assert "No matches in this part of the list." in page.content.decode()
    page = reader.get(page.context["page"].searched_url)

    said = page.content.decode()
    assert "No more entries in this direction." in said
    assert "No use of a token matches" not in said
    seen = ""
    while not seen:
        page = reader.get(page.context["page"].previous_url or page.context["page"].searched_url)
        seen = names(page)
    assert seen == "z"


@pytest.mark.each_database
def test_api_continues_where_a_search_stopped(api, auditor, monkeypatch):
    monkeypatch.setattr(keyset, "MAX_SEARCHED", 4)
    add_uses(auditor, *({"target": name} for name in "wzwwwwwwkw"))
    api.force_login(auditor)

    for address in (ROUTES[MY_USES], ROUTES[OUR_USES]):
        seen, counts, address = "", [], f"{address}?q=z"
        while address:
            answer = api.get(address)
            seen, counts = seen + names_in_api(answer), [*counts, answer.json()["count"]]
            address = answer.json()["next"]
        assert (seen, counts) == ("z", [0, 0, 1])


@pytest.mark.parametrize(
    ("query", "number", "said"),
    [
        ("", 0, "0 entries"),
        ("", 1, "1 entry"),
        ("", 3, "3 entries"),
        ("", 5, "5 entries"),
        ("", 6, "More than 5 entries"),
        ("q=api", 2, "2 entries"),
        ("q=api", 3, None),
        ("token_id=00000000-0000-0000-0000-000000000001", 3, None),
        ("date=2020-01-01", 3, "3 entries"),
    ],
)
@pytest.mark.each_database
def test_list_shows_the_number_of_matches_if_it_is_known(reader, auditor, monkeypatch, query, number, said):
    monkeypatch.setattr(logs.TokenUseListView, "page_size", 2)
    monkeypatch.setattr(KeysetTableMixin, "counts_up_to", 5)
    add_uses(auditor, *({} for _ in range(number)))

    assert reader.get(f"{MY_USES}?{query}").context["page"].count == said


@pytest.mark.parametrize("page", ROUTES)
def test_queries_of_a_search_do_not_grow_with_the_rows(reader, auditor, django_assert_max_num_queries, page):
    counts = []
    for number in (2, 18):
        add_uses(auditor, *({} for _ in range(number)))
        add_actions(auditor, *({} for _ in range(number)))
        with django_assert_max_num_queries(9) as captured:
            reader.get(page, {"q": "a"})
        counts.append(len(captured))

    assert counts[0] == counts[1]


# One entry


@pytest.mark.once
def test_page_of_a_use_shows_every_field(reader, auditor):
    token = TokenFactory(owner=auditor, name="nightly")
    add_uses(
        auditor,
        {
            "at": datetime(2026, 5, 3, 14, 5, 6, 40789, tzinfo=UTC),
            "token_id": token.pk,
            "request_id": REQUEST,
            "scope": "api pipeline",
            "status": 401,
            "outcome": "refused",
            "reason": "revoked",
            "target": "/api/v1/<me>",
            "duration_ms": 17,
        },
    )

    for address in (f"{MY_USES}{REQUEST}/", f"{OUR_USES}{REQUEST}/"):
        page = reader.get(address).content.decode()
        for said in (
            "Sunday, 3 May 2026, 14:05:06.040 UTC",
            "2026-05-03T14:05:06.040789+00:00",
            "GET /api/v1/&lt;me&gt;",
            "Status 401, after 17 ms",
            "Token expired early",
            "assume that the token was stolen",
            f'href="/profile/tokens/{token.pk}/"',
            str(token.pk),
            "API Access",
            "Pipeline Access",
            "auditor@acme.example",
            "192.0.2.1",
            "curl/8",
            str(REQUEST),
            f'href="{address.removesuffix(f"{REQUEST}/")}?token_id={token.pk}"',
            f'href="{address.removesuffix(f"{REQUEST}/")}?ip=192.0.2.1"',
        ):
            assert said in page


@pytest.mark.once
def test_every_reason_is_explained():
    assert set(EXPLANATIONS) == set(TokenUse.Reason)
    labels = [outcome_badge(TokenUse(outcome="refused", reason=reason)).label for reason in TokenUse.Reason]
    assert not [label for label in labels if "_" in label]


def refused_for_its_scope(api, person, method, path, **token):
    """The request id of a refused use of a new token of the person."""
    answer = api.generic(method, path, headers=bearer(TokenFactory(owner=person, **token)))
    request_id = answer.headers["X-Request-ID"]
    assert TokenUse.objects.get(request_id=request_id).reason == "insufficient_scope"
    return request_id


def in_form(*scopes):
    """Without the one that is of no use to a User, and without those that another one includes."""
    kept = without_included(BY_ID[scope] for scope in scopes)
    return [scope.id for scope in kept if scope.id != "security-logs"]


@pytest.mark.parametrize(
    ("method", "path", "scope", "needed", "least"),
    [
        ("POST", "/api/v1/pipeline/run", "pipeline-readonly", "API Access, Pipeline Access", "pipeline"),
        ("GET", "/api/v1/me/activity-log", "pipeline", "API Access, API Access (Read Only)", "api-readonly"),
        ("HEAD", "/api/v1/me/activity-log", "pipeline", "API Access, API Access (Read Only)", "api-readonly"),
        ("DELETE", f"/api/v1/pipelines/{TOKEN}", "pipeline", "API Access", "api"),
        (
            "GET",
            f"/api/v1/pipelines/{TOKEN}/access-rules",
            "security-logs",
            "API Access, API Access (Read Only), Pipeline Access, Pipeline Access (Read Only)",
            "pipeline-readonly",
        ),
    ],
)
def test_page_of_a_use_without_the_scope_names_the_scopes_that_are_needed(
    api, client, owner, method, path, scope, needed, least
):
    request_id = refused_for_its_scope(api, owner, method, path, scope=scope, name="nightly")
    client.force_login(owner)

    page = client.get(f"{MY_USES}{request_id}/")

    which = "one of these scopes" if "," in needed else "this scope"
    assert f"The operation needs {which}: {needed}." in page.text
    form = client.get(page.context["form_url"]).context["form"]
    assert (form["scopes"].value(), form["name"].value()) == (
        in_form(scope, least),
        "nightly 2",
    )
    assert f"Create a token with {BY_ID[least].label}" in page.text


def test_form_for_one_scope_more_keeps_the_limits_of_the_token(api, client, member):
    pipeline = PipelineFactory(owner=member)
    limits = {"networks": "127.0.0.0/8 192.0.2.0/24", "max_uses": 5, "is_limited": True}
    request_id = refused_for_its_scope(api, member, "GET", "/api/v1/me/activity-log", scope="pipeline", **limits)
    member.tokens.get().pipeline_links.create(pipeline_id=pipeline.pk)
    client.force_login(member)

    form = client.get(client.get(f"{MY_USES}{request_id}/").context["form_url"]).context["form"]

    kept = {name: form[name].value() for name in ("scopes", "pipelines", "which_pipelines", "networks", "max_uses")}
    assert kept == {
        "scopes": ["api-readonly", "pipeline"],
        "pipelines": [str(pipeline.pk)],
        "which_pipelines": "only",
        "networks": "127.0.0.0/8 192.0.2.0/24",
        "max_uses": "5",
    }


def test_only_the_tokens_owner_gets_a_link_to_the_form(api, client, owner, auditor):
    for person in (owner, auditor):
        request_id = refused_for_its_scope(api, person, "GET", "/api/v1/tokens", scope="pipeline")
        client.force_login(auditor)

        page = client.get(f"{OUR_USES}{request_id}/").text

        assert "The operation needs one of these scopes" in page
        assert ("Create a token with" in page) == (person == auditor)


@pytest.mark.parametrize("allowed", ["pipeline-readonly api", "pipeline-readonly"])
def test_link_names_no_scope_that_the_policy_refuses(api, client, owner, allowed):
    request_id = refused_for_its_scope(api, owner, "POST", "/api/v1/pipeline/run", scope="pipeline-readonly")
    Organization.objects.update(allowed_scopes=allowed)
    client.force_login(owner)

    page = client.get(f"{MY_USES}{request_id}/").text

    assert "The operation needs one of these scopes: API Access, Pipeline Access." in page
    assert ("Create a token with API Access" in page) == ("api" in allowed.split())
    assert "Create a token with Pipeline Access" not in page


def test_guest_gets_no_link_to_a_token_that_could_not_do_it_either(api, client, organization):
    guest = UserFactory(organization=organization, site_role=SiteRole.GUEST)
    request_id = refused_for_its_scope(api, guest, "POST", "/api/v1/pipeline/run", scope="pipeline-readonly")
    client.force_login(guest)

    page = client.get(f"{MY_USES}{request_id}/").text

    assert "Your role Guest can&#x27;t do this with any token. Ask an Administrator." in page
    for advice in ("The operation needs", "create a new one", "Create a token with"):
        assert advice not in page


@pytest.mark.parametrize(
    ("values", "limited", "says"),
    [
        ({"target": "/api/v1/users", "reason": "insufficient_scope"}, False, "Your role User can't"),
        ({"target": "/api/v1/users"}, False, "Your role User can't"),
        ({"target": "/api/v1/tokens", "method": "POST", "reason": "insufficient_scope"}, False, "No token can do this"),
        ({"target": "/api/v1/tokens", "method": "POST"}, False, "No token can do this"),
        ({"target": f"/api/v1/pipelines/{TOKEN}"}, False, "with that object, or the object does not exist."),
        ({"target": f"/api/v1/pipelines/{TOKEN}"}, True, "limited to other pipelines"),
        ({"target": "/api/v1/pipelines", "method": "POST"}, True, "so it can't create one."),
        ({"target": "/api/v1/removed"}, False, "limited to other pipelines"),
    ],
    ids=str,
)
def test_page_of_a_refused_use_says_the_one_cause_that_is_known(client, member, values, limited, says):
    token = TokenFactory(owner=member, is_limited=limited)
    refused = {"request_id": REQUEST, "token_id": token.pk, "outcome": "refused", "reason": "forbidden", "status": 403}
    add_uses(member, refused | {"scope": "pipeline"} | values)
    client.force_login(member)

    page = client.get(f"{MY_USES}{REQUEST}/")

    assert says in page.context["explanation"]
    assert ("limited to other pipelines" in page.context["explanation"]) == (says == "limited to other pipelines")
    assert "create a new one" not in page.text


def test_page_of_a_use_beyond_the_limit_names_the_pipeline_to_those_who_can_see_it(client, member, stranger):
    beyond = PipelineFactory(owner=member, name="Nightly build")
    hidden = PipelineFactory(owner=stranger, name="Secret")
    token = limit_to(TokenFactory(owner=member), PipelineFactory(owner=member))
    client.force_login(member)
    pages = []
    for pipeline, limit in ((beyond, True), (hidden, True), (beyond, False)):
        Token.objects.filter(pk=token.pk).update(is_limited=limit)
        request_id = uuid.uuid4()
        refused = {"token_id": token.pk, "outcome": "refused", "reason": "forbidden", "status": 403, "scope": "api"}
        add_uses(member, refused | {"request_id": request_id, "target": f"/api/v1/pipelines/{pipeline.pk}"})
        pages.append(client.get(f"{MY_USES}{request_id}/"))

    assert pages[0].context["explanation"].endswith("this request was for “Nightly build”.")
    assert "Create a token for Nightly build" in pages[0].text
    form = client.get(pages[0].context["form_url"]).context["form"]
    assert form["pipelines"].value() == [str(beyond.pk)]
    assert "Nightly build" not in pages[2].text
    assert all("Secret" not in page.text and "Create a token for" not in page.text for page in pages[1:])


@pytest.mark.parametrize(
    "values",
    [
        {"target": "/api/v1/removed"},
        {"target": "/profile/"},
        {"target": "/api/v1/tokens", "method": "BREW"},
        {"target": "/api/v1/tokens", "method": "POST"},
        {"target": "/api/v1/me"},
        {"target": "/api/v1/%00%ff/[token]"},
        {"target": "/api/v1/tokens", "scope": "api"},
        {"target": "/api/v1/tokens", "reason": "forbidden"},
    ],
    ids=str,
)
def test_page_of_a_use_names_no_scopes_that_it_does_not_need(client, owner, values):
    refused = {"request_id": REQUEST, "outcome": "refused", "reason": "insufficient_scope", "status": 403}
    add_uses(owner, refused | {"scope": "pipeline"} | values)
    client.force_login(owner)

    page = client.get(f"{MY_USES}{REQUEST}/")

    assert page.status_code == 200
    assert "The operation needs" not in page.text
    assert "Create a token with" not in page.text


def test_conflict_is_no_invalid_request(api, client, owner):
    without_steps = PipelineFactory(owner=owner)
    headers = bearer(TokenFactory(owner=owner))
    api.post("/api/v1/pipeline/run", {"pipelineId": "first"}, headers=headers)
    refused = api.post("/api/v1/pipeline/run", {"pipelineId": str(without_steps.pk)}, headers=headers)
    request_id = refused.headers["X-Request-ID"]
    client.force_login(owner)

    listed = client.get(MY_USES, {"reason": "conflict"})
    exported = client.get(f"{MY_USES}export/", {"reason": "conflict", "format": "jsonl"})
    page = client.get(f"{MY_USES}{request_id}/").text

    assert [str(row.record.request_id) for row in listed.context["table"].rows] == [request_id]
    assert "Refused: conflict" in listed.text
    assert json.loads(exported.getvalue())["reason"] == "conflict"
    assert [entry["status"] for entry in client.get(ROUTES[MY_USES], {"reason": "conflict"}).json()["data"]] == [409]
    assert "Refused: conflict" in page
    assert "The request itself was right" in page


def test_use_and_action_of_one_request_link_to_each_other(api, client, owner, auditor):
    token, other = TokenFactory(owner=owner, name="nightly"), TokenFactory(owner=owner)
    answer = api.post(f"/api/v1/tokens/{other.pk}/expire", headers=bearer(token))
    request_id, did = answer.headers["X-Request-ID"], Activity.objects.get()

    for person, uses, activity in ((owner, MY_USES, MY_ACTIVITY), (auditor, OUR_USES, OUR_ACTIVITY)):
        client.force_login(person)
        assert f'href="{activity}{did.public_id}/"' in client.get(f"{uses}{request_id}/").content.decode()
        page = client.get(f"{activity}{did.public_id}/").content.decode()
        assert f'href="{uses}{request_id}/"' in page
        assert f'href="{uses}?token_id={token.pk}"' in page


def test_page_of_a_use_hides_actions_that_the_reader_may_not_see(client, owner, member):
    add_uses(owner, {"request_id": REQUEST})
    add_actions(member, {"request_id": REQUEST, "target_name": "not for the owner"})
    client.force_login(owner)

    assert "not for the owner" not in client.get(f"{MY_USES}{REQUEST}/").content.decode()


@pytest.mark.once
def test_page_of_an_action_shows_every_field(reader, auditor):
    entry = record(actor=auditor, action=Action.USER_ROLE_CHANGED, target=auditor, before="user", after="auditor")

    for address in (f"{MY_ACTIVITY}{entry.public_id}/", f"{OUR_ACTIVITY}{entry.public_id}/"):
        page = reader.get(address).content.decode()
        for said in (
            "Site role changed",
            "user.role_changed",
            "Before",
            "After",
            str(auditor.pk),
            str(entry.request_id),
        ):
            assert said in page


@pytest.mark.once
def test_page_of_an_action_shows_its_details_in_words(reader, auditor):
    given = {
        "site_role": "user",
        "added": ["a@acme.example", "b@acme.example"],
        "removed": [],
        "message": "",
        "gate": None,
        "taken_back": [0, 12],
        "changes": [{"to": "b", "from": "<a>"}, ["c", 1]],
        "limits": {"scopes": ["api", "pipeline"], "max_days": 3},
        "is_new": False,
    }

    entry = record(actor=auditor, action=Action.GROUP_CHANGED, target=auditor, **given)

    page = reader.get(f"{MY_ACTIVITY}{entry.public_id}/")
    assert sorted(page.context["details"]) == [
        ("Added", "a@acme.example, b@acme.example", []),
        ("Changes", "", ["To: b, From: <a>", "c, 1"]),
        ("Is new", "No", []),
        ("Limits", "", ["Scopes: api, pipeline", "Max days: 3"]),
        ("Site role", "User", []),
        ("Taken back", "0, 12", []),
    ]
    said = page.content.decode()
    assert "<li>To: b, From: &lt;a&gt;</li>" in said
    assert "With token" not in said


@pytest.mark.once
def test_page_of_a_change_shows_both_values_even_if_one_is_empty(reader, auditor):
    given = {"days": {"to": 30, "from": None}, "two_factor_roles": {"from": ["user", "guest"], "to": []}}

    entry = record(actor=auditor, action=Action.POLICY_CHANGED, target=auditor, **given)

    page = reader.get(f"{MY_ACTIVITY}{entry.public_id}/")
    assert page.context["details"] == [
        ("Days", "", ["From: nothing", "To: 30"]),
        ("Two factor roles", "", ["From: User, Guest", "To: nothing"]),
    ]

    moved = {"from": "auditor", "to": "guest"}
    for kind, shown in (
        (Action.USER_ROLE_CHANGED, ["Auditor", "Guest"]),
        (Action.EMAIL_CHANGED, ["auditor", "guest"]),
    ):
        entry = record(actor=auditor, action=kind, target=auditor, **moved)
        details = reader.get(f"{MY_ACTIVITY}{entry.public_id}/").context["details"]
        assert [detail.text for detail in details] == shown


def test_request_id_links_to_all_entries_of_the_request(reader, auditor):
    add_uses(auditor, {"request_id": REQUEST})
    add_actions(auditor, {"request_id": REQUEST})
    done = Activity.objects.get(request_id=REQUEST)

    for log, entry in ((MY_USES, REQUEST), (OUR_USES, REQUEST), (MY_ACTIVITY, done.public_id)):
        assert f'href="{log}?request_id={REQUEST}"' in reader.get(f"{log}{entry}/").content.decode()
    assert "With token" in reader.get(f"{OUR_ACTIVITY}{done.public_id}/").content.decode()


def test_action_on_a_token_links_to_it_only_if_the_reader_may_open_it(client, organization, owner, auditor):
    token = TokenFactory(owner=owner)
    entry = record(actor=owner, action=Action.TOKEN_REVOKED, target=token)
    power_user = UserFactory(organization=organization, site_role=SiteRole.POWER_USER)
    link = f'href="/profile/tokens/{token.pk}/"'

    for reads, opens in ((auditor, True), (power_user, False)):
        client.force_login(reads)
        assert (link in client.get(f"{OUR_ACTIVITY}{entry.public_id}/").content.decode()) is opens


@pytest.mark.once
def test_a_reader_who_may_not_open_the_token_gets_no_link_to_it(client, organization, owner):
    token = TokenFactory(owner=owner)
    add_uses(owner, {"request_id": REQUEST, "token_id": token.pk})
    client.force_login(UserFactory(organization=organization, site_role=SiteRole.POWER_USER))

    page = client.get(f"{OUR_USES}{REQUEST}/")

    assert page.status_code == 200
    assert f"/profile/tokens/{token.pk}/" not in page.content.decode()


def test_entry_of_a_deleted_token_and_owner_has_a_page(reader, auditor):
    add_uses(auditor, {"request_id": REQUEST, "owner_id": uuid.uuid4(), "scope": "gone", "ip": None, "user_agent": ""})

    page = reader.get(f"{OUR_USES}{REQUEST}/").content.decode()

    assert "nightly" in page
    assert "auditor@acme.example" in page


@pytest.mark.once
def test_rows_link_to_their_entry_and_to_filters(reader, auditor):
    add_uses(auditor, {"request_id": REQUEST, "token_id": TOKEN})
    add_actions(auditor, {"token_id": TOKEN})
    entry = Activity.objects.get(token_id=TOKEN)

    uses, actions = reader.get(OUR_USES).content.decode(), reader.get(OUR_ACTIVITY).content.decode()

    for link in (f"{OUR_USES}{REQUEST}/", "?ip=192.0.2.1", f"?token_id={TOKEN}", "?user_email=auditor%40acme.example"):
        assert f'href="{link}"' in uses
    for link in (f"{OUR_ACTIVITY}{entry.public_id}/", "?ip=192.0.2.1", f"?token_id={TOKEN}"):
        assert f'href="{link}"' in actions
    assert f'data-request-id="{REQUEST}"' in uses
    assert f'data-activity="{entry.public_id}"' in actions


@pytest.mark.once
def test_links_of_rows_add_to_the_current_filters(reader, auditor):
    add_uses(auditor, *({"token_id": TOKEN} for _ in range(60)))
    add_actions(auditor, {"token_id": TOKEN})
    cursor = reader.get(OUR_USES).context["page"].next_url.partition("cursor=")[2]
    email = "user_email=auditor%40acme.example"

    uses = reader.get(f"{OUR_USES}?q=api&ip=192.0.2.1&unknown=x&cursor={cursor}").content.decode()
    actions = reader.get(OUR_ACTIVITY, {"q": "night"}).content.decode()

    for link in (f"token_id={TOKEN}", email):
        assert f'href="?q=api&amp;ip=192.0.2.1&amp;{link}"' in uses
    for link in (f"token_id={TOKEN}", email, "ip=192.0.2.1"):
        assert f'href="?q=night&amp;{link}"' in actions


def subclasses(kind):
    return [each for child in kind.__subclasses__() for each in (child, *subclasses(child))]


@pytest.mark.parametrize("table_class", subclasses(LogTable))
@pytest.mark.once
def test_tables_of_logs_cannot_be_sorted(table_class):
    table = table_class([], narrowing={})

    assert not any(column.orderable for column in table.columns)
    assert table.attrs["id"] in {"authentication-log", "activity-log"}
    assert table.empty_text


def test_page_of_a_token_is_the_same_for_people_who_do_not_own_it(client, owner, administrator):
    token = TokenFactory(owner=owner)
    add_uses(owner, {"token_id": token.pk})
    client.force_login(administrator)

    page = client.get(f"/profile/tokens/{token.pk}/").content.decode()

    for said in ('id="authentication-log"', 'aria-label="Authentication log"', f'data-token="{token.pk}"'):
        assert said in page
    assert "sort=" not in page


@pytest.mark.each_database
def test_page_of_a_token_shows_the_number_of_its_uses(client, owner, monkeypatch):
    monkeypatch.setattr(KeysetTableMixin, "counts_up_to", 40)
    token, busy = TokenFactory(owner=owner), TokenFactory(owner=owner)
    add_uses(owner, *({"token_id": token.pk} for _ in range(40)), *({"token_id": busy.pk} for _ in range(41)))
    client.force_login(owner)

    for its, query, said in (
        (token, {}, "40 entries"),
        (busy, {}, "More than 40 entries"),
        (token, {"q": "api"}, None),
        (token, {"outcome": "refused"}, "0 entries"),
    ):
        assert client.get(f"/profile/tokens/{its.pk}/", query).context["page"].count == said


@pytest.mark.once
def test_export_of_a_token_ignores_the_same_parameters_as_its_table(client, owner):
    token = TokenFactory(owner=owner)
    add_uses(owner, {"token_id": token.pk, "scope": "api"}, {"token_id": TOKEN})
    client.force_login(owner)

    answer = client.get(f"/profile/tokens/{token.pk}/", {"scope": "pipeline", "token_id": str(TOKEN), "page": "2"})

    url = answer.context["files"][0]["url"]
    assert url == f"{MY_USES}export/?token_id={token.pk}&format=csv"
    assert b"".join(client.get(url).streaming_content).count(b"\r\n") == 2


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.once
def test_page_of_a_token_links_to_its_entries_and_their_export(client, owner, administrator, own):
    token = TokenFactory(owner=owner)
    add_uses(owner, {"request_id": REQUEST, "token_id": token.pk, "target": "a"}, {"target": "b"})
    client.force_login(owner if own else administrator)
    base = MY_USES if own else OUR_USES

    answer = client.get(f"/profile/tokens/{token.pk}/", {"outcome": "allowed"})

    assert names(answer) == "a"
    assert f'href="{base}{REQUEST}/"' in answer.content.decode()
    url = answer.context["files"][0]["url"]
    assert url == f"{base}export/?outcome=allowed&token_id={token.pk}&format=csv"
    assert b"".join(client.get(url).streaming_content).count(b"\r\n") == 2


@pytest.mark.parametrize("route", ROUTES.values())
def test_single_entry_is_the_same_as_in_the_list(api, auditor, route):
    add_uses(auditor, {})
    add_actions(auditor, {})
    api.force_login(auditor)

    row = api.get(route).json()["data"][0]

    # The name of an address is looked up for one entry only.
    expected = row | {"host_name": "" if row["ip"] else None}
    assert api.get(f"{route}/{row['id']}").json() == expected
    unknown = api.get(f"{route}/{uuid.uuid4()}")
    assert (unknown.status_code, unknown.json()["code"]) == (403, "forbidden")


@pytest.mark.each_database
def test_times_and_days_are_those_of_the_reader(reader, auditor):
    """A use at 22:30 UTC in summer is on the next day in Berlin, on the page and in the export of the page."""
    auditor.time_zone = "Europe/Berlin"
    auditor.save()
    at = datetime(2026, 7, 1, 22, 30, 5, tzinfo=UTC)
    add_uses(auditor, {"at": at})

    page = reader.get(MY_USES, {"date": "2026-07-02", "date_to": "2026-07-02"}).content.decode()
    day_before = reader.get(MY_USES, {"date": "2026-07-01", "date_to": "2026-07-01"})

    assert "Used on (Europe/Berlin)" in page
    assert re.search(r"Times are in Europe/Berlin \(now UTC\+[12]\)\.", page)
    assert 'href="/profile/preferences/"' in page
    utc = ' <span class="moment-offset">UTC+2 · </span>2026-07-01 22:30:05 UTC'
    assert f'>2026-07-02 00:30:05<span class="moment-exact">{utc}</span></time>' in page
    assert 'title="2026-07-02 00:30:05 UTC+2\n2026-07-01 22:30:05 UTC\n' in page
    assert ">2026-07-02" not in day_before.content.decode()
    assert reader.get(ROUTES[MY_USES], {"date": "2026-07-02", "date_to": "2026-07-02"}).json()["data"] == []


def test_rare_filters_are_behind_a_switch_that_counts_those_in_use(reader):
    page = reader.get(OUR_USES, {"reason": "expired", "ip": "192.0.2.0/24"})

    listed = page.context["filter"]
    assert [field.name for field in listed.usual_fields] == ["q", "since_at", "before_at", "outcome", "user_email"]
    assert listed.more_count == 2
    assert "date" not in [field.name for field in listed.more_fields]
    assert "date" in [
        field.name for field in reader.get(OUR_USES, {"date": "2026-05-02"}).context["filter"].more_fields
    ]
    content = page.content.decode()
    assert "More filters (2)" in " ".join(content.split())
    assert '<details class="more-filters"' in content
    assert "More filters (" not in " ".join(reader.get(OUR_USES).content.decode().split())


def test_rare_filter_with_an_error_is_shown(reader):
    content = " ".join(reader.get(OUR_USES, {"ip": "x"}).content.decode().split())

    assert '<details class="more-filters" open>' in content


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL knows how many entries a token has")
def test_entries_of_a_token_are_found_by_its_index_whatever_the_statistics_say(auditor, reader):
    """In a log of 20 million entries, SQLite took the index of the organization for better, and read for 13 seconds:
    ``ANALYZE`` had read entries of a small organization and of a busy token."""
    add_uses(auditor, *[{"token_id": TOKEN}] * 3)
    sql("ANALYZE")
    sql("UPDATE sqlite_stat1 SET stat = '20000000 1' WHERE tbl = 'auditlog_tokenuse'")
    sql("UPDATE sqlite_stat1 SET stat = '20000000 4000 1 1' WHERE idx = 'tokenuse_token_newest'")
    sql("UPDATE sqlite_stat1 SET stat = '20000000 400 1 1' WHERE idx = 'tokenuse_org_newest'")
    sql("ANALYZE sqlite_schema")

    with CaptureQueriesContext(connection) as queries:
        page = reader.get(OUR_USES, {"token_id": str(TOKEN)})

    assert len(page.context["table"].rows) == 3
    [query] = [
        query["sql"] for query in queries if 'organization_id" = ' in query["sql"] and "LIMIT 51" in query["sql"]
    ]
    with connection.cursor() as cursor:
        plan = str(cursor.execute(f"EXPLAIN QUERY PLAN {query}").fetchall())
    assert "tokenuse_token_newest" in plan


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
@pytest.mark.each_database
def test_log_with_times_at_the_ends_of_the_calendar_opens(reader, auditor, zone):
    auditor.time_zone = zone
    auditor.save()
    add_uses(auditor, {"at": datetime(1, 1, 1, tzinfo=UTC)}, {"at": datetime(9999, 12, 31, 23, 59, tzinfo=UTC)})

    assert len(reader.get(OUR_USES).context["table"].rows) == 2
