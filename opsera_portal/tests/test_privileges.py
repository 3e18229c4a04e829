"""Only a session with a recent proof of identity can add accounts, roles and ways to sign in.

The tables specify the routes and pages that do so. Every route, page and address of Django admin is
tried with a token and in a session whose last proof is 26 minutes old.
"""

import json
import re
from datetime import timedelta
from html import unescape
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.test import Client, RequestFactory
from django.urls import include, path, reverse
from django.utils import timezone
from drf_spectacular.generators import SchemaGenerator

from accounts import services
from accounts.forms import PolicyForm
from accounts.models import Organization, OrganizationProvider, User
from accounts.privileges import Privilege, require_proof
from accounts.roles import SiteRole
from accounts.security import credentials, sessions
from accounts.tests.factories import PASSWORD, GroupFactory, OperatorFactory, ServiceAccountFactory, UserFactory
from accounts.tests.factors import add_app, code_of
from auditlog.models import Activity
from core.api.operations import Operation, routes
from core.api.problems import ClosedToTokens, ReauthenticationRequired
from core.api.scopes import API
from opsera_portal.tests import test_access
from opsera_portal.tests.test_access import address_of, as_template, body_for, cells, fill, things_of
from opsera_portal.tests.ways_in import nothing_was_given_since, snapshot
from opsera_portal.tests.worlds import check_row
from pipelines.tests.factories import AccessRuleFactory, PipelineFactory, RunFactory, StepFactory
from tokens.policy.preview import review_policy
from tokens.review.models import ReviewCampaign
from tokens.tests.factories import ApprovalRequestFactory, TokenFactory, bearer

LATER = timedelta(minutes=26)
ASKS = re.compile(r"/login/(two-factor/|passkey/)?again/\?next=")

# Operations of the API that no token can do and that need a recent proof of identity.
ROUTES = {
    "POST /users": Privilege.INVITE,
    "POST /users/{id}/invitation": Privilege.INVITE_AGAIN,
    "POST /users/{id}/erase": Privilege.ERASE_PERSON,
    "POST /users/{id}/two-factor/reset": Privilege.RESET_TWO_FACTOR,
    "PATCH /organization/policy": Privilege.CHANGE_POLICY,
    "PATCH /organization/single-sign-on": Privilege.CHANGE_SINGLE_SIGN_ON,
    "DELETE /organization/single-sign-on": Privilege.REMOVE_SINGLE_SIGN_ON,
    "POST /trust-rules": Privilege.CHANGE_TRUST_RULES,
    "PATCH /trust-rules/{id}": Privilege.CHANGE_TRUST_RULES,
    "DELETE /trust-rules/{id}": Privilege.CHANGE_TRUST_RULES,
    "POST /services": Privilege.CHANGE_SERVICES,
    "PATCH /services/{id}": Privilege.CHANGE_SERVICES,
    "DELETE /services/{id}": Privilege.CHANGE_SERVICES,
    "PUT /services/{id}/access-rules": Privilege.CHANGE_SERVICES,
    "POST /services/{id}/secrets": Privilege.CHANGE_SERVICES,
    "DELETE /services/{id}/secrets/{id}": Privilege.CHANGE_SERVICES,
    "POST /webhooks": Privilege.CHANGE_WEBHOOKS,
    "PATCH /webhooks/{id}": Privilege.CHANGE_WEBHOOKS,
    "DELETE /webhooks/{id}": Privilege.CHANGE_WEBHOOKS,
    "POST /webhooks/{id}/secret": Privilege.CHANGE_WEBHOOKS,
    "POST /review-campaigns": Privilege.CHANGE_REVIEW_CAMPAIGNS,
    "POST /review-campaigns/{id}/cancel": Privilege.CHANGE_REVIEW_CAMPAIGNS,
    "POST /tokens": Privilege.CREATE_TOKEN,
    "POST /approvals/{id}/approve": Privilege.DECIDE_APPROVAL,
    "POST /approvals/{id}/reject": Privilege.DECIDE_APPROVAL,
    "POST /tokens/{id}/replace": Privilege.REPLACE_TOKEN,
    "POST /service-accounts": Privilege.CREATE_SERVICE_ACCOUNT,
    "PATCH /service-accounts/{id}": Privilege.CHANGE_SERVICE_ACCOUNT,
    "POST /service-accounts/{id}/activate": Privilege.ACTIVATE_SERVICE_ACCOUNT,
    "POST /service-accounts/{id}/tokens": Privilege.CREATE_TOKEN,
    "POST /me/sessions/{id}/end": Privilege.END_SESSION,
    "POST /me/sessions/end-all": Privilege.END_ALL_SESSIONS,
}
# Routes where a token can only do this.
LESS_BY_TOKEN = {"PATCH /users/{id}": "Deactivate a person"}

