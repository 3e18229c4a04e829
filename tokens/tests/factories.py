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
from tokens.review.models import ReviewCampaign, ReviewItem
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


class ReviewCampaignFactory(DjangoModelFactory):
    """An open campaign, about which everyone was told."""

    class Meta:
        model = ReviewCampaign

    organization = factory.SelfAttribute("planned_by.organization")
    planned_by = factory.SubFactory(UserFactory)
    started_at = factory.LazyFunction(timezone.now)
    told_at = factory.SelfAttribute("started_at")
    due_at = factory.LazyAttribute(lambda campaign: campaign.started_at + timedelta(days=14))
    reminds_at = factory.LazyAttribute(lambda campaign: campaign.started_at + timedelta(days=11))


class ReviewItemFactory(DjangoModelFactory):
    """A token that waits for its owner's answer, in a campaign of its own."""

    class Meta:
        model = ReviewItem

    token = factory.SubFactory(TokenFactory)
    owner = factory.SelfAttribute("token.owner")
    campaign = factory.SubFactory(ReviewCampaignFactory, planned_by=factory.SelfAttribute("..token.owner"))
    token_name = factory.SelfAttribute("token.name")
    owner_name = factory.SelfAttribute("owner.name")
    owner_email = factory.SelfAttribute("owner.email")
    scope = factory.SelfAttribute("token.scope")
    expires_at = factory.SelfAttribute("token.expires_at")


def campaign_of(owner):
    """The organization's open campaign, of which there is at most one."""
    found = ReviewCampaign.objects.unfinished().filter(organization=owner.organization).first()
    return found or ReviewCampaignFactory(planned_by=owner)


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
