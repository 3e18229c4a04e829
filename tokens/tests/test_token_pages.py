"""The tokens page, a token's page and the organization's tokens."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
import time_machine
from django.test import RequestFactory
from django.urls import reverse
from django.utils import timezone

from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory
from accounts.tests.factors import signed_in_just_now
from auditlog.tests.test_logs import use
from core.api.operations import tag_of
from opsera_portal.tests.naughty import NAUGHTY_STRINGS
from pipelines.tests.factories import PipelineFactory
from tokens.allowed_operations import TITLES, open_to_tokens
from tokens.forms import TokenForm
from tokens.lifetimes import now_in_seconds
from tokens.models import Token
from tokens.tests.factories import TokenFactory, bearer
from tokens.views.my_tokens import TokenListView

PAGE = "/profile/tokens/"
FORM = {"name": "nightly build", "scopes": ["pipeline"], "lifetime": "1w", "expires_at": ""}


@pytest.fixture
def signed_in(client, owner):
    client.force_login(owner)
    return client


def text(answer):
    return answer.content.decode()


def test_form_creates_a_token_and_redirects_to_the_reveal_page(signed_in, owner):
    # The form reads the clock before the service does.
    with time_machine.travel(timezone.now(), tick=False):
        answer = signed_in.post(PAGE, FORM)

    token = Token.objects.get()
    assert (token.owner, token.name, token.scope, token.lifetime) == (
        owner,
        "nightly build",
        "pipeline",
        timedelta(days=7),
    )
    assert answer.url == reverse("tokens:token_reveal", args=[token.pk])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": ""}, "Enter a name."),
        ({"name": "   "}, "Enter a name."),
        ({"name": "x" * 51}, "at most 50"),
        ({"name": "<script>alert(1)</script>"}, "letters, digits"),
        ({"name": "a\x00b"}, "Null characters"),
        ({"scopes": []}, "at least one scope"),
        ({"scopes": ["registry"]}, "not one of the available choices"),
        ({"lifetime": ""}, "when the token expires"),
        ({"lifetime": "99y"}, "not one of the available choices"),
        ({"lifetime": "custom"}, "Choose the date"),
        ({"lifetime": "custom", "expires_at": "yesterday"}, "Enter a date"),
        ({"lifetime": "custom", "expires_at": "2001-01-01"}, "in the future"),
        ({"lifetime": "custom", "expires_at": "2999-01-01"}, "92 days at most"),
    ],
)
def test_wrong_field_says_what_to_do_and_the_form_keeps_its_values(signed_in, change, says):
    answer = signed_in.post(PAGE, FORM | change)

    assert answer.status_code == 400
    assert says in text(answer)
    assert not Token.objects.exists()
    if change.get("name", "nightly build").startswith("nightly"):
        assert 'value="nightly build"' in text(answer)


def test_name_in_use_is_an_error_beside_the_name(signed_in, owner):
    TokenFactory(owner=owner, name="Nightly Build")

    answer = signed_in.post(PAGE, FORM)

    assert answer.status_code == 400
    assert "has this name already" in text(answer)


def test_preset_over_the_maximum_is_refused_with_the_limit(signed_in, owner):
    owner.organization.max_token_lifetime_days = 20
    owner.organization.save()

    assert "20 days at most" in text(signed_in.post(PAGE, FORM | {"lifetime": "1mo"}))


def test_custom_date_lasts_until_the_end_of_that_day(signed_in):
    day = (timezone.now() + timedelta(days=10)).date()
    signed_in.post(PAGE, FORM | {"lifetime": "custom", "expires_at": day.isoformat()})

    assert Token.objects.get().expires_at.isoformat() == f"{day}T23:59:59+00:00"


def test_naughty_strings_are_refused_or_stored_as_they_are(owner):
    for name in NAUGHTY_STRINGS:
        form = TokenForm(FORM | {"name": name}, owner=owner)
        if form.is_valid():
            assert set(form.cleaned_data["name"]).isdisjoint('<>&"/\\@#%{}()\x00\n\t'), name
        else:
            assert form.errors["name"], name


def test_naughty_strings_do_not_break_the_page(signed_in):
    for name in NAUGHTY_STRINGS[::25]:
        answer = signed_in.post(PAGE, FORM | {"name": name})
        assert answer.status_code in {302, 400}, name
        assert name not in text(answer) or "<" not in name
        assert signed_in.get(PAGE, {"q": name}).status_code == 200, name


def test_form_says_that_pipelines_are_chosen_apart_from_scopes(signed_in):
    hint = re.search(r'<p class="hint" id="id_pipelines_hint">(.*?)</p>', text(signed_in.get(PAGE)), re.DOTALL)[1]

    assert "For scopes that concern pipelines. You can't change this later." in hint


def test_table_shows_each_tokens_state_in_words(signed_in, owner):
    now = timezone.now().replace(microsecond=0)
    TokenFactory(owner=owner, name="alive")
    TokenFactory(owner=owner, name="ending", created_at=now - timedelta(days=28))
    TokenFactory(owner=owner, name="over", created_at=now - timedelta(days=40))
    TokenFactory(owner=owner, name="lost", revoked_at=now)
    TokenFactory(owner=owner, name="unseen", revealed_at=None)
    TokenFactory(owner=owner, name="too long", expires_at=now + timedelta(days=120))

    page = text(signed_in.get(PAGE))

    for words in ("Active", "Expires soon", "Expired", "Expired early", "Not revealed", "Blocked by policy"):
        assert words in page
    assert 'data-row="ends-soon"' in page
    assert 'data-row="ended"' in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["build", "deploy", "gone"]),
        ({"q": "BUI"}, ["build"]),
        ({"state": "active"}, ["build", "deploy"]),
        ({"state": "revoked"}, ["gone"]),
        ({"state": "expired"}, []),
        ({"scope": "pipeline"}, ["deploy"]),
        ({"scope": "api", "state": "active"}, ["build"]),
    ],
    ids=str,
)
def test_search_and_filters_find_the_right_tokens(signed_in, api, owner, query, found):
    """The page and the API find the same rows."""
    TokenFactory(owner=owner, name="build", scope="api")
    TokenFactory(owner=owner, name="deploy", scope="pipeline pipeline-readonly")
    TokenFactory(owner=owner, name="gone", scope="api-readonly", revoked_at=timezone.now())

    rows = signed_in.get(PAGE, query).context["table"].rows
    api.force_login(owner)
    data = api.get("/api/v1/tokens", query).json()["data"]

    assert sorted(row.record.name for row in rows) == found
    assert sorted(row["name"] for row in data) == found


@pytest.mark.parametrize(
    "query",
    [
        "page=0",
        "page=-1",
        "page=abc",
        "page=99999999999999999999",
        "per_page=0",
        "per_page=-5",
        "per_page=x",
        "sort=nothing",
        "sort=-state",
        "sort=owner__password",
        "state=nonsense",
        "q=%00",
        "scope=%F0%9F%8E%89",
    ],
)
def test_strange_parameters_do_not_break_the_page(signed_in, owner, query):
    TokenFactory.create_batch(3, owner=owner)

    assert signed_in.get(f"{PAGE}?{query}").status_code == 200


@pytest.mark.parametrize("path", [PAGE, "/organization/tokens/"])
def test_queries_do_not_grow_with_the_rows(client, administrator, organization, django_assert_max_num_queries, path):
    client.force_login(administrator)
    counts = []
    for number in (2, 18):
        TokenFactory.create_batch(number, owner=administrator)
        with django_assert_max_num_queries(12) as captured:
            client.get(path)
        counts.append(len(captured))

    assert counts[0] == counts[1]


def test_organizations_table_shows_all_of_its_tokens_and_no_others(client, administrator, owner, stranger):
    TokenFactory(owner=owner, name="ours")
    TokenFactory(owner=stranger, name="theirs")
    client.force_login(administrator)

    page = text(client.get("/organization/tokens/"))

    assert "ours" in page
    assert owner.email in page
    assert "theirs" not in page


def test_list_has_one_column_with_a_time_and_shows_scopes_one_by_one(signed_in, owner):
    token = TokenFactory(owner=owner, scope="pipeline security-logs")

    page = signed_in.get(PAGE)

    assert [column.name for column in page.context["table"].columns] == [
        "name",
        "scope",
        "last_used_at",
        "state",
        "expire",
    ]
    for label in ("Pipeline Access", "Security Logs (Read Only)"):
        assert f'<span class="tag">{label}</span>' in text(page)
    assert f'id="token-{token.pk}"' in text(page)


@pytest.mark.parametrize("path", [PAGE, "/organization/tokens/"])
@pytest.mark.parametrize("sort", ["created_at", "-created_at", "expires_at", "-expires_at", "name", "-last_used_at"])
def test_list_can_be_sorted_by_times_that_have_no_column(client, administrator, path, sort):
    now = now_in_seconds()
    for days in (3, 1, 2):
        TokenFactory(
            owner=administrator,
            name=f"day {days}",
            created_at=now - timedelta(days=days),
            expires_at=now + timedelta(days=10 - days),
            last_used_at=now - timedelta(hours=days),
        )
    client.force_login(administrator)

    page = client.get(path, {"sort": sort})

    field = sort.removeprefix("-")
    values = [getattr(row.record, field) for row in page.context["table"].rows]
    assert values == sorted(values, reverse=sort.startswith("-"))
    assert f'<option value="{sort}" selected>' in text(page)


def test_list_is_sorted_by_the_newest_first_if_nothing_else_is_chosen(signed_in):
    assert '<option value="-created_at" selected>Newest first</option>' in text(signed_in.get(PAGE))


def test_empty_list_leads_to_the_name_in_the_form(signed_in):
    assert '<a href="#id_name">Create one with the form above.</a>' in text(signed_in.get(PAGE))


def test_preset_for_one_pipeline_is_offered_to_people_who_can_run_one(client, organization, owner):
    guest = UserFactory(organization=organization, site_role=SiteRole.GUEST)
    PipelineFactory(owner=owner)

    for person, is_offered in ((owner, True), (guest, False)):
        client.force_login(person)
        page = client.get(PAGE)
        assert ('id="run-one"' in text(page)) is page.context["can_run_one"] is is_offered


def test_preset_fills_in_the_form_for_chosen_pipelines(signed_in, owner):
    PipelineFactory(owner=owner)
    address = unescape(re.search(r'href="([^"]+)"\s+id="run-one"', text(signed_in.get(PAGE)))[1])

    form = signed_in.get(address).context["form"]

    assert (form["scopes"].value(), form["which_pipelines"].value()) == (["pipeline"], "only")
    assert address.endswith("#id_pipelines")


def test_links_of_the_list_lead_back_to_the_list(signed_in, owner):
    """The form is above the list, so a page that starts at its top would hide the list."""
    TokenFactory.create_batch(60, owner=owner)

    page = text(signed_in.get(PAGE, {"sort": "name", "state": "active"}))

    sort_links = re.findall(r'class="sort-link"\s+href="([^"]+)"', page)
    assert sort_links
    assert all(link.endswith("#tokens-heading") for link in sort_links)
    assert re.search(r'rel="next"\s+href="[^"]*state=active[^"]*#tokens-heading"', page)
    assert 'action="#tokens-heading"' in page


def test_auditor_sees_no_expire_button(client, organization, owner):
    token = TokenFactory(owner=owner)
    client.force_login(UserFactory(organization=organization, site_role=SiteRole.AUDITOR))

    assert f'data-expire="{token.pk}"' not in text(client.get("/organization/tokens/"))


def test_token_page_shows_what_the_token_can_do_now(signed_in, owner):
    token = TokenFactory(owner=owner, scope="pipeline-readonly")

    page = signed_in.get(f"{PAGE}{token.pk}/")

    can = [row["label"] for row in page.context["can_do"]]
    cannot = {row["label"]: row["why_not"] for row in page.context["cannot_do"]}
    assert "List pipelines" in can
    assert cannot["Run a pipeline"] == "No scope of the token allows it."
    assert "Create a token" not in {*can, *cannot}
    assert f"{len(can)} of {len(can) + len(cannot)} <" in " ".join(page.content.decode().split())
    assert f'href="/profile/authentication-log/?token_id={token.pk}"' in text(page)
    assert text(page).index('id="operations"') < text(page).index('id="closed"') < text(page).index('id="log-heading"')


def test_token_page_groups_what_the_token_can_do_and_folds_many(signed_in, owner):
    few, many = (
        " ".join(text(signed_in.get(f"{PAGE}{TokenFactory(owner=owner, scope=scope).pk}/")).split())
        for scope in ("pipeline-readonly", "api")
    )

    assert re.search(r'<h3>Pipelines: \d+</h3> <ul class="operation-list"', few)
    assert "<summary>Pipelines: " not in few
    assert re.search(r'<details class="operation-group"> <summary>Pipelines: \d\d</summary>', many)
    assert many.index("<summary>Pipelines: ") < many.index("<summary>Access tokens: ")


def test_each_operation_that_is_open_to_tokens_has_a_title():
    assert {tag_of(route.path) for route in open_to_tokens()} <= TITLES.keys()


def test_token_page_says_that_the_role_does_not_allow_an_operation(client, organization):
    guest = UserFactory(organization=organization, site_role=SiteRole.GUEST)
    client.force_login(guest)

    page = client.get(f"{PAGE}{TokenFactory(owner=guest, scope='pipeline').pk}/")

    cannot = {row["label"]: row["why_not"] for row in page.context["cannot_do"]}
    assert cannot["Run a pipeline"] == "The owner's site role doesn't allow it."


def test_expired_token_can_do_nothing(signed_in, owner):
    token = TokenFactory(owner=owner, created_at=now_in_seconds() - timedelta(days=60))

    page = signed_in.get(f"{PAGE}{token.pk}/")

    assert page.context["can_do"] == []
    assert "The token is not active." in {row["why_not"] for row in page.context["cannot_do"]}


def test_token_page_leads_to_a_form_for_another_like_it(signed_in, client, owner):
    week = now_in_seconds() + timedelta(weeks=1)
    token = TokenFactory(owner=owner, name="nightly", scope="api-readonly pipeline", expires_at=week)

    form = signed_in.get(signed_in.get(f"{PAGE}{token.pk}/").context["similar_url"]).context["form"]

    assert form["name"].value() == "nightly 2"
    assert form["scopes"].value() == ["api-readonly", "pipeline"]
    assert form["lifetime"].value() == "1w"


def test_token_page_shows_only_the_tokens_log(signed_in, api, owner):
    token, other = TokenFactory(owner=owner), TokenFactory(owner=owner)
    api.get("/api/v1/me", headers=bearer(token))
    api.get("/api/v1/nothing", headers=bearer(other))

    page = signed_in.get(f"{PAGE}{token.pk}/")

    assert [row.record.target for row in page.context["table"].rows] == ["/api/v1/me"]


def test_token_page_shows_uses_per_day_and_addresses(signed_in, owner):
    now = timezone.now()
    token = TokenFactory(owner=owner, created_at=now.replace(microsecond=0) - timedelta(days=20))
    use(token, now - timedelta(days=15), ip="192.0.2.1")
    use(token, now - timedelta(days=2), ip="192.0.2.1")
    use(token, now - timedelta(days=1), ip="198.51.100.7", status=403, code="forbidden")
    use(TokenFactory(owner=owner), now, ip="203.0.113.9")

    answer = signed_in.get(f"{PAGE}{token.pk}/")

    assert sum(day.total for day in answer.context["days"]) == 3
    assert [(row.ip, row.total, row.refused, row.is_new) for row in answer.context["addresses"]] == [
        ("198.51.100.7", 1, 1, True),
        ("192.0.2.1", 2, 0, False),
    ]
    assert text(answer).count("New address") == 1
    assert "If you don't recognize a new address, expire the token." in text(answer)
    assert "203.0.113.9" not in text(answer)
    assert "still in use" not in text(answer)


def test_token_page_lists_the_most_recent_addresses(signed_in, owner):
    token = TokenFactory(owner=owner)
    for number in range(25):
        use(token, timezone.now() - timedelta(minutes=number), ip=f"192.0.2.{number}")

    answer = signed_in.get(f"{PAGE}{token.pk}/")

    assert [row.ip for row in answer.context["addresses"]] == [f"192.0.2.{number}" for number in range(20)]
    assert "And 5 more" in text(answer)


def test_token_page_warns_if_an_expired_token_is_still_used(client, signed_in, owner, administrator, member):
    token = TokenFactory(owner=owner, revoked_at=timezone.now() - timedelta(days=1))
    use(token, timezone.now() - timedelta(days=31), status=401, code="revoked")
    use(token, timezone.now() - timedelta(days=1), status=403, code="forbidden")
    use(token, ip="192.0.2.99", status=401, code="revoked")

    for reader, log in ((owner, "/profile/authentication-log/"), (administrator, "/organization/authentication-log/")):
        client.force_login(reader)
        answer = client.get(f"{PAGE}{token.pk}/")
        assert (answer.context["after_end"].count, answer.context["after_end"].last.ip) == (1, "192.0.2.99")
        assert "This token has expired and is still in use" in text(answer)
        link = re.search(rf'href="({log}\?token_id={token.pk}&amp;after_end=true[^"]*)"', text(answer))[1]
        assert len(client.get(unescape(link)).context["table"].rows) == answer.context["after_end"].count
        assert "expire the token" not in text(answer)
    client.force_login(member)
    assert client.get(f"{PAGE}{token.pk}/").status_code == 404


@pytest.mark.parametrize("program", ["curl/8", ""])
def test_first_and_last_use_are_not_said_with_the_same_words(signed_in, owner, program):
    token = TokenFactory(owner=owner, revoked_at=timezone.now() - timedelta(days=9))
    use(token, timezone.now() - timedelta(seconds=3), status=401, code="revoked", user_agent=program)

    once = unescape(re.sub(r"<[^>]*>", "", text(signed_in.get(f"{PAGE}{token.pk}/"))))
    use(token, timezone.now() - timedelta(days=4), status=401, code="revoked", user_agent=program)
    twice = unescape(re.sub(r"<[^>]*>", "", text(signed_in.get(f"{PAGE}{token.pk}/"))))

    assert "Used 1 time since it expired, in the last 30 days: last just now" in once
    assert "Used 2 times since it expired, in the last 30 days: first 4 days ago" in twice


def test_confirmation_says_how_often_the_token_was_used_recently(signed_in, owner):
    token = TokenFactory(owner=owner)
    for days in (0, 3, 6, 8):
        use(token, timezone.now() - timedelta(days=days))

    assert signed_in.get(f"{PAGE}{token.pk}/expire/").context["uses_lately"] == 3


def test_organizations_list_starts_with_expired_tokens_that_are_still_used(client, administrator, owner, stranger):
    token = TokenFactory(owner=owner, name="left behind", revoked_at=timezone.now() - timedelta(hours=1))
    for its in (token, TokenFactory(owner=stranger, name="elsewhere", revoked_at=timezone.now() - timedelta(hours=1))):
        use(its, status=401, code="revoked")
    client.force_login(administrator)

    answer = client.get("/organization/tokens/")

    assert [found.last.token_id for found in answer.context["ended_in_use"]] == [token.pk]
    assert f"of {owner.email}" in text(answer)
    assert "elsewhere" not in text(answer)


@pytest.mark.parametrize("path", ["/organization/tokens/", "{page}"])
def test_queries_do_not_grow_with_the_uses(client, administrator, django_assert_max_num_queries, path):
    tokens = TokenFactory.create_batch(6, owner=administrator, revoked_at=timezone.now(), revoked_by=administrator)
    client.force_login(administrator)
    counts = []
    for number in range(2):
        for token in tokens:
            use(token, ip=f"192.0.2.{number}", status=401, code="revoked")
        with django_assert_max_num_queries(12) as captured:
            client.get(path.format(page=f"{PAGE}{tokens[0].pk}/"))
        counts.append(len(captured))

    assert counts[0] == counts[1]


def test_end_that_passes_before_creation_is_an_error_beside_its_field(owner):
    """Time passes between the form's check and the service's."""
    start = datetime(2026, 11, 23, 12, 0, 0, 900_000, tzinfo=UTC)
    with time_machine.travel(start, tick=False) as clock:
        form = TokenForm(FORM | {"lifetime": "custom", "expires_at": "2026-11-23T12:00:01Z"}, owner=owner)
        assert form.is_valid()
        clock.shift(1)
        request = signed_in_just_now(RequestFactory().post(PAGE), owner)
        view = TokenListView()
        view.setup(request)

        assert view._issue(form) is None

    assert form.errors["expires_at"] == ["Choose a time in the future."]
    assert not Token.objects.exists()


def test_each_lifetime_shows_when_the_token_would_expire(signed_in):
    with time_machine.travel(datetime(2026, 1, 31, 12, 30, tzinfo=UTC), tick=False):
        answer = signed_in.get(PAGE)

    shown = {choice["id"]: choice["ends_at"] for choice in answer.context["lifetime_choices"]}
    assert shown["1mo"] == datetime(2026, 2, 28, 12, 30, tzinfo=UTC)
    assert shown["custom"] is None
    for end in ("1 February 2026, 12:30 UTC", "7 February 2026, 12:30 UTC", "28 February 2026, 12:30 UTC"):
        assert end in text(answer)


def test_lifetimes_over_the_maximum_are_not_shown(signed_in, owner):
    owner.organization.max_token_lifetime_days = 20
    owner.organization.save()

    answer = signed_in.get(PAGE)

    assert [choice["id"] for choice in answer.context["lifetime_choices"]] == ["1d", "1w", "custom"]
    assert [choice["id"] for choice in answer.context["lifetime_choices"] if choice["checked"]] == ["1w"]
    assert "Your organization allows 20 days at most." in text(answer)


def test_my_tokens_can_be_filtered_by_their_end_on_the_page_and_in_the_api(signed_in, api, owner):
    soon, later = (
        TokenFactory(owner=owner, name=name, expires_at=now_in_seconds() + timedelta(days=days))
        for name, days in (("soon", 5), ("later", 50))
    )

    page = signed_in.get(PAGE, {"ends_within": "7"})
    api.force_login(owner)

    assert [row.record for row in page.context["table"].rows] == [soon]
    within_90_days = api.get("/api/v1/tokens", {"ends_within": "90"}).json()["data"]
    assert {row["name"] for row in within_90_days} == {later.name, soon.name}
    assert api.get("/api/v1/tokens", {"ends_within": "8"}).status_code == 400


@pytest.mark.parametrize(("zone", "found"), [("UTC", ["last second"]), ("America/New_York", ["last second", "next"])])
def test_my_tokens_that_end_this_month_are_found_by_the_readers_month(signed_in, api, owner, zone, found):
    owner.time_zone = zone
    owner.save()
    ends = {"last second": (2026, 11, 30, 23, 59, 59), "next": (2026, 12, 1, 4, 59, 59), "later": (2026, 12, 1, 5)}
    with time_machine.travel(datetime(2026, 11, 20, tzinfo=UTC)):
        for name, end in ends.items():
            TokenFactory(owner=owner, name=name, expires_at=datetime(*end, tzinfo=UTC))
        page = signed_in.get(PAGE, {"ends_within": "month"})
        api.force_login(owner)
        in_utc = api.get("/api/v1/tokens", {"ends_within": "month"}).json()["data"]

    assert sorted(row.record.name for row in page.context["table"].rows) == found
    assert [row["name"] for row in in_utc] == ["last second"]


def test_empty_list_says_whether_a_filter_is_the_reason(signed_in):
    assert "No token matches." in text(signed_in.get(PAGE, {"ends_within": "month"}))
    assert "Create one with the form above" in text(signed_in.get(PAGE, {"ends_within": ""}))


# Where the pages of one token belong


def current(page):
    """The links that are marked as current, and the link back."""
    # The bar has its links twice: one of the two is hidden.
    shown = re.sub(r'<nav class="main-navigation is-below".*?</nav>', "", page, flags=re.DOTALL)
    marked = re.findall(r'<a href="([^"]*)"\s+aria-current="[a-z]+">', shown)
    return marked, re.search(r'class="back-link"\s+href="([^"]*)"', page)[1]


@pytest.mark.parametrize("role", [SiteRole.ADMINISTRATOR, SiteRole.SECURITY_MANAGER, SiteRole.AUDITOR])
def test_page_of_another_persons_token_is_among_the_pages_of_the_organization(client, organization, owner, role):
    client.force_login(UserFactory(organization=organization, site_role=role))

    page = text(client.get(f"{PAGE}{TokenFactory(owner=owner).pk}/"))

    # The link in the header, the tab and the page among its pages.
    users, tokens = "/organization/users/", "/organization/tokens/"
    assert current(page) == ([users, tokens, tokens], tokens)


def test_page_of_ones_own_token_is_among_the_pages_of_the_profile(client, administrator):
    client.force_login(administrator)

    page = text(client.get(f"{PAGE}{TokenFactory(owner=administrator).pk}/"))

    assert current(page) == ([PAGE, PAGE], PAGE)


def test_pages_of_another_persons_token_lead_back_to_the_organizations_list(client, administrator, owner):
    client.force_login(administrator)
    token = TokenFactory(owner=owner)

    for page in ("reveal/", "expire/"):
        answer = text(client.get(f"{PAGE}{token.pk}/{page}"))
        assert current(answer)[1] == "/organization/tokens/"
        assert "← The organization&#x27;s tokens" in answer
        assert "Create a new token" not in answer


@pytest.mark.parametrize("ended_by_the_portal", [True, False])
def test_reason_that_the_portal_gave_is_marked_as_english(signed_in, owner, administrator, ended_by_the_portal):
    """Screen readers pronounce it so. A person's own reason is in any language."""
    reason = "Not used for 90 days."
    by = None if ended_by_the_portal else administrator
    token = TokenFactory(owner=owner, revoked_at=timezone.now(), revoked_by=by, revoke_reason=reason)

    page = text(signed_in.get(reverse("tokens:token_detail", args=[token.pk])))

    assert bool(re.search(rf'<p class="timeline-note"\s+lang="en">{reason}', page)) == ended_by_the_portal
    assert reason in page


def test_timeline_is_in_the_order_of_time(client, owner):
    now = timezone.now()
    token = TokenFactory(owner=owner, created_at=now - timedelta(days=9), expires_at=now - timedelta(days=2))
    Token.objects.filter(pk=token.pk).update(last_used_at=now - timedelta(days=1))
    client.force_login(owner)

    events = client.get(reverse("tokens:token_detail", args=[token.pk])).context["timeline"]

    assert [event["label"] for event in events] == ["Created", "Shown to its owner", "Expired", "Last used"]
