from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Self

from django.db.models import Exists, F, OuterRef, Prefetch, Q, Value
from django.db.models.functions import Concat
from django.db.models.lookups import LessThanOrEqual
from django.utils import timezone

from accounts.models import Organization, User
from accounts.querysets import OrganizationRowsQuerySet
from accounts.roles import Ability
from core.db.expressions import LastQuarterFrom, Unindexed
from tokens.policy import rules

if TYPE_CHECKING:
    from tokens.models import Token  # noqa: F401  (in the class's base)

# A token that was made but not shown cannot be shown any more after this long.
PENDING_LAPSES_AFTER = timedelta(minutes=10)

# An active token ends soon in its last 7 days, or in the last quarter of its life if that is shorter: a token for a day
# is not born with a warning.
ENDS_SOON = timedelta(days=7)
ENDS_SOON_PART = 4


def ends_soon_from(created_at: datetime, expires_at: datetime) -> datetime:
    """From when on a token ends soon; `ending_soon` says the same to the database, to the second."""
    return expires_at - min(ENDS_SOON, (expires_at - created_at) / ENDS_SOON_PART)


def ending_soon(at: datetime) -> Q:
    """That a token ends soon, or has ended: whether it is active is asked beside it."""
    return Q(expires_at__lte=at + ENDS_SOON) & Q(LessThanOrEqual(LastQuarterFrom("created_at", "expires_at"), at))


def not_ended(at: datetime) -> Q:
    """Neither expired, nor expired early, nor lapsed before it was shown."""
    return Q(expires_at__gt=at, revoked_at__isnull=True) & (
        Q(revealed_at__isnull=False) | Q(created_at__gt=at - PENDING_LAPSES_AFTER)
    )


class TokenQuerySet(OrganizationRowsQuerySet["Token"]):
    def owned_by(self, user: User) -> Self:
        return self.filter(owner=user)

    def visible_to(self, user: User) -> Self:
        """Whose metadata this person may see: their own, and everyone's in the organization if their role says so."""
        if user.is_superuser or user.may(Ability.READ_TOKENS):
            return self.in_organization(user)
        return self.owned_by(user)

    def revocable_by(self, user: User) -> Self:
        if user.is_superuser or user.may(Ability.EXPIRE_TOKENS):
            return self.in_organization(user)
        return self.owned_by(user)

    def of_organization_readable_by(self, user: User) -> Self:
        """Every token of the organization, for those who may read them all; nothing for everyone else."""
        if not (user.is_superuser or user.may(Ability.READ_TOKENS)):
            return self.none()
        return self.in_organization(user)

    def live(self) -> Self:
        """Not ended: these hold their names."""
        return self.filter(not_ended(timezone.now()))

    def ended(self) -> Self:
        return self.exclude(not_ended(timezone.now()))

    def active(self) -> Self:
        """Shown, in time, not expired early, owner active, within the organization's policy: would be accepted."""
        return self.within_policy().filter(
            revealed_at__isnull=False,
            revoked_at__isnull=True,
            expires_at__gt=timezone.now(),
            owner__is_active=True,
        )

    def pending(self) -> Self:
        return self.live().filter(revealed_at__isnull=True)

    def revoked(self) -> Self:
        return self.filter(revoked_at__isnull=False)

    def expired(self) -> Self:
        return self.ended().filter(revoked_at__isnull=True)

    def within_policy(self) -> Self:
        """Those that no rule of their organization's policy blocks now (`Token.policy_obstacle` is ``None``)."""
        return self.filter(_any(of_policy & ~blocked for of_policy, blocked in self._by_policy()))

    def outside_policy(self) -> Self:
        """The others."""
        return self.filter(_any(of_policy & blocked for of_policy, blocked in self._by_policy()))

    def _by_policy(self) -> Iterator[tuple[Q, Q]]:
        """For each policy that the organizations of these rows have: their tokens, and what it blocks now.

        Written out, which is one policy as good as always: no database that we use multiplies a column by a span of
        time in the same words as another.
        """
        now = timezone.now()
        # The rows are found by what they are filtered by already: by the index of their organizations, SQLite would
        # read half a million tokens for somebody who has none.
        rows = self.order_by().alias(_organization=Unindexed("organization_id")).filter(_organization=OuterRef("pk"))
        organizations = Organization.objects.filter(Exists(rows))
        for values in organizations.order_by().values(*rules.RULE_FIELDS).distinct():
            of_policy = Q(**{f"organization__{field}": value for field, value in values.items()})
            yield of_policy, rules.blocked(Organization(**values), now)

    def expiring_before(self, moment: datetime) -> Self:
        return self.active().filter(expires_at__lte=moment)

    def ending_soon(self) -> Self:
        """Active, and in their last 7 days or the last quarter of their life (`Token.ends_soon`)."""
        return self.active().filter(ending_soon(timezone.now()))

    def unused_since(self, moment: datetime) -> Self:
        """Made before then, and not used from then on."""
        return self.filter(Q(last_used_at__isnull=True) | Q(last_used_at__lt=moment), created_at__lt=moment)

    def with_scope(self, scope_id: str) -> Self:
        return self.annotate(_padded=Concat(Value(" "), F("scope"), Value(" "))).filter(
            _padded__contains=f" {scope_id} "
        )

    def for_token_table(self) -> Self:
        """With the people and the organization. By queries of their own: joined, they would be looked up for every row
        that comes before a page as well."""
        return self.prefetch_related(
            Prefetch("owner", User.objects.with_second_factors()), "organization", "revoked_by"
        )


def _any(conditions: Iterable[Q]) -> Q:
    return reduce(or_, conditions, rules.NOTHING)
