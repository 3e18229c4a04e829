"""The rules of an organization's policy that a token must meet at each use.

Each rule is written twice, side by side: as a check of one token for requests, and as a query for lists and counts. A
test compares the two. ``policy`` is an organization, as it is or as it would be after a change.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from django.db.models import F, Q, Value
from django.db.models.functions import Concat, StrIndex
from django.db.models.lookups import GreaterThan
from django.utils.translation import gettext, ngettext

from accounts.models import Organization, User
from core.api import scopes
from core.db.expressions import LastsLonger
from core.text import grouped

if TYPE_CHECKING:
    from tokens.models import Token

NOTHING = Q(pk__in=[])


@dataclass(frozen=True)
class Rule:
    """``blocks``: whether the policy refuses this token at this moment. ``query``: the tokens that it refuses.

    ``advice`` says why, and what to do. In English, it must be ASCII without quotation marks, because the API sends it
    in a header too (RFC 6750 section 3). ``tells`` says it of a number of tokens: "7 have a scope that is not allowed".
    """

    id: str
    tells: Callable[[int], str]
    blocks: Callable[["Token", Organization, datetime], bool]
    query: Callable[[Organization, datetime], Q]
    advice: Callable[["Token", Organization], str]


def obstacle(token: "Token", policy: Organization, at: datetime) -> Rule | None:
    """The first rule that blocks the token; ``None`` if none does."""
    rules = RULES_OF_SERVICE_ACCOUNTS if token.owner.is_service_account else RULES_OF_PEOPLE
    return next((rule for rule in rules if rule.blocks(token, policy, at)), None)


def blocked(policy: Organization, at: datetime) -> Q:
    """The organization's tokens that a rule blocks."""
    return reduce(or_, (rule.query(policy, at) for rule in RULES))


# The lifetime is too long


def _lives_too_long(token: "Token", policy: Organization, at: datetime) -> bool:
    return not token.owner.is_service_account and token.lifetime > timedelta(days=policy.max_token_lifetime_days)


def _of_service_accounts() -> Q:
    """Few people are service accounts: the database finds these once, and does not look up the owner of each token."""
    return Q(owner__in=User.objects.service_accounts().order_by().values("pk"))


def _living_too_long(policy: Organization, at: datetime) -> Q:
    too_long = Q(LastsLonger("created_at", "expires_at", days=policy.max_token_lifetime_days))
    return too_long & ~_of_service_accounts()


def _about_lifetime(token: "Token", policy: Organization) -> str:
    longest = policy.max_token_lifetime_days
    return ngettext(
        "Your organization's policy allows tokens a lifetime of %(count)s day at most, and this one was created with a "
        "longer one. Create a new token with a shorter lifetime.",
        "Your organization's policy allows tokens a lifetime of %(count)s days at most, and this one was created with "
        "a longer one. Create a new token with a shorter lifetime.",
        longest,
    ) % {"count": grouped(longest)}


def _tell_lifetimes(count: int) -> str:
    return ngettext(
        "%(count)s has a lifetime that is too long", "%(count)s have a lifetime that is too long", count
    ) % {"count": grouped(count)}


# The same for tokens of service accounts, which have a limit of their own


def _of_service_lives_too_long(token: "Token", policy: Organization, at: datetime) -> bool:
    is_too_long = token.lifetime > timedelta(days=policy.max_service_token_lifetime_days)
    return token.owner.is_service_account and is_too_long


def _of_service_living_too_long(policy: Organization, at: datetime) -> Q:
    too_long = Q(LastsLonger("created_at", "expires_at", days=policy.max_service_token_lifetime_days))
    # In this order, SQLite computes the lifetime only of the few tokens of service accounts.
    return _of_service_accounts() & too_long


def _about_lifetime_of_service(token: "Token", policy: Organization) -> str:
    longest = policy.max_service_token_lifetime_days
    return ngettext(
        "Your organization's policy allows tokens of service accounts a lifetime of %(count)s day at most, and this "
        "one was created with a longer one. Create a new token with a shorter lifetime.",
        "Your organization's policy allows tokens of service accounts a lifetime of %(count)s days at most, and this "
        "one was created with a longer one. Create a new token with a shorter lifetime.",
        longest,
    ) % {"count": grouped(longest)}


def _tell_lifetimes_of_service(count: int) -> str:
    return ngettext(
        "%(count)s of a service account has a lifetime that is too long",
        "%(count)s of service accounts have a lifetime that is too long",
        count,
    ) % {"count": grouped(count)}


# A scope is not allowed


def scopes_not_allowed(scope: str, policy: Organization) -> list[scopes.Scope]:
    allowed = scopes.parse(policy.allowed_scopes)
    return [known for known in scopes.SCOPES if known not in allowed and known in scopes.parse(scope)]


def _has_a_scope_not_allowed(token: "Token", policy: Organization, at: datetime) -> bool:
    return not scopes.parse(token.scope) <= scopes.parse(policy.allowed_scopes)


def _having_a_scope_not_allowed(policy: Organization, at: datetime) -> Q:
    # LIKE ignores case on SQLite, and SQLite calls Python for regular expressions.
    scope = Concat(Value(" "), F("scope"), Value(" "))
    refused = scopes_not_allowed(scopes.as_string(scopes.SCOPES), policy)
    return reduce(or_, (Q(GreaterThan(StrIndex(scope, Value(f" {word.id} ")), 0)) for word in refused), NOTHING)


def _about_scopes(token: "Token", policy: Organization) -> str:
    ids = ", ".join(scope.id for scope in scopes_not_allowed(token.scope, policy))
    return gettext(
        "Your organization's policy does not allow tokens with this scope: %(scopes)s. Create a new token without it."
    ) % {"scopes": ids}