# Pages that need a recent proof of identity: their privilege, and the page to continue from (`.` is the page itself).
PERSON = "/organization/users/{user}/"
ACCOUNTS = "/organization/service-accounts/"
SECURITY = "/profile/security/"
SINGLE_SIGN_ON = "/organization/single-sign-on/"
SERVICE = "/organization/services/{service}/"
WEBHOOK = "/organization/webhooks/{webhook}/"
APPROVAL = "/organization/approvals/{approval}/"
CAMPAIGNS = "/organization/review-campaigns/"
PAGES_THAT_ASK = {
    f"GET {CAMPAIGNS}new/": (Privilege.CHANGE_REVIEW_CAMPAIGNS, "."),
    f"POST {CAMPAIGNS}new/": (Privilege.CHANGE_REVIEW_CAMPAIGNS, "."),
    f"GET {CAMPAIGNS}{{campaign}}/cancel/": (Privilege.CHANGE_REVIEW_CAMPAIGNS, "."),
    f"POST {CAMPAIGNS}{{campaign}}/cancel/": (Privilege.CHANGE_REVIEW_CAMPAIGNS, "."),
    "GET /organization/trust/new/": (Privilege.CHANGE_TRUST_RULES, "."),
    "POST /organization/trust/new/": (Privilege.CHANGE_TRUST_RULES, "."),
    "GET /organization/trust/{trust_rule}/": (Privilege.CHANGE_TRUST_RULES, "."),
    "POST /organization/trust/{trust_rule}/": (Privilege.CHANGE_TRUST_RULES, "."),
    "GET /organization/trust/{trust_rule}/delete/": (Privilege.CHANGE_TRUST_RULES, "."),
    "POST /organization/trust/{trust_rule}/delete/": (Privilege.CHANGE_TRUST_RULES, "."),
    "GET /organization/services/new/": (Privilege.CHANGE_SERVICES, "."),
    "POST /organization/services/new/": (Privilege.CHANGE_SERVICES, "."),
    f"GET {SERVICE}edit/": (Privilege.CHANGE_SERVICES, "."),
    f"POST {SERVICE}edit/": (Privilege.CHANGE_SERVICES, "."),
    f"GET {SERVICE}access/": (Privilege.CHANGE_SERVICES, "."),
    f"POST {SERVICE}access/": (Privilege.CHANGE_SERVICES, "."),
    f"GET {SERVICE}test/": (Privilege.CREATE_TOKEN, "."),
    f"POST {SERVICE}test/": (Privilege.CREATE_TOKEN, "."),
    f"GET {SERVICE}switch-off/": (Privilege.CHANGE_SERVICES, "."),
    f"POST {SERVICE}switch-off/": (Privilege.CHANGE_SERVICES, "."),
    f"GET {SERVICE}switch-on/": (Privilege.CHANGE_SERVICES, "."),
    f"POST {SERVICE}switch-on/": (Privilege.CHANGE_SERVICES, "."),
    f"GET {SERVICE}delete/": (Privilege.CHANGE_SERVICES, "."),
    f"POST {SERVICE}delete/": (Privilege.CHANGE_SERVICES, "."),
    f"GET {SERVICE}secret/": (Privilege.CHANGE_SERVICES, "."),
    f"POST {SERVICE}secret/": (Privilege.CHANGE_SERVICES, "."),
    f"GET {SERVICE}secrets/{{secret}}/end/": (Privilege.CHANGE_SERVICES, "."),
    f"POST {SERVICE}secrets/{{secret}}/end/": (Privilege.CHANGE_SERVICES, "."),
    f"POST {SERVICE}access/{{service_rule}}/remove/": (Privilege.CHANGE_SERVICES, f"{SERVICE}access/"),
    "GET /organization/webhooks/new/": (Privilege.CHANGE_WEBHOOKS, "."),
    "POST /organization/webhooks/new/": (Privilege.CHANGE_WEBHOOKS, "."),
    f"GET {WEBHOOK}edit/": (Privilege.CHANGE_WEBHOOKS, "."),
    f"POST {WEBHOOK}edit/": (Privilege.CHANGE_WEBHOOKS, "."),
    f"GET {WEBHOOK}secret/": (Privilege.CHANGE_WEBHOOKS, "."),
    f"POST {WEBHOOK}secret/": (Privilege.CHANGE_WEBHOOKS, "."),
    f"GET {WEBHOOK}delete/": (Privilege.CHANGE_WEBHOOKS, "."),
    f"POST {WEBHOOK}delete/": (Privilege.CHANGE_WEBHOOKS, "."),
    f"POST {WEBHOOK}pause/": (Privilege.CHANGE_WEBHOOKS, WEBHOOK),
    f"POST {WEBHOOK}resume/": (Privilege.CHANGE_WEBHOOKS, WEBHOOK),
    "GET /organization/users/invite/": (Privilege.INVITE, "."),
    "POST /organization/users/invite/": (Privilege.INVITE, "."),
    f"POST {PERSON}role/": (Privilege.CHANGE_ROLE, PERSON),
    f"POST {PERSON}activate/": (Privilege.ACTIVATE, PERSON),
    f"POST {PERSON}invitation/": (Privilege.INVITE_AGAIN, PERSON),
    f"GET {PERSON}erase/": (Privilege.ERASE_PERSON, "."),
    f"POST {PERSON}erase/": (Privilege.ERASE_PERSON, "."),
    f"GET {PERSON}two-factor/reset/": (Privilege.RESET_TWO_FACTOR, "."),
    f"POST {PERSON}two-factor/reset/": (Privilege.RESET_TWO_FACTOR, "."),
    "POST /organization/policy/": (Privilege.CHANGE_POLICY, "/organization/policy/"),
    "POST /organization/policy/save/": (Privilege.CHANGE_POLICY, "/organization/policy/"),
    f"GET {ACCOUNTS}new/": (Privilege.CREATE_SERVICE_ACCOUNT, "."),
    f"POST {ACCOUNTS}new/": (Privilege.CREATE_SERVICE_ACCOUNT, "."),
    f"GET {ACCOUNTS}{{account}}/edit/": (Privilege.CHANGE_SERVICE_ACCOUNT, "."),
    f"POST {ACCOUNTS}{{account}}/edit/": (Privilege.CHANGE_SERVICE_ACCOUNT, "."),
    f"POST {ACCOUNTS}{{account}}/activate/": (Privilege.ACTIVATE_SERVICE_ACCOUNT, f"{ACCOUNTS}{{account}}/"),
    f"POST {ACCOUNTS}{{account}}/tokens/": (Privilege.CREATE_TOKEN, "."),
    f"GET {SINGLE_SIGN_ON}": (Privilege.CHANGE_SINGLE_SIGN_ON, "."),
    f"POST {SINGLE_SIGN_ON}": (Privilege.CHANGE_SINGLE_SIGN_ON, "."),
    f"POST {SINGLE_SIGN_ON}try/": (Privilege.CHANGE_SINGLE_SIGN_ON, SINGLE_SIGN_ON),
    f"GET {SINGLE_SIGN_ON}remove/": (Privilege.REMOVE_SINGLE_SIGN_ON, "."),
    f"POST {SINGLE_SIGN_ON}remove/": (Privilege.REMOVE_SINGLE_SIGN_ON, "."),
    "POST /profile/tokens/": (Privilege.CREATE_TOKEN, "."),
    "GET /profile/tokens/{token}/replace/": (Privilege.REPLACE_TOKEN, "."),
    "POST /profile/tokens/{token}/replace/": (Privilege.REPLACE_TOKEN, "."),
    f"POST {APPROVAL}approve/": (Privilege.DECIDE_APPROVAL, APPROVAL),
    f"POST {APPROVAL}reject/": (Privilege.DECIDE_APPROVAL, APPROVAL),
    f"GET {SECURITY}email/": (Privilege.CHANGE_OWN_EMAIL, "."),
    f"POST {SECURITY}email/": (Privilege.CHANGE_OWN_EMAIL, "."),
    # Only for people with two-factor: the form asks everyone for the current password.
    f"GET {SECURITY}password/": (Privilege.CHANGE_OWN_PASSWORD, "."),
    f"POST {SECURITY}password/": (Privilege.CHANGE_OWN_PASSWORD, "."),
    f"GET {SECURITY}password/set/": (Privilege.CHANGE_OWN_PASSWORD, "."),
    f"POST {SECURITY}password/set/": (Privilege.CHANGE_OWN_PASSWORD, "."),
    f"GET {SECURITY}two-factor/app/add/": (Privilege.CHANGE_OWN_TWO_FACTOR, "."),
    f"POST {SECURITY}two-factor/app/add/": (Privilege.CHANGE_OWN_TWO_FACTOR, "."),
    f"GET {SECURITY}two-factor/app/remove/": (Privilege.CHANGE_OWN_TWO_FACTOR, "."),
    f"POST {SECURITY}two-factor/app/remove/": (Privilege.CHANGE_OWN_TWO_FACTOR, "."),
    f"GET {SECURITY}passkeys/add/": (Privilege.CHANGE_OWN_TWO_FACTOR, "."),
    f"POST {SECURITY}passkeys/add/": (Privilege.CHANGE_OWN_TWO_FACTOR, "."),
    f"GET {SECURITY}passkeys/{{passkey}}/rename/": (Privilege.CHANGE_OWN_TWO_FACTOR, "."),
    f"POST {SECURITY}passkeys/{{passkey}}/rename/": (Privilege.CHANGE_OWN_TWO_FACTOR, "."),
    f"GET {SECURITY}passkeys/{{passkey}}/remove/": (Privilege.CHANGE_OWN_TWO_FACTOR, "."),
    f"POST {SECURITY}passkeys/{{passkey}}/remove/": (Privilege.CHANGE_OWN_TWO_FACTOR, "."),
    f"GET {SECURITY}recovery-codes/": (Privilege.CHANGE_OWN_TWO_FACTOR, "."),
    f"GET {SECURITY}recovery-codes/replace/": (Privilege.CHANGE_OWN_TWO_FACTOR, "."),
    f"POST {SECURITY}recovery-codes/replace/": (Privilege.CHANGE_OWN_TWO_FACTOR, "."),
    f"POST {SECURITY}single-sign-on/": (Privilege.DISCONNECT_SINGLE_SIGN_ON, "."),
    f"POST {SECURITY}sessions/{{session}}/end/": (Privilege.END_SESSION, f"{SECURITY}sessions/"),
    f"POST {SECURITY}sessions/end-all/": (Privilege.END_ALL_SESSIONS, f"{SECURITY}sessions/"),
}
# Privileges that Django admin uses, by model.
IN_ADMIN = {
    User: {Privilege.EDIT_PERSON, Privilege.CHANGE_ROLE, Privilege.ACTIVATE},
    Organization: {Privilege.CREATE_ORGANIZATION, Privilege.CHANGE_POLICY},
    OrganizationProvider: {Privilege.REMOVE_SINGLE_SIGN_ON},
}

