"""The API operations for tokens. `opsera_portal/tests/test_access.py` tests who may use them."""

from datetime import UTC, datetime

import pytest
import time_machine
from django.db.models.signals import post_save
from django.utils import timezone
from rest_framework.serializers import ModelSerializer
from rest_framework.test import APIClient

from accounts.roles import SiteRole
from auditlog.models import Activity
from core.api.serializers import represent
from tokens import jwt
from tokens.api.serializers import OrganizationTokenSerializer, TokenSerializer
from tokens.models import Token
from tokens.tests.factories import TokenFactory, bearer

TOKENS = "/api/v1/tokens"
BODY = {"name": "nightly build", "scopes": ["pipeline", "api"], "lifetime": "1w"}


@pytest.fixture
def session(owner):
    client = APIClient()
    client.force_login(owner)
    return client


def test_session_creates_a_token_and_sees_it_once(session, api):
    answer = session.post(TOKENS, BODY)

    assert answer.status_code == 201
    assert "no-store" in answer.headers["Cache-Control"]
    body = answer.json()
    assert body["scopes"] == ["api", "pipeline"]
    assert str(jwt.decode(body["token"]).token_id) == body["id"]
    assert api.get("/api/v1/me", headers={"Authorization": f"Bearer {body['token']}"}).status_code == 200
    assert "token" not in session.get(f"{TOKENS}/{body['id']}").json()
    assert [entry.action for entry in Activity.objects.filter(type="token").order_by("at")] == [
        "token.issued",
        "token.revealed",
    ]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": None}, "name"),
        ({"name": ""}, "name"),
        ({"name": " "}, "name"),
        ({"name": 7.5}, "name"),
        ({"name": ["x"]}, "name"),
        ({"name": {"a": 1}}, "name"),
        ({"name": "x" * 51}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": "🎉"}, "name"),
        ({"scopes": None}, "scopes"),
        ({"scopes": []}, "scopes"),
        ({"scopes": "api"}, "scopes"),
        ({"scopes": ["api", "api"]}, "scopes"),
        ({"scopes": ["everything"]}, "scopes.0"),
        ({"scopes": [None]}, "scopes.0"),
        ({"scopes": ["api"] * 50}, "scopes"),
        ({"lifetime": "forever"}, "lifetime"),
        ({"lifetime": None}, "lifetime"),
        ({"expires_at": "2026-12-31"}, "expires_at"),
        ({"lifetime": ..., "expires_at": "soon"}, "expires_at"),
        ({"lifetime": ..., "expires_at": "2001-01-01"}, "expires_at"),
        ({"lifetime": ..., "expires_at": "2999-01-01T00:00:00Z"}, "expires_at"),
        ({"lifetime": ..., "expires_at": 1893456000}, "expires_at"),
        ({"owner": "someone"}, "owner"),
        ({"organization": "x", "revealed_at": None}, "organization"),
    ],
    ids=str,
)
def test_wrong_field_is_named_and_nothing_is_created(session, change, field):
    body = {name: value for name, value in (BODY | change).items() if value is not ...}

    answer = session.post(TOKENS, body)

    assert answer.status_code == 400
    assert field in answer.json()["errors"]
    assert not Token.objects.exists()


def test_missing_field_is_named(session):
    assert set(session.post(TOKENS, {}).json()["errors"]) == {"name", "scopes"}


def test_default_lifetime_is_a_month(session):
    session.post(TOKENS, {"name": "n", "scopes": ["api"]})

    assert 28 <= Token.objects.get().lifetime.days <= 31


def test_name_in_use_is_a_conflict(session):
    session.post(TOKENS, BODY)
    answer = session.post(TOKENS, BODY | {"name": "NIGHTLY BUILD"})

    assert (answer.status_code, answer.json()["code"]) == (409, "name_taken")


def test_session_needs_its_csrf_token(owner):
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(owner)

    assert client.post(TOKENS, BODY).status_code == 403
    assert not Token.objects.exists()


def test_token_cannot_create_a_token(api, owner):
    answer = api.post(TOKENS, BODY, headers=bearer(TokenFactory(owner=owner, scope="api")))

    assert answer.status_code == 403
    assert "Tokens can't do this" in answer.json()["detail"]
    assert Token.objects.count() == 1


def test_bad_token_with_a_good_session_is_refused(session, owner):
    """The token that the caller sends decides, not the cookie."""
    assert session.get("/api/v1/me", headers={"Authorization": "Bearer nonsense"}).status_code == 401


