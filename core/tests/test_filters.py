"""Query parameters of lists: the API refuses wrong ones, and the schema describes each filter."""

import ipaddress
import re
from datetime import UTC, datetime
from html import unescape

import pytest
from django.core.exceptions import ValidationError

from accounts.tests.factories import GroupFactory
from auditlog.filters import OrganizationTokenUseFilter
from core.api.filtering import ADDRESS_OR_NETWORK, StrictFilterBackend
from core.filters import AddressField, MomentField
from core.reading import reading_as
from tokens.leaks import finding
from tokens.tests.factories import TokenFactory, bearer

USERS = "/api/v1/users"


@pytest.fixture
def get(api, administrator):
    api.force_login(administrator)
    return api.get


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("state=", "state"),
        ("state=sleeping", "state"),
        ("group=", "group"),
        ("group=1", "group"),
        ("group=018f0000-0000-7000-8000-000000000000", "group"),
        ("sate=active", "sate"),
        ("state=active&state=active", "state"),
        ("page_size=0", "page_size"),
        ("cursor=x", "cursor"),
    ],
)
def test_error_names_the_wrong_parameter(get, query, field):
    answer = get(f"{USERS}?{query}")

    assert answer.status_code == 400
    assert answer.json()["errors"].keys() == {field}


def test_group_filter_accepts_only_the_canonical_form_of_an_id(get, administrator):
    group = GroupFactory(organization=administrator.organization)

    assert get(f"{USERS}?group={group.pk}").status_code == 200
    assert get(f"{USERS}?group={{{group.pk}}}").status_code == 400
    assert get(f"{USERS}?group={group.pk.hex}").status_code == 400