INACTIVE = "inactive@acme.example"

TRUST_RULE = {
    "name": "Shop",
    "issuer": "https://id.example.com",
    "audience": "https://portal.example.com/acme",
    "claims": "sub = build",
    "account": "{account}",
    "scopes": ["pipeline"],
    "lifetime_minutes": "15",
}
# Valid forms of pages. All other pages get an empty form.
FORMS = {
    f"{CAMPAIGNS}new/": {"answer_days": "14"},
    "/organization/trust/new/": TRUST_RULE,
    "/organization/trust/{trust_rule}/": TRUST_RULE,
    "/organization/services/new/": {"name": "Registry", "slug": "registry", "check_by": "introspection"},
    "/organization/services/{service}/edit/": {"name": "Registry", "check_by": "introspection"},
    "/organization/services/{service}/access/": {"who": INACTIVE},
    "/organization/services/{service}/secret/": {"overlap_hours": "1"},
    "/organization/services/{service}/test/": {"method": "GET", "path": "/"},
    "/organization/webhooks/new/": {"url": "https://hooks.example.com/", "events": ["leaked"]},
    "/organization/webhooks/{webhook}/edit/": {"url": "https://hooks.example.com/", "events": ["leaked"]},
    "/organization/users/invite/": {"email": "new@acme.example", "name": "Nova New", "site_role": "administrator"},
    f"{PERSON}role/": {"site_role": "administrator"},
    f"{ACCOUNTS}new/": {"name": "CI", "site_role": "guest", "responsible": "admin@acme.example"},
    f"{ACCOUNTS}{{account}}/edit/": {"name": "CI", "site_role": "guest", "responsible": "admin@acme.example"},
    f"{ACCOUNTS}{{account}}/tokens/": {"name": "by the page", "scopes": ["api"], "lifetime": "1w", "expires_at": ""},
    SINGLE_SIGN_ON: {
        **test_access.PROVIDER,
        "default_role": "guest",
        "people_per_hour": 5,
    },
    f"{PERSON}erase/": {"confirm": INACTIVE},
    "/profile/tokens/": {"name": "by the page", "scopes": ["api"], "lifetime": "1w", "expires_at": ""},
    f"{APPROVAL}reject/": {"reason": "by the page"},
    "/profile/tokens/{token}/replace/": {"overlap_hours": "24"},
    f"{SECURITY}email/": {"email": "new@acme.example"},
    f"{SECURITY}password/": {
        "oldpassword": PASSWORD,
        "password1": "a new long secret",
        "password2": "a new long secret",
    },
    f"{SECURITY}password/set/": {"password1": "a new long secret", "password2": "a new long secret"},
}
POLICY = {
    "max_token_lifetime_days": "366",
    "allowed_scopes": ["api"],
    "max_live_tokens": "1000",
    "unused_tokens_end_after_days": "",
    "max_service_token_lifetime_days": "92",
    "service_token_creators": "responsible",
    "orphaned_service_tokens_end_after_days": "",
    "max_replacement_overlap_hours": "24",
    "log_retention_days": "30",
}


