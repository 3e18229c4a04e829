"""The policy in the API."""

import pytest

from accounts.models import Organization
from auditlog.models import Activity, TokenUse
from tokens.tests.factories import TokenFactory, bearer

ROUTE = "/api/v1/organization/policy"
PREVIEW = "/api/v1/organization/policy/preview"
SCOPES = ["api", "api-readonly", "pipeline", "pipeline-readonly", "security-logs", "tokens:rotate"]
NEW = {
    "max_token_lifetime_days": 92,
    "allowed_scopes": SCOPES,
    "max_live_tokens": 50,
    "unused_tokens_end_after_days": None,
    "max_replacement_overlap_hours": 168,
    "token_networks": [],
    "approval_scopes": [],
    "approval_lifetime_days": None,
    "approval_for_service_accounts": False,
    "two_factor_roles": [],
    "sign_in_networks": [],
    "sign_in_network_roles": [],
    "max_service_token_lifetime_days": 92,
    "service_token_creators": "responsible",
    "orphaned_service_tokens_end_after_days": None,
    "log_retention_days": 400,
}
NO_RULE = {"lifetime": 0, "service_lifetime": 0, "scope": 0, "unused": 0, "orphaned": 0, "two_factor": 0}
NOTHING = {
    "blocked_tokens": 0,
    "blocked_people": 0,
    "by_rule": NO_RULE,
    "owners": [],
    "unblocked_tokens": 0,
    "unused_soon": 0,
    "people_to_set_up_two_factor": 0,
    "people_above_max_live_tokens": 0,
    "tokens_used_outside": 0,
    "people_signed_in_outside": 0,
}


@pytest.fixture
def session(api, administrator):
    api.force_login(administrator)
    return api


def policy():
    return Organization.objects.get(slug="acme").policy


def test_policy_is_read_with_its_version(session, organization):
    assert session.get(ROUTE).json() == NEW | {"version": organization.policy_version}


def test_old_sign_in_cannot_change_the_policy(session):
    with_past = session.session
    with_past["account_authentication_methods"] = [{"method": "password", "at": 0}]
    with_past.save()

    answer = session.patch(ROUTE, {"max_live_tokens": 7})

    assert (answer.status_code, answer.json()["code"]) == (403, "reauthentication_required")
    assert policy() == NEW


def test_change_answers_with_the_policy_and_the_effect(session, owner):
    TokenFactory(owner=owner, scope="pipeline")

    answer = session.patch(ROUTE, {"allowed_scopes": ["pipeline-readonly", "api"], "unused_tokens_end_after_days": 30})

    assert answer.status_code == 200
    body = answer.json()
    effect = body.pop("effect")
    changed = {"allowed_scopes": ["api", "pipeline-readonly"], "unused_tokens_end_after_days": 30}
    assert body == NEW | changed | {"version": Organization.objects.get(slug="acme").policy_version}
    assert policy() == NEW | changed
    assert effect == NOTHING | {
        "blocked_tokens": 1,
        "blocked_people": 1,
        "by_rule": NO_RULE | {"scope": 1},
        "owners": [{"email": owner.email, "name": owner.name, "tokens": 1}],
    }


def test_preview_says_what_a_change_would_do_and_changes_nothing(session, owner, organization):
    TokenFactory(owner=owner)
    change = {"max_token_lifetime_days": 7, "two_factor_roles": ["user"]}

    preview = session.post(PREVIEW, change).json()

    assert policy() == NEW
    assert not Activity.objects.filter(type="policy").exists()
    assert preview["version"] == organization.policy_version
    assert preview["effect"]["blocked_tokens"] == 1
    assert session.patch(ROUTE, change).json()["effect"] == preview["effect"]


def test_omitted_fields_stay_as_they_are(session):
    session.patch(ROUTE, {"max_live_tokens": 7})
    session.patch(ROUTE, {"max_token_lifetime_days": 30})

    assert policy() == NEW | {"max_live_tokens": 7, "max_token_lifetime_days": 30}