def _tell_scopes(count: int) -> str:
    return ngettext(
        "%(count)s has a scope that is not allowed", "%(count)s have a scope that is not allowed", count
    ) % {"count": grouped(count)}


# It was unused for too long. Refused uses don't count (`tokens.signals`). Otherwise, trying a blocked token would make
# it work again.


def _is_unused(token: "Token", policy: Organization, at: datetime) -> bool:
    since = token.last_used_at or _usable_since(token)
    limit = policy.unused_tokens_end_after_days
    return limit is not None and since is not None and at - since > timedelta(days=limit)


def _usable_since(token: "Token") -> datetime | None:
    """Since when it was shown and its start time has come."""
    return max(filter(None, (token.revealed_at, token.not_before)), default=None) if token.revealed_at else None


def unused(policy: Organization, at: datetime) -> Q:
    if policy.unused_tokens_end_after_days is None:
        return NOTHING
    limit = at - timedelta(days=policy.unused_tokens_end_after_days)
    has_started = Q(not_before__isnull=True) | Q(not_before__lt=limit)
    return Q(last_used_at__lt=limit) | Q(last_used_at__isnull=True, revealed_at__lt=limit) & has_started


def _about_disuse(token: "Token", policy: Organization) -> str:
    limit = policy.unused_tokens_end_after_days or 0
    return ngettext(
        "Your organization's policy blocks tokens that are unused for %(count)s day. Create a new token.",
        "Your organization's policy blocks tokens that are unused for %(count)s days. Create a new token.",
        limit,
    ) % {"count": grouped(limit)}


def _tell_disuse(count: int) -> str:
    return ngettext("%(count)s was unused for too long", "%(count)s were unused for too long", count) % {
        "count": grouped(count)
    }


# Nobody active is responsible for the service account, for too long


def _is_orphaned(token: "Token", policy: Organization, at: datetime) -> bool:
    since, limit = token.owner.orphaned_at, policy.orphaned_service_tokens_end_after_days
    return limit is not None and since is not None and at - since > timedelta(days=limit)


def orphaned(policy: Organization, at: datetime) -> Q:
    if policy.orphaned_service_tokens_end_after_days is None:
        return NOTHING
    return Q(owner__orphaned_at__lt=at - timedelta(days=policy.orphaned_service_tokens_end_after_days))


def _about_orphans(token: "Token", policy: Organization) -> str:
    return gettext(
        "Your organization's policy blocks tokens of service accounts that nobody active is responsible for. Ask an "
        "Administrator to name somebody, then create a new token."
    )


def _tell_orphans(count: int) -> str:
    return ngettext(
        "%(count)s belongs to an orphaned service account", "%(count)s belong to orphaned service accounts", count
    ) % {"count": grouped(count)}


# The owner must set up two-factor first


def _owner_lacks_two_factor(token: "Token", policy: Organization, at: datetime) -> bool:
    if token.owner.is_service_account:
        return False
    return policy.requires_two_factor_of(token.owner.site_role) and not token.owner.has_two_factor


def _of_owner_without_two_factor(policy: Organization, at: datetime) -> Q:
    roles = policy.two_factor_roles.split()
    if not roles:
        return NOTHING
    people = Q(owner__site_role__in=roles, owner__is_service_account=False)
    return people & ~Q(owner__in=User.objects.with_two_factor().values("pk"))


def _about_two_factor(token: "Token", policy: Organization) -> str:
    return gettext(
        "Your organization's policy requires the owner of this token to set up two-factor. "
        "After that, in the portal under Profile, Security, the token works again."
    )


def _tell_two_factor(count: int) -> str:
    return ngettext(
        "%(count)s belongs to a person without two-factor", "%(count)s belong to people without two-factor", count
    ) % {"count": grouped(count)}


LIFETIME = Rule("lifetime", _tell_lifetimes, _lives_too_long, _living_too_long, _about_lifetime)
SCOPE = Rule("scope", _tell_scopes, _has_a_scope_not_allowed, _having_a_scope_not_allowed, _about_scopes)
UNUSED = Rule("unused", _tell_disuse, _is_unused, unused, _about_disuse)
TWO_FACTOR = Rule(
    "two_factor", _tell_two_factor, _owner_lacks_two_factor, _of_owner_without_two_factor, _about_two_factor
)
SERVICE_LIFETIME = Rule(
    "service_lifetime",
    _tell_lifetimes_of_service,
    _of_service_lives_too_long,
    _of_service_living_too_long,
    _about_lifetime_of_service,
)
ORPHANED = Rule("orphaned", _tell_orphans, _is_orphaned, orphaned, _about_orphans)
# In this order, because only the last one can be fixed: nobody should set up two-factor for a token that stays blocked.
RULES_OF_PEOPLE = (LIFETIME, SCOPE, UNUSED, TWO_FACTOR)
# A service account never signs in, so it needs no two-factor.
RULES_OF_SERVICE_ACCOUNTS = (SERVICE_LIFETIME, SCOPE, UNUSED, ORPHANED)
RULES = (LIFETIME, SERVICE_LIFETIME, SCOPE, UNUSED, ORPHANED, TWO_FACTOR)
# The organization's fields that the rules read.
RULE_FIELDS = (
    "max_token_lifetime_days",
    "max_service_token_lifetime_days",
    "allowed_scopes",
    "unused_tokens_end_after_days",
    "orphaned_service_tokens_end_after_days",
    "two_factor_roles",
)