def names(address):
    return re.sub(r"\{(?!text)\w+\}", "{id}", address)


@pytest.fixture
def ada(administrator):
    """An Administrator whose organization has another one, so that they are not the last."""
    UserFactory(organization=administrator.organization, site_role=SiteRole.ADMINISTRATOR)
    return administrator


@pytest.fixture
def things(ada):
    pipeline = PipelineFactory(owner=ada, run_count=1)
    StepFactory(pipeline=pipeline)
    RunFactory(pipeline=pipeline, number=1)
    ruled = PipelineFactory(owner=ada)
    request = ApprovalRequestFactory(token__owner=UserFactory(organization=ada.organization))
    rule = AccessRuleFactory(pipeline=ruled, user=ada)
    return things_of(ada, pipeline) | {"ruled": ruled, "rule": rule, "approval": request}


@pytest.fixture
def things_for(things, organization):
    """Returns the things for an address, with a person for whom its action is possible."""
    inactive = UserFactory(organization=organization, is_active=False, email=INACTIVE)
    inactive_account = ServiceAccountFactory(organization=organization, is_active=False)

    def find(address):
        if "/activate" in address or "/erase" in address:
            return things | {"user": inactive, "account": inactive_account}
        return things | {"user": things["invited"]} if "/invitation" in address else things

    return find


def make_room_for(address):
    """An organization has at most one review campaign that is not finished."""
    if address in {"/review-campaigns", f"{CAMPAIGNS}new/"}:
        ReviewCampaign.objects.update(ended_at=timezone.now())


def later():
    return time_machine.travel(timezone.now() + LATER, tick=False)


# The lists


def test_api_uses_exactly_these_privileges():
    found = {f"{route.method} {names(as_template(route.path.removeprefix('/api/v1')))}": route for route in routes()}

    assert {name: route.operation.label for name, route in found.items() if route.operation.asks_again} == {
        name: privilege.value for name, privilege in ROUTES.items()
    }
    assert {
        name: route.operation.limited_to for name, route in found.items() if route.operation.limited_to
    } == LESS_BY_TOKEN


def test_every_privilege_is_used_on_a_page_or_in_the_admin():
    used = {privilege for privilege, _ in PAGES_THAT_ASK.values()}.union(*IN_ADMIN.values())

    assert used == set(Privilege)


def test_admin_uses_these_privileges():
    asking = {model: set(getattr(site, "privileges", ())) for model, site in admin.site._registry.items()}

    assert {model: privileges for model, privileges in asking.items() if privileges} == IN_ADMIN


def test_privileged_operation_cannot_be_allowed_by_a_scope():
    for opened in ({"scopes": (API,)}, {"any_token": True}, {"is_public": True}):
        with pytest.raises(ValueError, match="it can't have scopes"):
            Operation("Invite someone", prove=lambda request: None, **opened)


# The API

BODIES = {
    "/review-campaigns": {"answer_days": 14},
    "/users": {"email": "new@acme.example", "name": "Nova New", "site_role": "administrator"},
    "/users/{user}": {"site_role": "administrator", "is_active": True},
    "/service-accounts/{account}": {"site_role": "power_user"},
    "/users/{user}/erase": {"confirm": INACTIVE},
    "/organization/policy": {"max_live_tokens": 1000, "max_token_lifetime_days": 366},
}
EVERY_CLOSED_ROUTE = pytest.mark.parametrize(
    ("method", "address"), sorted(name.split(" ") for name in {*ROUTES, *LESS_BY_TOKEN})
)
EVERY_ROUTE = sorted({(method, address) for method, address, _, _ in cells(test_access.ROUTES)})