def test_list_is_paged_newest_first(api, owner):
    made = TokenFactory.create_batch(5, owner=owner)
    headers = bearer(made[0])
    address, names = f"{TOKENS}?page_size=2", []
    while address:
        answer = api.get(address, headers=headers).json()
        assert answer["count"] == len(answer["data"])
        names += [row["name"] for row in answer["data"]]
        address = answer["next"]

    assert len(names) == 5
    assert set(names) == {token.name for token in made}


def test_me_returns_person_role_organization_and_token(api, owner):
    token = TokenFactory(owner=owner, name="nightly", scope="pipeline")

    body = api.get("/api/v1/me", headers=bearer(token)).json()

    assert body["user"] == {
        "id": str(owner.pk),
        "email": owner.email,
        "name": owner.name,
        "is_service_account": False,
    }
    assert body["site_role"] == "user"
    assert body["organization"] == {"id": str(owner.organization_id), "name": "Acme", "account": "acme"}
    assert (body["token"]["id"], body["token"]["scopes"]) == (str(token.pk), ["pipeline"])


def test_activity_contains_only_uses_of_the_token(api, owner):
    token, other = TokenFactory(owner=owner), TokenFactory(owner=owner)
    api.get("/api/v1/nothing", headers=bearer(other))
    api.get("/api/v1/me", headers=bearer(other))

    rows = api.get(f"{TOKENS}/{other.pk}/activity?outcome=refused", headers=bearer(token)).json()["data"]

    assert [row["target"] for row in rows] == ["/api/v1/nothing"]


def test_ended_token_cannot_be_expired_again(api, owner):
    token, other = TokenFactory(owner=owner), TokenFactory(owner=owner)
    headers = bearer(token)
    assert api.post(f"{TOKENS}/{other.pk}/expire", headers=headers).status_code == 200

    answer = api.post(f"{TOKENS}/{other.pk}/expire", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (409, "already_ended")


@pytest.mark.parametrize("reason", ["x" * 201, "a\x00b", 5.5, None, ["x"]])
def test_wrong_reason_expires_nothing(api, owner, reason):
    token = TokenFactory(owner=owner)
    if reason == 5.5:
        reason = {"a": 1}

    answer = api.post(f"{TOKENS}/{token.pk}/expire", {"reason": reason}, headers=bearer(token))

    assert answer.status_code == 400
    token.refresh_from_db()
    assert token.revoked_at is None


def test_token_that_would_end_before_it_is_shown_is_not_created(session):
    start = datetime(2026, 11, 23, 12, 0, 0, 900_000, tzinfo=UTC)
    with time_machine.travel(start, tick=False) as clock:
        # Time passes between the check of the body and the signing, as on a slow machine.
        def later(sender, **kwargs):
            clock.shift(1)

        post_save.connect(later, sender=Token)
        try:
            answer = session.post(TOKENS, {"name": "n", "scopes": ["api"], "expires_at": "2026-11-23T12:00:01Z"})
        finally:
            post_save.disconnect(later, sender=Token)

    assert answer.status_code == 400
    assert "expires_at" in answer.json()["errors"]
    assert not Token.objects.exists()


def test_tokens_of_a_guest_can_only_read(api, client, owner):
    owner.site_role = SiteRole.GUEST
    owner.save()
    token, other = TokenFactory(owner=owner, scope="api"), TokenFactory(owner=owner)

    assert api.get(TOKENS, headers=bearer(token)).status_code == 200
    assert api.post(f"{TOKENS}/{other.pk}/expire", headers=bearer(token)).status_code == 403
    client.force_login(owner)
    rows = client.get(f"/profile/tokens/{token.pk}/").context["cannot_do"]
    assert "Expire a token" in {row["label"] for row in rows}
    assert api.post(f"{TOKENS}/current/expire", headers=bearer(token)).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"revealed_at": None},
        {"revoked_at": timezone.now(), "revoke_reason": "lost"},
        {"last_used_at": timezone.now(), "last_used_ip": "2001:db8::1"},
        {"scope": "api pipeline-readonly"},
    ],
    ids=["active", "pending", "expired early", "used", "two scopes"],
)
@pytest.mark.parametrize("allowed", ["api pipeline-readonly", "security-logs"])
@pytest.mark.parametrize("serializer", [TokenSerializer, OrganizationTokenSerializer])
def test_represent_returns_the_same_as_the_model_serializer(owner, administrator, changes, allowed, serializer):
    token = TokenFactory(owner=owner, **changes)
    token.revoked_by = administrator if token.revoked_at else None
    token.organization.allowed_scopes = allowed

    shown = represent(serializer, token)

    assert shown == ModelSerializer.to_representation(serializer(), token)
    assert list(shown) == serializer.Meta.fields