@pytest.mark.parametrize(
    "value",
    [
        "192.0.2.0/33",
        "192.0.2.0/",
        "/24",
        "/",
        "192.0.2.0/24/8",
        "192.0.2/24",
        "2001:db8::/129",
        "192.0.2.0/-1",
        "٣.0.2.0/24",
        "1\x00/8",
        "0/0" * 20,
        "192.0.2.0-192.0.2.9",
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/me/authentication-log", "/api/v1/me/activity-log"])
def test_neither_an_address_nor_a_network_is_refused(get, path, value):
    answer = get(path, {"ip": value})

    assert answer.status_code == 400
    assert answer.json()["errors"].keys() == {"ip"}


@pytest.mark.parametrize(
    ("text", "is_described"),
    [
        ("192.0.2.0/24", True),
        ("255.255.255.255/32", True),
        ("2001:db8::/32", True),
        ("1:2:3:4:5:6:7::/128", True),
        ("256.0.2.0/24", False),
        ("192.0.2.0/33", False),
        ("2001:db8::/129", False),
        ("::", False),
    ],
)
def test_schema_describes_only_networks_that_are_accepted(text, is_described):
    patterns = [one["pattern"] for one in ADDRESS_OR_NETWORK if "pattern" in one]

    assert any(re.search(pattern, text) for pattern in patterns) == is_described
    if is_described:
        assert ipaddress.ip_network(AddressField().clean(text)) == ipaddress.ip_network(text)


def test_empty_search_finds_everything(get):
    assert get(f"{USERS}?q=").json() == get(USERS).json()


@pytest.mark.parametrize("times", [1, 2])
def test_error_does_not_repeat_a_token_that_was_sent_as_a_parameter(get, administrator, times):
    token = bearer(TokenFactory(owner=administrator))["Authorization"].removeprefix("Bearer ")

    answer = get(f"{USERS}?{'&'.join([f'{token}=1'] * times)}")

    assert answer.json()["errors"].keys() == {"[token]"}


def test_schema_describes_each_kind_of_filter():
    class View:
        filterset_class = OrganizationTokenUseFilter

    described = {one["name"]: one for one in StrictFilterBackend().get_schema_operation_parameters(View())}

    assert described["date"]["schema"] == {"type": "string", "format": "date"}
    assert described["token_id"]["schema"] == {"type": "string", "format": "uuid"}
    assert described["outcome"]["schema"]["enum"] == ["allowed", "refused"]
    assert described["user_email"]["schema"]["maxLength"] == 254
    assert "minLength" not in described["q"]["schema"]
    assert "the last 7 days" in described["date"]["description"]
    assert described["ip"]["description"]


# Search fields

TOKEN = finding.example()
SEARCHES = {
    "/profile/tokens/": "q",
    "/organization/tokens/": "owner",
    "/organization/access-review/": "owner",
    "/organization/users/": "q",
    "/organization/groups/": "q",
    "/pipelines/": "q",
    "/profile/authentication-log/": "q",
    "/organization/activity-log/": "user_email",
    "/organization/authentication-log/": "token_id",
}


@pytest.mark.parametrize("page", SEARCHES)
def test_list_leaves_out_a_search_for_a_token(client, administrator, page):
    client.force_login(administrator)
    name = SEARCHES[page]

    answer = client.get(page, {name: f"Bearer {TOKEN[:60]}", "sort": "name"}, follow=True)

    assert answer.redirect_chain == [(f"{page}?sort=name", 302)]
    html = answer.content.decode()
    assert "You searched for a token, so the search was left out." in html
    assert TOKEN[:60] not in html
    assert client.get(page, {name: TOKEN}).headers["Location"] == page


@pytest.mark.parametrize(
    "path", ["/api/v1/tokens", "/api/v1/organization/tokens", "/api/v1/users", "/api/v1/me/authentication-log"]
)
@pytest.mark.parametrize("text", [TOKEN[:11], TOKEN[:100], TOKEN, f'"{TOKEN}"'])
def test_api_refuses_to_search_for_a_token(get, path, text):
    answer = get(path, {"q": text})

    assert answer.status_code == 400
    assert answer.json()["errors"] == {"q": ["This looks like a token. Look it up instead of searching for it."]}


@pytest.mark.parametrize(
    "text", ["eyJ", "eyjafjallajökull", "Key Jar", "eyJ 12345678", "MonkeyJumpServer", "keyJhbGci"]
)
def test_words_that_begin_like_a_token_are_searched_for(get, text):
    assert get("/api/v1/tokens", {"q": text}).status_code == 200


@pytest.mark.parametrize(("text", "is_sent"), [("nightly", True), ("eyJ", True), (f"Bearer {TOKEN[:40]}", False)])
def test_browser_does_not_send_a_token(client, administrator, text, is_sent):
    client.force_login(administrator)
    [field] = re.findall(r'<input [^>]*name="q"[^>]*>', client.get("/profile/tokens/").content.decode())

    assert bool(re.fullmatch(unescape(re.search(r'pattern="(.*?)"', field)[1]), text)) is is_sent
    assert "Found a leaked token?" in re.search(r'title="(.*?)"', field)[1]


@pytest.mark.parametrize(
    ("zone", "text", "moment"),
    [
        ("Asia/Kolkata", "2026-05-03T14:05", datetime(2026, 5, 3, 8, 35, tzinfo=UTC)),
        ("Asia/Kolkata", "2026-05-03T14:05:10.5Z", datetime(2026, 5, 3, 14, 5, 10, 500_000, tzinfo=UTC)),
        ("Asia/Kolkata", "2026-05-03T14:05-07:00", datetime(2026, 5, 3, 21, 5, tzinfo=UTC)),
        # Twice on this day.
        ("Europe/Berlin", "2026-10-25T02:30", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        # UTC has no earlier and no later moment.
        ("Asia/Kolkata", "0001-01-01T00:00", datetime(1, 1, 1, tzinfo=UTC)),
        ("UTC", "9999-12-31T23:59-12:00", datetime(9999, 12, 31, 23, 59, tzinfo=UTC)),
    ],
)
def test_moment_without_an_offset_is_in_the_time_zone_of_the_reader(zone, text, moment):
    with reading_as("en", zone):
        assert MomentField().clean(text) == moment


@pytest.mark.parametrize(
    "text", ["2026-05-03", "2026-05-03 14:05", "20260503T1405", "2026-13-03T14:05", "0000-01-01T00:00", "x"]
)
def test_moment_in_another_form_is_refused(text):
    with pytest.raises(ValidationError):
        MomentField().clean(text)


def test_moment_is_shown_in_the_time_zone_of_the_reader():
    field = MomentField()
    with reading_as("en", "Asia/Kolkata"):
        assert field.prepare_value("2026-05-03T00:00Z") == "2026-05-03T05:30"
        assert field.words("2026-05-03T00:00:07Z") == "2026-05-03 05:30:07"
        assert field.prepare_value("yesterday") == "yesterday"
        assert field.prepare_value(None) is None
