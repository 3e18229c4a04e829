"""The policy's rules for each use of a token: as a check, as a query, and in requests."""

import itertools
from datetime import timedelta

import pytest
import time_machine
from allauth.mfa.models import Authenticator
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from accounts.roles import SiteRole
from accounts.tests.factories import OrganizationFactory, ServiceAccountFactory, UserFactory
from auditlog.models import TokenUse
from core.api.scopes import SCOPES
from tokens.models import Token
from tokens.policy import rules
from tokens.record_query import find_token
from tokens.states import TokenState
from tokens.tables import state_badge
from tokens.tests.factories import TokenFactory, bearer, now_in_seconds

pytestmark = pytest.mark.django_db

ME = "/api/v1/me"


def set_up_two_factor(user, kind=Authenticator.Type.TOTP):
    Authenticator.objects.create(user=user, type=kind, data={})


def set_policy(organization, **fields):
    for name, value in fields.items():
        setattr(organization, name, value)
    organization.save()


# The rules as checks and as queries


FIELDS = ("max_token_lifetime_days", "allowed_scopes", "unused_tokens_end_after_days", "two_factor_roles")
POLICIES = [
    dict(zip(FIELDS, values, strict=True))
    for values in itertools.product((30, 366), ("api", "api pipeline"), (None, 7), ("guest", "guest user"))
]
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


def every_kind_of_token(owners, now):
    lifetimes = (30 * DAY, 30 * DAY + SECOND)
    scopes = ("api", "api pipeline", "API")
    # Time since the last use. If there was none, the time since the token was shown counts.
    last_uses = (None, 7 * DAY, 7 * DAY + SECOND)
    shown = (None, 7 * DAY, 7 * DAY + SECOND)
    for owner, lifetime, scope, used, revealed in itertools.product(owners, lifetimes, scopes, last_uses, shown):
        yield Token(
            owner=owner,
            organization=owner.organization,
            name="token",
            scope=scope,
            created_at=now - 8 * DAY,
            expires_at=now - 8 * DAY + lifetime,
            revealed_at=revealed and now - revealed,
            last_used_at=used and now - used,
        )


@pytest.fixture
def world():
    """Organizations with every combination of rules, each with tokens just inside and outside of every rule."""
    now = now_in_seconds()
    with time_machine.travel(now, tick=False):
        owners = []
        for fields in POLICIES:
            organization = OrganizationFactory(**fields)
            owners += UserFactory.create_batch(2, organization=organization)
        for owner in owners[::2]:
            set_up_two_factor(owner)
        ends = {"max_service_token_lifetime_days": 30, "orphaned_service_tokens_end_after_days": 7}
        organization = OrganizationFactory(two_factor_roles="user", **ends)
        for days in (None, 7, 8):
            account = ServiceAccountFactory(organization=organization)
            account.orphaned_at = days and now - days * DAY
            account.save()
            owners.append(account)
        Token.objects.bulk_create(every_kind_of_token(owners, now))
        yield


@pytest.mark.slow
@pytest.mark.each_database
def test_query_finds_exactly_the_tokens_that_a_request_would_accept(world):
    tokens = Token.objects.for_token_table()

    found = set(Token.objects.within_policy().values_list("pk", flat=True))

    assert found == {token.pk for token in tokens if token.policy_obstacle is None}
    assert 0 < len(found) < len(tokens)
    assert set(Token.objects.outside_policy()) == {token for token in tokens if token.pk not in found}


@pytest.mark.slow
@pytest.mark.each_database
def test_each_rule_as_check_and_as_query_agrees(world):
    now = timezone.now()
    for organization in {token.organization for token in Token.objects.for_token_table()}:
        tokens = Token.objects.filter(organization=organization)
        of_table = list(tokens.for_token_table())
        for rule in rules.RULES:
            found = set(tokens.filter(rule.query(organization, now)).values_list("pk", flat=True))

            blocks = {token.pk for token in of_table if rule.blocks(token, organization, now)}
            assert found == blocks, rule.id


def test_two_factor_rule_makes_no_query_for_each_row_of_the_table(owner, django_assert_num_queries):
    set_policy(owner.organization, two_factor_roles="user")
    for _ in range(20):
        TokenFactory(owner=owner)

    # Tokens, owners, organization.
    with django_assert_num_queries(3):
        states = [token.state for token in Token.objects.for_token_table()]

    assert states == [TokenState.BLOCKED_BY_POLICY] * 20


