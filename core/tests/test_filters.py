"""Query parameters of lists: the API refuses wrong ones, and the schema describes each filter."""

import pytest

from accounts.tests.factories import GroupFactory
from auditlog.filters import OrganizationTokenUseFilter
from core.api.filtering import StrictFilterBackend
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
