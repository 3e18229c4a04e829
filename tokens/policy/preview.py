"""What a change of an organization's policy does to tokens and people, before and when it is saved."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Count, F
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts import services
from accounts.models import Organization, User
from accounts.security.sessions import live_sessions_of
from core.db.locks import lock
from core.errors import DomainError
from core.networks import is_inside
from tokens.models import Token
from tokens.policy import rules

SOON = timedelta(days=7)
# At most so many owners of blocked tokens are named, those with the most tokens first.
OWNERS_NAMED = 100


class EffectChanged(DomainError):
    """The effect of the change is not the one that the actor was shown."""

    code = "effect_changed"
    message = _(
        "Tokens or people have changed since you reviewed this change, so its effect is different now. "
        "Nothing was saved."
    )


@dataclass(frozen=True)
class OwnerEffect:
    email: str
    name: str
    tokens: int


@dataclass(frozen=True)
class Effect:
    """What the change does. Tokens and people that it does not affect are not counted.

    Only live tokens of active people are counted. ``by_rule`` counts a token for each rule that blocks it.
    ``unused_soon``: tokens that are not blocked, and expire as unused within `SOON` unless they are used.
    ``tokens_used_outside``, ``people_signed_in_outside``: by the address of the last use. The next one may come from
    another.
    """

    blocked_tokens: int
    blocked_people: int
    by_rule: dict[str, int]
    owners: list[OwnerEffect]
    unblocked_tokens: int
    unused_soon: int
    people_to_set_up_two_factor: int
    people_above_max_live_tokens: int
    tokens_used_outside: int
    people_signed_in_outside: int

    @property
    def fingerprint(self) -> str:
        """The same for the same effect, to compare the one that was shown with the current one.

        Without the numbers that change with every use: otherwise, a busy organization could not save its policy.
        """
        compared = {name: value for name, value in asdict(self).items() if name not in _VOLATILE}
        return hashlib.sha256(json.dumps(compared).encode()).hexdigest()[:16]


_VOLATILE = {"tokens_used_outside", "people_signed_in_outside"}


@dataclass(frozen=True)
class Review:
    """A change of the policy: before, after, and its effect."""

    before: Organization
    after: Organization
    effect: Effect


def review_policy(
    *,
    actor: User,
    changes: Mapping[str, Any],
    organization: Organization | None = None,
    version: str | None = None,
    request: HttpRequest | None = None,
) -> Review:
    """Changes nothing. ``organization``: the actor's own unless given. Raises what `planned_policy` raises."""
    before = Organization.objects.get(pk=(organization or actor.own_organization).pk)
    after = services.planned_policy(actor=actor, organization=before, changes=changes, version=version, request=request)
    return Review(before, after, effect_of(before, after))


def change_policy(
    *,
    actor: User,
    changes: Mapping[str, Any],
    organization: Organization | None = None,
    version: str | None = None,
    shown: str | None = None,
    seen: str | None = None,
    request: HttpRequest | None = None,
) -> Review:
    """Saves the change. ``shown``: the fingerprint of the effect that the actor was shown and confirmed.

    Nothing is changed if it raises: ``EffectChanged`` if the effect is not the confirmed one, and what
    `accounts.services.save_policy` raises. Creating a token takes the same lock, so no token is created meanwhile.
    """
    with transaction.atomic():
        pk = (organization or actor.own_organization).pk
        before = lock(Organization.objects.all(), pk, blocks_references="name" in changes)
        after = services.save_policy(
            actor=actor, organization=before, changes=changes, version=version, seen=seen, request=request
        )
        effect = effect_of(before, after)
        if shown is not None and shown != effect.fingerprint:
            raise EffectChanged
    return Review(before, after, effect)


def effect_of(before: Organization, after: Organization) -> Effect:
    owners = _effect_by_owner(before, after)
    named = sorted((-owner["blocked"], owner["email"], owner["owner_name"]) for owner in owners if owner["blocked"])

    def total(count: str) -> int:
        return sum(owner[count] for owner in owners)

    return Effect(
        blocked_tokens=total("blocked"),
        blocked_people=len(named),
        by_rule={rule.id: total(f"blocked_by_{rule.id}") for rule in rules.RULES},
        owners=[OwnerEffect(email, name, -count) for count, email, name in named[:OWNERS_NAMED]],
        unblocked_tokens=total("unblocked"),
        unused_soon=total("unused_soon"),
        people_to_set_up_two_factor=_people_to_set_up_two_factor(before, after),
        people_above_max_live_tokens=sum(
            after.max_live_tokens < owner["live"] <= before.max_live_tokens for owner in owners
        ),
        tokens_used_outside=_tokens_used_outside(before, after),
        people_signed_in_outside=_people_signed_in_outside(before, after),
    )


def _effect_by_owner(before: Organization, after: Organization) -> list[dict[str, Any]]:
    """For each owner of live tokens, ``email``, ``owner_name``, and how many are ``live``, ``blocked``, and so on.

    It makes one query, or none if the change has no rules about tokens. The query reads all tokens, and while a change
    is saved nobody else can write on SQLite or create a token on PostgreSQL.
    """
    if all(getattr(before, field) == getattr(after, field) for field in (*rules.RULE_FIELDS, "max_live_tokens")):
        return []
    now = timezone.now()
    blocked_before, blocked_after = rules.blocked(before, now), rules.blocked(after, now)
    blocks = blocked_after & ~blocked_before
    unused_soon = ~blocked_after & rules.unused(after, now + SOON) & ~rules.unused(before, now + SOON)
    tokens = Token.objects.live().filter(organization=after, owner__is_active=True).order_by()
    by_owner = tokens.values("owner", email=F("owner__email"), owner_name=F("owner__name")).annotate(
        live=Count("pk"),
        blocked=Count("pk", filter=blocks),
        unblocked=Count("pk", filter=blocked_before & ~blocked_after),
        unused_soon=Count("pk", filter=unused_soon),
        **{f"blocked_by_{rule.id}": Count("pk", filter=blocks & rule.query(after, now)) for rule in rules.RULES},
    )
    return [dict(owner) for owner in by_owner]


def _people_to_set_up_two_factor(before: Organization, after: Organization) -> int:
    roles = set(after.two_factor_roles.split()) - set(before.two_factor_roles.split())
    people = User.objects.people().active().filter(organization=after, site_role__in=roles)
    return int(people.exclude(pk__in=User.objects.with_two_factor().values("pk")).count())


def _tokens_used_outside(before: Organization, after: Organization) -> int:
    if before.token_networks == after.token_networks:
        return 0
    tokens = Token.objects.live().filter(organization=after, owner__is_active=True, last_used_ip__isnull=False)
    # In Python: SQLite can't compare addresses. Scripts share addresses.
    by_address = tokens.order_by().values_list("last_used_ip").annotate(number=Count("pk"))
    return sum(
        number
        for address, number in by_address
        if is_inside(before.token_networks, address) and not is_inside(after.token_networks, address)
    )


def _people_signed_in_outside(before: Organization, after: Organization) -> int:
    rules_of = [(policy.sign_in_networks, policy.sign_in_network_roles) for policy in (before, after)]
    if rules_of[0] == rules_of[1]:
        return 0
    people = User.objects.active().filter(organization=after, site_role__in=after.sign_in_network_roles.split())
    found = live_sessions_of(people).values_list("user_id", "user__site_role", "ip")
    return len(
        {
            person
            for person, site_role, address in found
            if before.lets_sign_in(site_role, address) and not after.lets_sign_in(site_role, address)
        }
    )