def send(client, method, address, things, headers=None):
    data = "" if method == "GET" else json.dumps(BODIES.get(address) or body_for(address, things, method))
    place = address_of(address, things)
    return client.generic(method, place, data, content_type="application/json", headers=headers)


def test_no_route_gives_access_to_a_token_of_an_administrator(api, ada, things_for):
    headers = bearer(TokenFactory(owner=ada, scope="api"))
    before = snapshot()

    def attempt(route):
        method, address = route.split(" ")
        things = things_for(address)
        answer = send(api, method, address, things, headers)

        if not nothing_was_given_since(before):
            return "gave a way in"
        if f"{method} {names(address)}" not in {*ROUTES, *LESS_BY_TOKEN}:
            return "gave no way in"
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert "tokens can't do this" in answer.json()["detail"].lower()
        return "is closed to tokens"

    check_row(
        "with a token",
        {
            f"{method} {address}": (
                "is closed to tokens" if f"{method} {names(address)}" in {*ROUTES, *LESS_BY_TOKEN} else "gave no way in"
            )
            for method, address in EVERY_ROUTE
        },
        attempt,
    )


def test_no_route_gives_access_to_a_session_with_an_old_proof(api, ada, things_for):
    api.force_login(ada)
    before = snapshot()

    def attempt(route):
        method, address = route.split(" ")
        things = things_for(address)
        answer = send(api, method, address, things)

        if not nothing_was_given_since(before):
            return "gave a way in"
        code = answer.json().get("code") if answer.status_code == 403 else ""
        return "asks again" if code == "reauthentication_required" else "gave no way in"

    with later():
        check_row(
            "with an old proof",
            {
                f"{method} {address}": (
                    "asks again" if f"{method} {names(address)}" in {*ROUTES, *LESS_BY_TOKEN} else "gave no way in"
                )
                for method, address in EVERY_ROUTE
            },
            attempt,
        )


@pytest.mark.parametrize("name", sorted({*ROUTES, *LESS_BY_TOKEN} - {"POST /me/sessions/end-all"}))
def test_session_with_a_fresh_proof_is_allowed(api, ada, things_for, name):
    method, address = name.split(" ")
    for kind in ("session", "user", "token", "service", "secret", "webhook", "approval"):
        address = address.replace(f"/{kind}s/{{id}}", f"/{kind}s/{{{kind}}}")
    address = address.replace("/service-accounts/{id}", "/service-accounts/{account}")
    address = address.replace("/review-campaigns/{id}", "/review-campaigns/{campaign}")
    address = address.replace("/trust-rules/{id}", "/trust-rules/{trust_rule}")
    things = things_for(address)
    make_room_for(address)
    api.force_login(ada)
    before = snapshot()

    assert send(api, method, address, things).status_code < 300
    # There is no single sign-on to remove, and the snapshot has no rejections.
    changes_nothing = "sessions" in address or "reject" in address or name == "DELETE /organization/single-sign-on"
    assert (snapshot() != before) is not changes_nothing


