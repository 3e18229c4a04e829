from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, NamedTuple, Self

from django.db.models import (
    Case,
    Count,
    DateTimeField,
    Exists,
    F,
    OuterRef,
    Prefetch,
    Q,
    Value,
    When,
    prefetch_related_objects,
)
from django.db.models.functions import Concat, Greatest, Least
from django.db.models.lookups import LessThanOrEqual
from django.utils import timezone

from accounts.models import Organization, User
from accounts.pipelines_for_tokens import pipelines_for_tokens
from accounts.querysets import OrganizationRowsQuerySet
from accounts.roles import Ability
from accounts.services_for_tokens import services_for_tokens
from core.db.batches import batches_of
from core.db.expressions import LastQuarterFrom, Unindexed
from tokens.policy import rules

if TYPE_CHECKING:
    from tokens.models import Token, TrustRule  # noqa: F401  (in the class's base)

# A new token can be shown for this long.
PENDING_LAPSES_AFTER = timedelta(minutes=10)
# So can a token that needed approval, for this long after it: its owner must read a mail first.
APPROVED_LAPSES_AFTER = timedelta(days=1)

# An active token expires soon in its last 7 days, or in the last quarter of its lifetime if that is shorter. So a token
# for one day does not have a warning from the start.
EXPIRES_SOON = timedelta(days=7)
EXPIRES_SOON_PART = 4

# How many pipelines of limited tokens one query names. SQLite allows 32,766 values in a query.
PIPELINES_AT_ONCE = 10_000


def expires_soon_from(created_at: datetime, expires_at: datetime) -> datetime:
    """The time from which a token expires soon; `expiring_soon` is the same condition for the database."""
    return expires_at - min(EXPIRES_SOON, (expires_at - created_at) / EXPIRES_SOON_PART)


def expiring_soon(at: datetime) -> Q:
    """Tokens that expire soon or have ended, and are not replaced. Add a condition for the active ones."""
    in_last_quarter = Q(LessThanOrEqual(LastQuarterFrom("created_at", "expires_at"), at))
    return Q(expires_at__lte=at + EXPIRES_SOON, replaced_at__isnull=True) & in_last_quarter


def used_since_replacement() -> Q:
    """Replaced tokens that were used since. Add a condition for the active ones."""
    return Q(replaced_at__isnull=False, last_used_at__gte=F("replaced_at"))


def not_ended(at: datetime) -> Q:
    """Not past their end, not expired early, and shown, still able to be, or waiting for approval."""
    return Q(expires_at__gt=at, revoked_at__isnull=True) & (
        Q(revealed_at__isnull=False) | Q(waits_until__gt=at) | showable(at)
    )


def started(at: datetime) -> Q:
    """Tokens without a start time, or past it (`Token.has_started`)."""
    return Q(not_before__isnull=True) | Q(not_before__lte=at)


def showable(at: datetime) -> Q:
    """New or just approved tokens. Add conditions for those that were not shown and have not ended."""
    was_just_created = Q(created_at__gt=at - PENDING_LAPSES_AFTER)
    return Q(waits_until__isnull=True) & (was_just_created | Q(approved_at__gt=at - APPROVED_LAPSES_AFTER))


class TokenCounts(NamedTuple):
    total: int
    live: int
    expiring_soon: int
    replaced_in_use: int


class TokenSummary(NamedTuple):
    """How many tokens there are, how many people own them, and how many of them were used lately."""

    tokens: int
    owners: int
    used_lately: int


class ReviewSummary(NamedTuple):
    """The numbers of an access review. ``unused`` includes older tokens that were never used."""

    tokens: int
    never_used: int
    unused: int


