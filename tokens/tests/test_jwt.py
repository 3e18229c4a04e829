"""Tokens that the portal signs are genuine. Tokens that are not: test_jwt_attacks.py."""

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


def test_token_does_not_open_pages(client, genuine):
    answer = client.get("/profile/tokens/", headers={"Authorization": f"Bearer {genuine}"})

    assert answer.status_code == 302


def test_expired_token_is_still_genuine(owner):
    """So its owner learns that it is still used."""
    token = TokenFactory(owner=owner, created_at=timezone.now().replace(microsecond=0) - timedelta(days=40))

    assert jwt.decode(jwt.encode(token)[0]).token_id == token.pk
