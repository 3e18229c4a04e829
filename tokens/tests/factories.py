"""Tokens' metadata, and the JWT of a token for tests that need it."""

from datetime import timedelta

import factory
from django.utils import timezone
from factory.django import DjangoModelFactory

from accounts.tests.factories import ServiceAccountFactory, UserFactory
from tokens import jwt
from tokens.approval.asking import LAPSES_AFTER
from tokens.approval.models import ApprovalRequest
from tokens.models import Token, TrustRule
from tokens.names import name_key
from tokens.tests.issuers import AUDIENCE


def now_in_seconds():
    return timezone.now().replace(microsecond=0)


class TokenFactory(DjangoModelFactory):
    """A live token that was just shown."""

    class Meta:
        model = Token

    owner = factory.SubFactory(UserFactory)
    organization = factory.SelfAttribute("owner.organization")
    name = factory.Sequence(lambda n: f"token {n}")
    live_name_key = factory.LazyAttribute(lambda token: None if token.revoked_at else name_key(token.name))
    scope = "api"
    created_at = factory.LazyFunction(now_in_seconds)
    expires_at = factory.LazyAttribute(lambda token: token.created_at + timedelta(days=30))
    revealed_at = factory.LazyAttribute(lambda token: token.created_at)
    revoked_at = None


class ApprovalRequestFactory(DjangoModelFactory):
    """A request of the owner of a token, which waits."""

    class Meta:
        model = ApprovalRequest

    token = factory.SubFactory(
        TokenFactory,
        revealed_at=None,
        waits_until=factory.LazyAttribute(lambda token: token.created_at + LAPSES_AFTER),
    )
    organization = factory.SelfAttribute("token.organization")
    asked_by = factory.SelfAttribute("token.owner")
    reason = "For the nightly export."


def bearer(token: Token) -> dict[str, str]:
    """The headers of a request with this token."""
    signed_jwt, _ = jwt.encode(token)
    return {"Authorization": f"Bearer {signed_jwt}"}


class TrustRuleFactory(DjangoModelFactory):
    class Meta:
        model = TrustRule

    account = factory.SubFactory(ServiceAccountFactory)
    organization = factory.SelfAttribute("account.organization")
    name = factory.Sequence(lambda n: f"rule {n}")
    name_key = factory.LazyAttribute(lambda rule: name_key(rule.name))
    issuer = "https://token.actions.githubusercontent.com"
    audience = AUDIENCE
    claims = factory.LazyFunction(lambda: {"repository": "acme/shop"})
    scope = "api"