@pytest.mark.each_database
def test_query_of_rows_with_one_policy_names_no_policy(owner, django_assert_num_queries):
    for days in range(1, 100):
        OrganizationFactory(max_token_lifetime_days=days)
    TokenFactory(owner=owner)

    rows = Token.objects.owned_by(owner).within_policy()

    assert "max_token_lifetime_days" not in str(rows.query)
    assert rows.count() == 1


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL knows how many rows an index leads to")
@pytest.mark.parametrize("index", ["token_owner_", "token_org_"])
def test_policies_are_found_with_the_index_of_the_rows_filters(owner, administrator, index):
    """With another index, the page of a person without tokens would read half a million rows."""
    rows = {
        "token_owner_": Token.objects.managed_by(owner),
        "token_org_": Token.objects.of_organization_readable_by(administrator),
    }[index]

    with CaptureQueriesContext(connection) as captured:
        rows.within_policy()
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {captured[0]['sql']}")
        plan = str(cursor.fetchall())

    assert index in plan


def test_policy_of_ones_own_tokens_is_not_read_again(owner, django_assert_num_queries):
    assert owner.own_organization

    with django_assert_num_queries(0):
        Token.objects.owned_by(owner).within_policy()


# In requests


BLOCKING = {
    "lifetime": ({"max_token_lifetime_days": 29}, "29 days at most"),
    "scope": ({"allowed_scopes": "api-readonly pipeline"}, "does not allow tokens with this scope: api."),
    "unused": ({"unused_tokens_end_after_days": 1}, "unused for 1 day."),
    "two_factor": ({"two_factor_roles": "user"}, "set up two-factor"),
}


@pytest.fixture(params=BLOCKING.values(), ids=BLOCKING.keys())
def blocking(request, owner):
    """A token that worked two days ago, and a policy that blocks it now: (token, what the answer says)."""
    fields, says = request.param
    token = TokenFactory(owner=owner, created_at=now_in_seconds() - 2 * DAY)
    set_policy(owner.organization, **fields)
    return token, says


def test_blocked_token_is_refused_at_its_next_use_with_the_reason(api, blocking):
    token, says = blocking

    answer = api.get(ME, headers=bearer(token))

    assert (answer.status_code, answer.json()["code"]) == (401, "blocked_by_policy")
    assert says in answer.json()["detail"]
    assert says in answer.headers["WWW-Authenticate"]
    assert TokenUse.objects.get().reason == "blocked_by_policy"


def test_advice_has_only_characters_that_rfc_6750_allows(blocking):
    token, _ = blocking

    assert token.policy_advice.isascii()
    assert token.policy_advice.isprintable()
    assert not set(token.policy_advice) & set('"\\')


@pytest.mark.once
def test_pages_show_a_blocked_token_with_the_reason(client, administrator, blocking):
    token, says = blocking
    client.force_login(administrator)

    listed = client.get("/organization/tokens/", {"state": "blocked_by_policy"}).content.decode()
    assert f'data-token="{token.pk}"' in listed
    assert "Blocked by policy" in listed
    assert says in client.get(f"/profile/tokens/{token.pk}/").content.decode()


@pytest.mark.once
def test_api_gives_state_and_reason_of_a_blocked_token(client, administrator, blocking):
    token, says = blocking
    client.force_login(administrator)

    (row,) = client.get("/api/v1/organization/tokens", {"state": "blocked_by_policy"}).json()["data"]

    assert (row["id"], row["state"]) == (str(token.pk), "blocked_by_policy")
    assert says in row["blocked_because"]


def test_ended_token_has_no_reason_of_the_policy(owner):
    token = TokenFactory(owner=owner, revoked_at=timezone.now())
    set_policy(owner.organization, max_token_lifetime_days=1)

    assert token.blocked_because == ""


def test_token_works_again_after_the_rule_is_reverted(api, owner):
    headers = bearer(TokenFactory(owner=owner))
    set_policy(owner.organization, allowed_scopes="pipeline")
    assert api.get(ME, headers=headers).status_code == 401

    set_policy(owner.organization, allowed_scopes="api pipeline")

    assert api.get(ME, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("kind", "works"),
    [(Authenticator.Type.TOTP, True), (Authenticator.Type.WEBAUTHN, True), (Authenticator.Type.RECOVERY_CODES, False)],
)
def test_token_works_after_its_owner_has_set_up_required_two_factor(api, owner, kind, works):
    set_policy(owner.organization, two_factor_roles="user")
    headers = bearer(TokenFactory(owner=owner))
    assert api.get(ME, headers=headers).status_code == 401

    set_up_two_factor(owner, kind)

    assert (api.get(ME, headers=headers).status_code == 200) is works


