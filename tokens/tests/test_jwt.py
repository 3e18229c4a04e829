"""Tokens that the portal signs are genuine. test_jwt_attacks.py tests forged tokens."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tokens import jwt
from tokens.tests.factories import TokenFactory


@pytest.fixture
def token(owner):
    return TokenFactory(owner=owner)


@pytest.fixture
def genuine(token):
    return jwt.encode(token)[0]


def test_portals_own_token_is_genuine(token, genuine):
    verified = jwt.decode(genuine)

    assert (verified.token_id, verified.owner_id) == (token.pk, token.owner_id)
    assert verified.expires_at == token.expires_at
    assert verified.not_before == token.created_at


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR", "Bearer  ", "  bearer"])
def test_scheme_is_accepted_in_any_case(api, genuine, scheme):
    assert api.get("/api/v1/me", headers={"Authorization": f"{scheme} {genuine}"}).status_code == 200


def test_token_is_not_accepted_by_pages(client, genuine):
    answer = client.get("/profile/tokens/", headers={"Authorization": f"Bearer {genuine}"})

    assert answer.status_code == 302


def test_expired_token_is_still_genuine(owner):
    """So its uses are logged, and its owner can see them."""
    token = TokenFactory(owner=owner, created_at=timezone.now().replace(microsecond=0) - timedelta(days=40))

    assert jwt.decode(jwt.encode(token)[0]).token_id == token.pk