def test_null_lets_unused_tokens_work(session):
    session.patch(ROUTE, {"unused_tokens_end_after_days": 30})

    assert session.patch(ROUTE, {"unused_tokens_end_after_days": None}).status_code == 200
    assert policy() == NEW


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "non_field_errors"),
        ({"version": "x"}, "non_field_errors"),
        ({"max_token_lifetime_days": 0}, "max_token_lifetime_days"),
        ({"max_token_lifetime_days": 367}, "max_token_lifetime_days"),
        ({"max_token_lifetime_days": None}, "max_token_lifetime_days"),
        ({"max_token_lifetime_days": True}, "max_token_lifetime_days"),
        ({"allowed_scopes": []}, "allowed_scopes"),
        ({"allowed_scopes": ["everything"]}, "allowed_scopes.0"),
        ({"allowed_scopes": "api"}, "allowed_scopes"),
        ({"allowed_scopes": ["api", "api"]}, "allowed_scopes"),
        ({"max_live_tokens": "7"}, "max_live_tokens"),
        ({"max_live_tokens": 1001}, "max_live_tokens"),
        ({"unused_tokens_end_after_days": 0}, "unused_tokens_end_after_days"),
        ({"two_factor_roles": ["king"]}, "two_factor_roles.0"),
        ({"max_replacement_overlap_hours": 169}, "max_replacement_overlap_hours"),
        ({"log_retention_days": 29}, "log_retention_days"),
        ({"name": "Mine"}, "name"),
        ({"max_live_tokens": 7, "version": 3}, "version"),
    ],
)
@pytest.mark.parametrize(("method", "route"), [("patch", ROUTE), ("post", PREVIEW)])
def test_wrong_field_is_named_and_nothing_is_changed(session, method, route, body, field):
    answer = getattr(session, method)(route, body)

    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == [field]
    assert policy() == NEW


@pytest.mark.parametrize(("method", "route"), [("patch", ROUTE), ("post", PREVIEW)])
def test_change_of_an_outdated_version_is_a_conflict(session, method, route):
    version = session.get(ROUTE).json()["version"]
    session.patch(ROUTE, {"max_live_tokens": 7, "version": version})

    answer = getattr(session, method)(route, {"max_token_lifetime_days": 30, "version": version})

    assert (answer.status_code, answer.json()["code"]) == (409, "policy_changed")
    assert policy() == NEW | {"max_live_tokens": 7}


@pytest.mark.parametrize(("method", "route"), [("patch", ROUTE), ("post", PREVIEW)])
def test_requiring_two_factor_of_ones_own_role_needs_two_factor(session, method, route):
    answer = getattr(session, method)(route, {"two_factor_roles": ["administrator"]})

    assert (answer.status_code, answer.json()["code"]) == (409, "two_factor_first")
    assert policy() == NEW


def test_token_cannot_change_the_policy(api, administrator):
    headers = bearer(TokenFactory(owner=administrator, scope="api"))

    answer = api.patch(ROUTE, {"max_token_lifetime_days": 366}, headers=headers)

    assert answer.status_code == 403
    assert "Tokens can't do this" in answer.json()["detail"]
    assert policy() == NEW
    assert TokenUse.objects.get().outcome == "refused"


def test_read_only_token_can_preview_a_change(api, administrator):
    headers = bearer(TokenFactory(owner=administrator, scope="api-readonly"))

    answer = api.post(PREVIEW, {"allowed_scopes": ["api"]}, headers=headers)

    assert answer.json()["effect"]["blocked_tokens"] == 1


def test_another_organizations_policy_is_neither_read_nor_changed(api, stranger, organization):
    api.force_login(stranger)
    api.patch(ROUTE, {"max_live_tokens": 7})

    assert api.get(ROUTE).json()["max_live_tokens"] == 7
    assert policy() == NEW