class TokenQuerySet(OrganizationRowsQuerySet["Token"]):
    _reads_pipelines = False
    _pipelines_named_for: User | None = None
    # The policies of these rows' organizations, after the first condition that needed them. Querysets that narrow this
    # one don't read them again.
    _policies: "list[Organization] | None" = None
    # Whose tokens these are, if only one person's: the policy is that of their organization, which need not be read.
    _owner: User | None = None

    def with_pipelines(self, *, seen_by: User | None = None) -> Self:
        """Reads the chosen pipelines of all limited tokens in one more query; in none if there is no such token. Few
        tokens are limited, and Django's own prefetch would make each row of a page cost a tenth more. Reads services in
        the same way, and whether owners may use them.

        ``seen_by`` reads ``seen_pipelines`` too, in another query.
        """
        rows = self.all()
        rows._reads_pipelines = True
        rows._pipelines_named_for = seen_by
        return rows

    def _clone(self) -> Self:
        clone: Self = super()._clone()  # type: ignore[misc]
        clone._reads_pipelines = self._reads_pipelines
        clone._pipelines_named_for = self._pipelines_named_for
        clone._policies = self._policies
        clone._owner = self._owner
        return clone

    def _fetch_all(self) -> None:
        is_first = self._result_cache is None
        super()._fetch_all()
        if is_first and self._reads_pipelines and self._fields is None:  # type: ignore[attr-defined]
            limited = [token for token in self._result_cache or () if token.is_limited]
            prefetch_related_objects(limited, "pipeline_links")
            _read_services([token for token in self._result_cache or () if token.service_id is not None])
            if self._pipelines_named_for is not None:
                _name_pipelines(limited, self._pipelines_named_for)

    def owned_by(self, user: User) -> Self:
        rows = self.filter(owner=user)
        rows._owner = user
        return rows

    def managed_by(self, user: User) -> Self:
        """The person's own tokens, and those of the service accounts whose tokens they manage."""
        accounts = User.objects.manageable_by(user).order_by().values("pk")
        return self.filter(Q(owner=user) | Q(owner__in=accounts))

    def visible_to(self, user: User) -> Self:
        """The tokens whose metadata the person may see: those that they manage, or with some roles the whole
        organization's."""
        if user.is_superuser or user.may(Ability.READ_TOKENS):
            return self.in_organization(user)
        return self.managed_by(user)

    def revocable_by(self, user: User) -> Self:
        if user.is_superuser or user.may(Ability.EXPIRE_TOKENS):
            return self.in_organization(user)
        return self.managed_by(user)

    def of_organization_readable_by(self, user: User) -> Self:
        """All tokens of the organization for people whose role reads them all; none for others."""
        return self.in_organization_with(Ability.READ_TOKENS, user)

    def live(self) -> Self:
        """Tokens that have not ended. Their names are in use."""
        return self.filter(not_ended(timezone.now()))

    def ended(self) -> Self:
        return self.exclude(not_ended(timezone.now()))

    def active(self) -> Self:
        """Tokens that a request would be accepted with."""
        return self.filter(self._is_active())

    def counts(self) -> TokenCounts:
        """How many tokens there are, how many are live, and how many active ones expire soon, or were replaced and are
        still used; in one query."""
        now = timezone.now()
        found = self.aggregate(
            total=Count("pk"),
            live=Count("pk", filter=not_ended(now)),
            expiring_soon=Count("pk", filter=self._is_active() & expiring_soon(now)),
            replaced_in_use=Count("pk", filter=self._is_active() & used_since_replacement()),
        )
        return TokenCounts(**found)

    def summary(self, *, used_since: datetime) -> TokenSummary:
        """In one query."""
        found = self.order_by().aggregate(
            tokens=Count("pk"),
            owners=Count("owner", distinct=True),
            used_lately=Count("pk", filter=Q(last_used_at__gte=used_since)),
        )
        return TokenSummary(**found)

    def review_summary(self, *, unused_since: datetime) -> ReviewSummary:
        """In one query."""
        found = self.order_by().aggregate(
            tokens=Count("pk"),
            never_used=Count("pk", filter=Q(last_used_at__isnull=True)),
            unused=Count("pk", filter=_unused_since(unused_since)),
        )
        return ReviewSummary(**found)

    def _is_active(self) -> Q:
        now = timezone.now()
        in_time = Q(expires_at__gt=now, revoked_at__isnull=True) & started(now)
        return self._is_within_policy() & in_time & Q(revealed_at__isnull=False, owner__is_active=True)

    def not_replaced(self) -> Self:
        return self.filter(replaced_at__isnull=True)

    def not_exchanged(self) -> Self:
        """Without those that CI jobs got by an exchange, which have a limit of their own (`tokens/trust`)."""
        return self.filter(exchange__isnull=True)

    def pending(self) -> Self:
        return self.live().filter(revealed_at__isnull=True, waits_until__isnull=True)

    def waiting(self) -> Self:
        """Tokens that somebody can still approve or reject."""
        return self.live().filter(waits_until__isnull=False)

    def revoked(self) -> Self:
        return self.filter(revoked_at__isnull=False)

    def expired(self) -> Self:
        return self.ended().filter(revoked_at__isnull=True)

    def within_policy(self) -> Self:
        """Tokens that no rule of the policy blocks now (`Token.policy_obstacle` is ``None``)."""
        return self.filter(self._is_within_policy())

    def _is_within_policy(self) -> Q:
        return _any(of_policy & ~blocked for of_policy, blocked in self._by_policy())

    def outside_policy(self) -> Self:
        """Tokens that a rule of the policy blocks now."""
        return self.filter(_any(of_policy & blocked for of_policy, blocked in self._by_policy()))

    def _by_policy(self) -> Iterator[tuple[Q, Q]]:
        """For each policy of these rows' organizations, the conditions for its tokens and for those it blocks.

        The values are written into the query, because SQLite and PostgreSQL multiply a column by a time span in
        different ways. Usually there is one policy.
        """
        now = timezone.now()
        if self._policies is None:
            owner = self._owner
            is_known = owner is not None and owner.organization_id is not None
            self._policies = [owner.own_organization] if owner and is_known else self._read_policies()
        # Of a single policy, all rows are: naming it would make the database read the organization for each row.
        has_one = len(self._policies) == 1
        for policy in self._policies:
            values = {f"organization__{field}": getattr(policy, field) for field in rules.RULE_FIELDS}
            yield Q() if has_one else Q(**values), rules.blocked(policy, now)

    def _read_policies(self) -> list[Organization]:
        # Without `Unindexed`, SQLite would use the index of the organization instead of the one for the filters that
        # the rows already have, and read half a million tokens for somebody who has none.
        rows = self.order_by().alias(_organization=Unindexed("organization_id")).filter(_organization=OuterRef("pk"))
        organizations = Organization.objects.filter(Exists(rows)).order_by()
        return [Organization(**values) for values in organizations.values(*rules.RULE_FIELDS).distinct()]

    def started(self) -> Self:
        return self.filter(started(timezone.now()))

    def scheduled(self) -> Self:
        """Tokens whose start time has not come, whatever else keeps them from working."""
        return self.filter(not_before__gt=timezone.now())

    def expiring_before(self, moment: datetime) -> Self:
        return self.active().filter(expires_at__lte=moment)

    def expiring_soon(self) -> Self:
        """Active tokens in their last 7 days or the last quarter of their lifetime (`Token.expires_soon`)."""
        return self.active().filter(expiring_soon(timezone.now()))

    def to_warn_of(self) -> Self:
        """Active tokens that expire soon, and replaced ones that are still used."""
        return self.active().filter(expiring_soon(timezone.now()) | used_since_replacement())

    def unused_since(self, moment: datetime) -> Self:
        """Tokens that could be used before that moment, and were not used since then."""
        return self.filter(_unused_since(moment))

    def with_scope(self, scope_id: str) -> Self:
        return self.annotate(_padded=Concat(Value(" "), F("scope"), Value(" "))).filter(
            _padded__contains=f" {scope_id} "
        )

    def by_end(self, *, is_descending: bool) -> Self:
        """Sorted by when they ended (`Token.ended_at`) or will expire."""
        lapsed = Q(revealed_at__isnull=True) & ~not_ended(timezone.now())
        not_shown_after = F("created_at") + Value(PENDING_LAPSES_AFTER)
        approved_until = F("approved_at") + Value(APPROVED_LAPSES_AFTER)
        end = Case(
            When(revoked_at__isnull=False, then=F("revoked_at")),
            When(lapsed & Q(waits_until__isnull=False), then=Least("waits_until", "expires_at")),
            When(lapsed & Q(approved_at__isnull=True), then=Least(not_shown_after, "expires_at")),
            When(lapsed, then=Least(Greatest(not_shown_after, approved_until), "expires_at")),
            default=F("expires_at"),
            output_field=DateTimeField(),
        )
        return self.order_by(end.desc() if is_descending else end.asc())

    def for_token_table(self) -> Self:
        """With owner, revoker and organization, by queries of their own: a join would also look them up for all the
        rows before the page."""
        return self._with_owner().with_pipelines().prefetch_related("organization", "revoked_by")

    def for_token_page(self) -> Self:
        """The same for one token and the one that it replaces, with fewer queries."""
        return self._with_owner().select_related("organization", "revoked_by", "replaces", "service")

    def _with_owner(self) -> Self:
        return self.prefetch_related(Prefetch("owner", User.objects.with_second_factors()))