def test_two_factor_is_not_required_of_other_roles(api, owner):
    set_policy(owner.organization, two_factor_roles=SiteRole.ADMINISTRATOR)

    assert api.get(ME, headers=bearer(TokenFactory(owner=owner))).status_code == 200


def test_another_organizations_policy_blocks_nothing(api, owner, stranger):
    set_policy(stranger.organization, max_token_lifetime_days=1, allowed_scopes="pipeline")

    assert api.get(ME, headers=bearer(TokenFactory(owner=owner))).status_code == 200


@pytest.mark.parametrize("has_two_factor", [True, False])
def test_policy_check_needs_no_extra_query(api, owner, has_two_factor, django_assert_num_queries):
    set_policy(owner.organization, unused_tokens_end_after_days=1, two_factor_roles="user")
    if has_two_factor:
        set_up_two_factor(owner)
    headers = bearer(TokenFactory(owner=owner, last_used_at=timezone.now(), last_used_ip="127.0.0.1"))

    # The token with everything that the policy reads, and the log entry.
    with django_assert_num_queries(2):
        assert api.get(ME, headers=headers).status_code == (200 if has_two_factor else 401)


@pytest.mark.parametrize("kind", [None, *Authenticator.Type])
@pytest.mark.each_database
def test_record_query_says_whether_the_owner_has_two_factor(owner, kind, django_assert_num_queries):
    made = TokenFactory(owner=owner)
    set_policy(owner.organization, two_factor_roles="guest")
    set_up_two_factor(UserFactory(organization=owner.organization))
    if kind:
        set_up_two_factor(owner, kind)
    expected = User.objects.get(pk=owner.pk).has_two_factor

    with django_assert_num_queries(1):
        found = find_token(token_id=made.pk, owner_id=owner.pk)
        assert found.owner.has_two_factor is expected


def test_two_factor_is_queried_only_if_needed_without_the_rule(owner, django_assert_num_queries):
    made = TokenFactory(owner=owner)
    set_up_two_factor(owner)
    found = find_token(token_id=made.pk, owner_id=owner.pk)

    with django_assert_num_queries(1):
        assert found.owner.has_two_factor is True


# Unused


def test_unused_token_does_not_work_again_after_a_refused_use(api, owner):
    token = TokenFactory(owner=owner, created_at=now_in_seconds() - 9 * DAY)
    set_policy(owner.organization, unused_tokens_end_after_days=7)
    headers = bearer(token)

    answers = [api.get(ME, headers=headers).status_code for _ in range(2)]
    # Refused because of the host, the body's length or the route, before or after the token is checked.
    api.get(ME, headers=headers | {"Host": "elsewhere.example"})
    api.post(ME, data=b"x" * (257 * 1024), content_type="application/json", headers=headers)
    api.get("/api/v1/nowhere", headers=headers)
    # This route accepts everyone, with any credentials.
    api.post("/api/v1/tokens/report", {"tokens": ["text"]}, headers=headers)

    assert answers == [401, 401]
    assert api.get(ME, headers=headers).status_code == 401
    token.refresh_from_db()
    assert token.last_used_at is None


@pytest.mark.each_database
def test_token_that_is_used_in_time_keeps_working(api, owner):
    token = TokenFactory(owner=owner)
    set_policy(owner.organization, unused_tokens_end_after_days=7)
    headers = bearer(token)

    for days in (6, 12, 18):
        with time_machine.travel(token.created_at + days * DAY, tick=False):
            assert api.get(ME, headers=headers).status_code == 200
    with time_machine.travel(token.created_at + 25 * DAY + SECOND, tick=False):
        assert api.get(ME, headers=headers).status_code == 401


@pytest.mark.parametrize("path", ["/api/v1/organization/tokens", "/api/v1/nowhere"], ids=["forbidden", "not found"])
def test_use_counts_even_if_its_operation_is_refused(api, owner, path):
    token = TokenFactory(owner=owner)

    assert api.get(path, headers=bearer(token)).status_code in {403, 404}

    token.refresh_from_db()
    assert token.last_used_at is not None


# Pages


def test_blocked_token_has_the_blocked_badge_even_if_it_expires_soon(owner):
    token = TokenFactory(owner=owner, created_at=now_in_seconds() - 28 * DAY)
    set_policy(owner.organization, max_token_lifetime_days=1)

    assert state_badge(token).label == "Blocked by policy"


def test_new_organization_allows_every_scope_but_that_of_scim(organization):
    assert organization.policy["allowed_scopes"] == [scope.id for scope in SCOPES if scope.id != "scim"]