@pytest.mark.parametrize("was_active", [True, False])
@pytest.mark.parametrize(
    "body",
    [
        {"is_active": True},
        {"site_role": "administrator"},
        {"site_role": "user"},
        {"site_role": "guest"},
        {"site_role": "administrator", "is_active": False},
        {"site_role": "user", "is_active": False},
        {"site_role": "user", "is_active": True},
    ],
    ids=str,
)
def test_token_cannot_change_a_role_or_activate_a_person_even_partly(api, ada, owner, body, was_active):
    User.objects.filter(pk=owner.pk).update(is_active=was_active)
    headers = bearer(TokenFactory(owner=ada, scope="api"))
    before = snapshot()

    answer = api.patch(f"/api/v1/users/{owner.pk}", body, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "Sign in to the portal" in answer.json()["detail"]
    assert snapshot() == before
    assert not Activity.objects.exists()


def test_token_of_an_administrator_can_deactivate_and_read(api, ada, owner):
    headers = bearer(TokenFactory(owner=ada, scope="api"))

    answer = api.patch(f"/api/v1/users/{owner.pk}", {"is_active": False}, headers=headers)

    assert (answer.status_code, answer.json()["state"]) == (200, "deactivated")
    assert api.get(f"/api/v1/users/{owner.pk}", headers=headers).json()["is_active"] is False
    assert Activity.objects.get().action == "user.deactivated"
    assert api.patch(f"/api/v1/users/{owner.pk}", {"is_active": True}, headers=headers).status_code == 403


def test_page_of_a_token_lists_what_no_token_can_do(client, ada):
    token = TokenFactory(owner=ada, scope="api")
    client.force_login(ada)

    page = client.get(f"/profile/tokens/{token.pk}/").content.decode()

    (listed,) = re.findall(r'id="closed-to-tokens".*?</ul>', page, re.DOTALL)
    assert [unescape(label) for label in re.findall(r"<li>(.*?)</li>", listed)] == [each.value for each in Privilege]
    (operations,) = re.findall(r'id="operations".*?id="closed"', page, re.DOTALL)
    assert re.search(r"Deactivate a person</span>\s*<code>PATCH /api/v1/users/\{id\}", operations, re.DOTALL)
    assert "POST /api/v1/users<" not in operations


@pytest.fixture(scope="module")
def reference():
    return SchemaGenerator().get_schema(public=True)["paths"]


@EVERY_CLOSED_ROUTE
def test_api_reference_marks_privileged_operations(reference, method, address):
    path = address.replace("/secrets/{id}", "/secrets/{secret_id}")
    operation = reference[f"/api/v1{path}"][method.lower()]

    assert "reauthentication_required" in operation["description"]
    assert "reauthentication_required" in operation["responses"]["403"]["description"]
    bearers = [way for way in operation["security"] if "accessToken" in way]
    assert bool(bearers) is (f"{method} {address}" in LESS_BY_TOKEN)


@pytest.mark.parametrize("scope", ["api-readonly", "pipeline", "security-logs"])
def test_no_other_scope_can_deactivate_people(api, ada, owner, scope):
    headers = bearer(TokenFactory(owner=ada, scope=scope))

    answer = api.patch(f"/api/v1/users/{owner.pk}", {"is_active": False}, headers=headers)

    assert answer.json()["code"] == "insufficient_scope"


def test_session_with_an_old_proof_can_deactivate(api, ada, owner):
    api.force_login(ada)

    with later():
        assert api.patch(f"/api/v1/users/{owner.pk}", {"is_active": False}).status_code == 200
        mixed = api.patch(f"/api/v1/users/{owner.pk}", {"is_active": False, "site_role": "guest"})

    assert mixed.json()["code"] == "reauthentication_required"
    owner.refresh_from_db()
    assert (owner.is_active, owner.site_role) == (False, "user")


@pytest.mark.parametrize(
    "body", ['{"is_active": false, "is_active": true}', '{"is_active": "true"}', '{"is_active": 1}', "[]", "{}", "null"]
)
def test_token_cannot_activate_a_person_with_an_unusual_body(api, ada, owner, body):
    User.objects.filter(pk=owner.pk).update(is_active=False)
    headers = bearer(TokenFactory(owner=ada, scope="api"))

    address = f"/api/v1/users/{owner.pk}"
    answer = api.generic("PATCH", address, body, content_type="application/json", headers=headers)

    assert answer.status_code == 400
    assert not User.objects.get(pk=owner.pk).is_active


def test_repeated_request_also_requires_a_fresh_proof(api, ada):
    body, key = BODIES["/users"], {"Idempotency-Key": "invite-nova"}
    api.force_login(ada)
    assert api.post("/api/v1/users", body, headers=key).status_code == 201

    with later():
        by_session = api.post("/api/v1/users", body, headers=key)
    api.logout()
    by_token = api.post("/api/v1/users", body, headers=key | bearer(TokenFactory(owner=ada, scope="api")))

    assert by_session.json()["code"] == "reauthentication_required"
    assert (by_token.status_code, by_token.json()["code"]) == (403, "forbidden")


def test_role_is_checked_before_the_proof(api, client, owner, member):
    for browser in (api, client):
        browser.force_login(owner)

    with later():
        by_api = api.post("/api/v1/users", {})
        by_page = client.post(f"/organization/users/{member.pk}/role/", {"site_role": "guest"})

    assert (by_api.json()["code"], by_page.status_code) == ("forbidden", 403)


# The pages


def pages():
    return sorted(
        {
            f"{method} {address}"
            for address in {row[1] for row in cells(test_access.PAGES)}
            for method in ("GET", "POST")
        }
    )


def form_for(address, organization):
    if address.startswith("/organization/policy/"):
        return POLICY | {"version": organization.policy_version, "shown": ""}
    return FORMS.get(address, {})


def ask(client, page, things, organization, headers=None):
    method, address = page.split(" ")
    form = form_for(address, organization) if method == "POST" else {}
    if "account" in form:
        form = form | {"account": fill(form["account"], things)}
    return getattr(client, method.lower())(fill(address, things), form, headers=headers)


def test_no_page_gives_access_to_a_session_with_an_old_proof(client, ada, things_for, organization):
    client.force_login(ada)
    cookies = {name: morsel.value for name, morsel in client.cookies.items()}
    before = snapshot()

    def attempt(page):
        # The previous page may have signed out.
        client.cookies = SimpleCookie(cookies)
        things = things_for(page)
        answer = ask(client, page, things, organization)

        if not nothing_was_given_since(before):
            return "gave a way in"
        if answer.status_code != 302 or not ASKS.match(answer.url):
            return "gave no way in"
        (then,) = parse_qs(urlsplit(answer.url).query)["next"]
        _, back = PAGES_THAT_ASK.get(page, ("", "."))
        goes_on = urlsplit(then).path == fill(page.split(" ")[1] if back == "." else back, things)
        return "asks again" if goes_on else f"asks again and goes on to {then}"

    with later():
        check_row(
            "with an old proof",
            {page: "asks again" if page in PAGES_THAT_ASK else "gave no way in" for page in pages()},
            attempt,
            renders_all=False,
        )


NOT_BY_ONE_REQUEST = (
    # The webhook is not paused, and the service not switched off.
    "/resume/",
    "/switch-on/",
    "GET ",
    "POST /organization/policy/",
    "two-factor/app/",
    "passkeys/",
    "recovery-codes/",
    "/email/",
    "/set/",
    "/sessions/",
    "single-sign-on/try/",
    "single-sign-on/remove/",
    "security/single-sign-on/",
    "/reject/",
)


@pytest.mark.parametrize(
    "page", [page for page in PAGES_THAT_ASK if not any(part in page for part in NOT_BY_ONE_REQUEST)]
)
def test_page_is_allowed_with_a_fresh_proof(client, ada, things_for, organization, page):
    address = page.removeprefix("POST ")
    things = things_for(address)
    make_room_for(address)
    client.force_login(ada)
    before = snapshot()

    ask(client, page, things, organization)

    assert snapshot() != before


def test_no_page_gives_access_to_a_token(client, ada, things_for, organization):
    headers = bearer(TokenFactory(owner=ada, scope="api"))
    before = snapshot()

    def attempt(page):
        things = things_for(page)
        answer = ask(client, page, things, organization, headers)

        if not nothing_was_given_since(before):
            return "gave a way in"
        if page in PAGES_THAT_ASK:
            assert answer.url.startswith("/login/?next=")
            return "sent to sign in"
        return "gave no way in"

    check_row(
        "with a token",
        {page: "sent to sign in" if page in PAGES_THAT_ASK else "gave no way in" for page in pages()},
        attempt,
        renders_all=False,
    )


def test_current_password_is_proof_enough_without_two_factor(client, ada):
    client.force_login(ada)

    with later():
        client.post(f"{SECURITY}password/", FORMS[f"{SECURITY}password/"])

    ada.refresh_from_db()
    assert ada.check_password("a new long secret")


def test_person_returns_after_the_proof_and_sees_that_nothing_was_saved(client, ada, owner):
    client.post("/login/", {"login": ada.email, "password": PASSWORD})
    page = f"/organization/users/{owner.pk}/"

    with later():
        asked = client.post(f"{page}role/", {"site_role": "auditor"})
        (then,) = parse_qs(urlsplit(asked.url).query)["next"]
        back = client.post("/login/again/", {"password": PASSWORD, "next": then})
        shown = client.get(back.url).content.decode()
        assert "Nothing is saved yet" in shown
        assert re.search(r'value="auditor"\s+selected', shown)
        assert "Nothing is saved yet" not in client.get(page).content.decode()
        client.post(f"{page}role/", {"site_role": "auditor"})

    owner.refresh_from_db()
    assert owner.site_role == "auditor"


def test_person_is_told_if_their_form_is_gone(client, ada, owner):
    client.post("/login/", {"login": ada.email, "password": PASSWORD})

    with later():
        # Another Administrator has activated the person, so the button is no longer on the page.
        asked = client.post(f"/organization/users/{owner.pk}/activate/", {"note": "back from leave"})
        (then,) = parse_qs(urlsplit(asked.url).query)["next"]
        back = client.post("/login/again/", {"password": PASSWORD, "next": then})
        shown = client.get(back.url).content.decode()

    assert "Nothing was done, because the form is no longer on this page." in shown


def test_password_alone_is_no_proof_for_an_administrator_with_two_factor(client, api, ada, owner):
    for browser in (client, api):
        browser.post(
            "/login/", {"login": ada.email, "password": PASSWORD}, **({"format": "multipart"} if browser is api else {})
        )
    secret = add_app(ada)

    refused = api.patch(f"/api/v1/users/{owner.pk}", {"site_role": "guest"})
    asked = client.post(f"/organization/users/{owner.pk}/role/", {"site_role": "guest"})

    assert refused.json()["code"] == "reauthentication_required"
    assert asked.url.startswith("/login/two-factor/again/")
    client.post(asked.url, {"code": code_of(secret)})
    client.post(f"/organization/users/{owner.pk}/role/", {"site_role": "guest"})
    owner.refresh_from_db()
    assert owner.site_role == "guest"


# Django admin


def admin_pages():
    """Returns model and name of each Django admin page that belongs to a model."""
    return sorted(
        (model.__name__, pattern.name)
        for model, site in admin.site._registry.items()
        for pattern in site.get_urls()
        if pattern.name
    )


ADMIN_MODELS = {model.__name__: model for model in admin.site._registry}


def reviewed(ada):
    """Returns the values that the policy page shows for confirmation."""
    organization = Organization.objects.get(pk=ada.organization.pk)
    changes = PolicyForm(POLICY, instance=organization)
    assert changes.is_valid()
    review = review_policy(actor=ada, changes=changes.cleaned_data)
    return {"version": review.before.policy_version, "shown": review.effect.fingerprint}


def admin_form(ada, model, page, user):
    """Returns values that the privileged form would accept."""
    if model == "User" and page.endswith("_add"):
        names = {"email": "new@acme.example", "name": "Nova New", "site_role": "administrator"}
        return names | {
            "organization": str(ada.organization.pk),
            "password1": "a new long secret",
            "password2": "a new long secret",
        }
    if model == "User":
        names = {"email": "new@acme.example", "name": "Nova New", "site_role": "administrator", "is_active": "on"}
        return names | {"new_password": "a new long secret", "is_superuser": "on"}
    if model == "Organization":
        names = {"name": "Other", "slug": "other"}
        return POLICY | names | (reviewed(ada) if page.endswith("_change") else {"version": ""})
    return {}


@pytest.fixture
def ask_admin(client, ada, things):
    def ask(model, page, method, headers=None):
        user = things["user"]
        rows = {
            "User": user,
            "Organization": ada.organization,
            "Group": things["group"],
            "Pipeline": things["pipeline"],
        }
        row = rows.get(model) or things["token"]
        arguments = [row.pk] if page.rsplit("_", 1)[1] in {"change", "delete", "history"} else []
        form = {}
        if method == "post":
            form = admin_form(ada, model, page, user)
            if page.endswith("_changelist"):
                form = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes", "index": "0"}
        return getattr(client, method)(reverse(f"admin:{page}", args=arguments), form, headers=headers)

    return ask


@pytest.mark.parametrize("who", ["administrator", "operator"])
def test_no_admin_page_gives_access_to_a_session_with_an_old_proof(client, ada, ask_admin, who):
    client.force_login(ada if who == "administrator" else OperatorFactory())
    sends = {"get": {"add", "change", "delete"}, "post": {"add", "change", "delete", "changelist"}}
    before = snapshot()

    def attempt(request):
        method, model, page = request.split(" ")
        answer = ask_admin(model, page, method)
        if not nothing_was_given_since(before):
            return "gave a way in"
        return "asks again" if answer.status_code == 302 and ASKS.match(answer.url) else "gave no way in"

    with later():
        check_row(
            who,
            {
                f"{method} {model} {page}": (
                    "asks again"
                    if ADMIN_MODELS[model] in IN_ADMIN and page.rsplit("_", 1)[1] in kinds
                    else "gave no way in"
                )
                for model, page in admin_pages()
                for method, kinds in sends.items()
            },
            attempt,
            renders_all=False,
        )


def test_no_admin_page_gives_access_to_a_token(ada, ask_admin):
    headers = bearer(TokenFactory(owner=ada, scope="api"))
    before = snapshot()

    for model, page in admin_pages():
        for method in ("get", "post"):
            assert ask_admin(model, page, method, headers).url.startswith("/admin/login/"), page

    assert nothing_was_given_since(before)


@pytest.mark.parametrize(
    ("who", "model", "page"),
    [
        ("administrator", "User", "accounts_user_add"),
        ("administrator", "User", "accounts_user_change"),
        ("administrator", "Organization", "accounts_organization_change"),
        ("operator", "Organization", "accounts_organization_add"),
    ],
)
def test_admin_page_is_allowed_with_a_fresh_proof(client, ada, ask_admin, who, model, page):
    client.force_login(ada if who == "administrator" else OperatorFactory())
    before = snapshot()

    ask_admin(model, page, "post")

    assert snapshot() != before


# Services, called from any view


@pytest.fixture
def by_token(ada):
    request = RequestFactory().post("/")
    request.token_use = type("Use", (), {"token": TokenFactory(owner=ada, scope="api")})()
    return request


@pytest.fixture
def by_old_session(ada):
    request = RequestFactory().post("/")
    request.user = ada
    at = (timezone.now() - LATER).timestamp()
    request.session = {
        "account_authentication_methods": [{"method": "password", "at": at}],
        "account_authentication_methods_user": str(ada.pk),
    }
    return request


SERVICES = {
    "invite_user": {"email": "new@acme.example", "name": "New"},
    "send_invitation": {"user": "owner"},
    "change_site_role": {"user": "owner", "site_role": "administrator"},
    "set_active": {"user": "owner", "is_active": True},
    "change_user": {"user": "owner", "is_active": False, "site_role": "guest"},
    "change_user's name": {"user": "owner", "name": "Olga New"},
    "change_user's address": {"user": "owner", "email": "olga@acme.example"},
    "change_user's password": {"user": "owner", "password": "a new long secret"},
    "reset_two_factor": {"user": "owner"},
    "create_user": {"email": "new@acme.example", "name": "New", "password": "a new long secret"},
    "save_policy": {"organization": "organization", "changes": {"max_live_tokens": 1000}},
    "create_organization": {"name": "New", "slug": "new", "policy": {}},
}


@pytest.mark.parametrize("service", SERVICES)
def test_service_itself_refuses_a_token_and_an_old_proof(ada, owner, organization, by_token, by_old_session, service):
    cast = {"owner": owner, "organization": organization}
    arguments = {
        name: cast.get(value, value) if isinstance(value, str) else value for name, value in SERVICES[service].items()
    }

    for request, refusal in ((by_token, ClosedToTokens), (by_old_session, ReauthenticationRequired)):
        before = snapshot()
        with pytest.raises(refusal):
            getattr(services, service.partition("'")[0])(actor=ada, request=request, **arguments)
        assert nothing_was_given_since(before)


def test_a_command_needs_no_proof(ada):
    assert require_proof(Privilege.INVITE, None) is None


def test_service_cannot_end_a_session_without_a_fresh_proof(ada):
    browser = Client()
    browser.post("/login/", {"login": ada.email, "password": PASSWORD})
    request = browser.get("/profile/").wsgi_request
    session = UserSession.objects.get(user=ada)

    with later():
        with pytest.raises(ReauthenticationRequired):
            sessions.end_session(actor=ada, session=session, request=request)
        with pytest.raises(ReauthenticationRequired):
            credentials.sign_out_everywhere(actor=ada, including_here=True, expire_tokens=True, request=request)
    assert UserSession.objects.filter(user=ada).exists()


# Views that do not require a proof


def view_without_privilege(request):
    services.change_site_role(
        actor=request.user, user=User.objects.exclude(pk=request.user.pk).first(), site_role="guest", request=request
    )


def view_without_service(request):
    User.objects.exclude(pk=request.user.pk).update(site_role="administrator")


urlpatterns = [
    path("without-privilege/", view_without_privilege),
    path("without-service/", view_without_service),
    path("", include("opsera_portal.urls")),
]


@pytest.mark.urls(__name__)
def test_view_without_a_named_privilege_still_asks_for_proof(client, ada):
    client.force_login(ada)
    before = snapshot()

    with later():
        assert client.get("/without-privilege/").url == "/login/again/?next=%2Fwithout-privilege%2F"
        assert client.post("/without-privilege/").url.startswith("/login/again/?next=/without-privilege/")

    assert nothing_was_given_since(before)


@pytest.mark.urls(__name__)
def test_view_that_writes_a_role_without_a_service_fails_the_check(client, ada):
    client.force_login(ada)

    with pytest.raises(AssertionError, match="without a fresh proof"):
        client.get("/without-service/")


def test_tokens_can_still_change_groups_and_access_rules(api, ada, owner):
    """They give no account, site role or way to sign in, and deactivated people can't use them."""
    group = GroupFactory(organization=ada.organization)
    headers = bearer(TokenFactory(owner=ada, scope="api"))

    answer = api.patch(f"/api/v1/groups/{group.pk}", {"members": [str(owner.pk)]}, headers=headers)

    assert answer.status_code == 200