class TrustRuleQuerySet(OrganizationRowsQuerySet["TrustRule"]):
    def manageable_by(self, user: User) -> Self:
        """Those of the organization for people who manage it, all for operators, none for everyone else."""
        return self.in_organization_with(Ability.MANAGE_ORGANIZATION, user)

    def for_table(self) -> Self:
        return self.select_related("account")

    def trusting(self, issuer: str) -> Self:
        """Those that are switched on, for an exchange."""
        return self.filter(issuer=issuer, is_enabled=True).select_related("account", "organization")


def _read_services(tokens: list["Token"]) -> None:
    if not tokens:
        return
    prefetch_related_objects(tokens, "service", "owner")
    pairs = [(token.owner, token.service) for token in tokens if token.service is not None]
    usable = services_for_tokens().usable_pairs(pairs)
    for token in tokens:
        token._opens_service = (token.owner_id, token.service_id) in usable


def _name_pipelines(limited: list["Token"], reader: User) -> None:
    ids = sorted({pipeline_id for token in limited for pipeline_id in token.pipeline_ids or ()})
    seen = [row for some in batches_of(ids, PIPELINES_AT_ONCE) for row in pipelines_for_tokens().seen_by(reader, some)]
    for token in limited:
        chosen = set(token.pipeline_ids or ())
        token.seen_pipelines = [pipeline for pipeline in seen if pipeline.id in chosen]


def _unused_since(moment: datetime) -> Q:
    was_usable = Q(created_at__lt=moment) & (Q(not_before__isnull=True) | Q(not_before__lt=moment))
    return was_usable & (Q(last_used_at__isnull=True) | Q(last_used_at__lt=moment))


def _any(conditions: Iterable[Q]) -> Q:
    return reduce(or_, conditions, rules.NOTHING)
