"""The metadata of personal access tokens. The token itself is not stored, nor a part or a hash of it."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import ClassVar, cast

from django.db import models
from django.db.models import Q, prefetch_related_objects
from django.utils import timezone
from django.utils.translation import gettext, ngettext

from accounts.models import User
from accounts.pipelines_for_tokens import NamedPipeline
from accounts.services_for_tokens import TokenService, services_for_tokens
from core.api import scopes
from core.api.operations import READ_PIPELINES
from core.api.scopes import Scope
from core.db.keyset import Keyset
from core.text import first_of, grouped
from tokens.descriptions import MAX_LENGTH as DESCRIPTION_MAX_LENGTH
from tokens.names import MAX_LENGTH
from tokens.policy import rules
from tokens.querysets import (
    APPROVED_LAPSES_AFTER,
    PENDING_LAPSES_AFTER,
    TokenQuerySet,
    TrustRuleQuerySet,
    expires_soon_from,
)
from tokens.states import ENDED, TokenState

LAST_USED_RESOLUTION = timedelta(minutes=1)
# The order of lists of tokens with keyset paging.
NEWEST_FIRST = Keyset(("created_at", "id"))
# How many pipelines of a token lists and mails name. The token's page has all of them.
LISTED_PIPELINES = 10


class Token(models.Model):
    """One token's metadata. ``id`` is the ``jti`` claim; it is public and opens nothing."""

    id = models.UUIDField("ID", primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="tokens", db_index=False)
    organization = models.ForeignKey(
        "accounts.Organization", on_delete=models.PROTECT, related_name="tokens", db_index=False
    )
    # Who made it for a service account, and can see it once. Null: its owner.
    created_by = models.ForeignKey(
        "accounts.User", on_delete=models.PROTECT, null=True, related_name="+", db_index=False, editable=False
    )
    # The service that it opens, and nothing else. Null: the portal's own API.
    service = models.ForeignKey(
        "gateway.Service", on_delete=models.PROTECT, null=True, related_name="tokens", db_index=False, editable=False
    )
    # Its bit in a list, if its service reads which tokens have ended from one (`tokens.status_lists`).
    status_list = models.ForeignKey(
        "tokens.StatusList", on_delete=models.PROTECT, null=True, related_name="+", db_index=False, editable=False
    )
    status_index = models.PositiveIntegerField(null=True, editable=False)
    name = models.CharField(max_length=MAX_LENGTH)
    description = models.CharField(max_length=DESCRIPTION_MAX_LENGTH, blank=True, default="")
    # `name_key` while the name is in use, null after the token has ended. So a constraint can keep names unique among
    # live tokens; a constraint cannot look at the clock.
    live_name_key = models.TextField(null=True, editable=False)
    scope = models.CharField("scopes", max_length=scopes.MAX_LENGTH)
    # Which pipelines it reaches: `pipeline_links`. They can all be deleted, and then it reaches none.
    is_limited = models.BooleanField("reaches only chosen pipelines", default=False)
    # See `core.networks`. Empty: it can be used from everywhere.
    networks = models.TextField("can be used only from", blank=True, default="")
    # See `tokens.uses`. Uses are counted only if there is a limit.
    max_uses = models.PositiveIntegerField(null=True)
    use_count = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    # Uses before this moment are refused (`tokens.authentication`). Null: it works from the start.
    not_before = models.DateTimeField("works from", null=True)
    expires_at = models.DateTimeField()
    # For a token that needs approval (`tokens.approval`): until when somebody can decide. Null again after an approval.
    waits_until = models.DateTimeField(null=True)
    # A token that replaces an approved one keeps this time.
    approved_at = models.DateTimeField(null=True)
    revealed_at = models.DateTimeField(null=True)
    signing_key_id = models.CharField("signing key ID", max_length=64, blank=True)
    # People read "expired early" for what is `revoked` in code and API.
    revoked_at = models.DateTimeField("expired early at", null=True)
    revoked_by = models.ForeignKey(
        "accounts.User",
        on_delete=models.PROTECT,
        verbose_name="expired early by",
        null=True,
        related_name="+",
        db_index=False,
    )
    revoke_reason = models.CharField("reason for expiring early", max_length=200, blank=True)
    # Another token takes its place. Until its end, which may have become earlier then, it works beside that one.
    replaced_at = models.DateTimeField(null=True)
    replaced_by = models.OneToOneField("self", on_delete=models.PROTECT, null=True, related_name="replaces")
    last_used_at = models.DateTimeField(null=True)
    last_used_ip = models.GenericIPAddressField("last used IP", null=True)
    # The last notice about the end that was sent, by its number of days before the end; 0 says that it has ended.
    expiry_notice_days = models.PositiveSmallIntegerField(null=True, editable=False)

    # Whether the owner may use its service now, once that was read (`TokenQuerySet.with_pipelines`). Not stored.
    _opens_service: bool | None = None
    # Those of its pipelines that the reader of a list can see, by name (`TokenQuerySet.with_pipelines`). Not stored.
    seen_pipelines: Sequence[NamedPipeline] = ()

    objects: ClassVar[TokenQuerySet] = TokenQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["owner", "-created_at", "-id"], name="token_owner_newest"),
            models.Index(fields=["organization", "-created_at", "-id"], name="token_org_newest"),
            models.Index(fields=["signing_key_id", "expires_at"], name="token_signing_key"),
            models.Index(fields=["expires_at"], name="token_end"),
            models.Index(fields=["service"], name="token_service", condition=Q(service__isnull=False)),
            # What a status list is made of: a list of a million tokens is read without reading the tokens. None of
            # these columns changes when a token is used.
            models.Index(
                fields=[
                    "status_list",
                    "status_index",
                    "owner",
                    "expires_at",
                    "created_at",
                    "revoked_at",
                    "revealed_at",
                    "replaced_at",
                ],
                condition=Q(status_list__isnull=False),
                name="token_status",
            ),
            # All columns that say whether a token is live (`not_ended`): the number of each person's live tokens is
            # counted without reading the tokens. None of them changes when a token is used.
            models.Index(
                fields=[
                    "owner",
                    "expires_at",
                    "revoked_at",
                    "revealed_at",
                    "waits_until",
                    "created_at",
                    "approved_at",
                ],
                name="token_owner_live",
            ),
        ]
        constraints = [
            models.UniqueConstraint("owner", "live_name_key", name="token_name_unique_among_live"),
            models.UniqueConstraint(
                fields=["status_list", "status_index"],
                condition=Q(status_list__isnull=False),
                name="token_has_its_own_status",
            ),
            models.CheckConstraint(
                condition=Q(expires_at__gt=models.F("created_at")), name="token_expires_after_creation"
            ),
            models.CheckConstraint(
                condition=Q(not_before__isnull=True) | Q(not_before__lte=models.F("expires_at")),
                name="token_starts_before_its_end",
            ),
            models.CheckConstraint(condition=~Q(scope=""), name="token_has_a_scope"),
            models.CheckConstraint(
                condition=Q(revoked_at__isnull=True) | Q(live_name_key__isnull=True),
                name="token_revoked_frees_its_name",
            ),
            models.CheckConstraint(
                condition=Q(replaced_by__isnull=True) | Q(replaced_at__isnull=False),
                name="token_replaced_since_a_moment",
            ),
            models.CheckConstraint(
                condition=Q(max_uses__isnull=True) | Q(use_count__lte=models.F("max_uses")),
                name="token_used_at_most_so_often",
            ),
            models.CheckConstraint(
                condition=Q(waits_until__isnull=True) | Q(revealed_at__isnull=True, approved_at__isnull=True),
                name="token_is_not_shown_before_approval",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def scopes(self) -> Sequence[scopes.Scope]:
        """A query for a token of a service, unless that is loaded."""
        if self.service_id is None:
            return scopes.in_order(self.scope)
        return cast(TokenService, self.service).chosen(self.scope)

    @property
    def known_service(self) -> TokenService | None:
        """Its service, as this app knows services. A query, unless that is loaded; none for a token of the portal."""
        # Django takes longer to say that a foreign key is null, and lists have many tokens.
        return None if self.service_id is None else self.service

    @property
    def opens_service(self) -> bool:
        """Whether its service is switched on and its owner may use it. A query, unless a list has read it."""
        if self._opens_service is None and self.service_id is not None:
            self._opens_service = services_for_tokens().may_use(self.owner, self.service_id)
        return self._opens_service is not False

    @property
    def service_closed_because(self) -> str:
        """Why its service refuses the token, whatever the token's state is. Empty if it doesn't, or without service."""
        service = self.known_service
        if service is None:
            return ""
        if not service.is_enabled:
            return gettext("%(service)s is switched off.") % {"service": service.name}
        if self.opens_service:
            return ""
        if self.owner.is_service_account:
            return gettext("The service account may not use %(service)s.") % {"service": service.name}
        return gettext("The token's owner may not use %(service)s.") % {"service": service.name}

    @property
    def paths_of_scopes(self) -> list[tuple[Scope, list[str]]]:
        """For a token of a service: each of its scopes with the requests that it opens."""
        service = self.known_service
        return [(scope, service.opened_by(scope)) for scope in service.chosen(self.scope)] if service else []

    @property
    def pipeline_ids(self) -> list[uuid.UUID] | None:
        """The chosen pipelines, or ``None`` if it reaches all pipelines of its owner. A query if it is limited, but
        only one: a page asks several times."""
        if not self.is_limited:
            return None
        prefetch_related_objects([self], "pipeline_links")
        return [link.pipeline_id for link in self.pipeline_links.all()]

    @property
    def reaches_pipelines(self) -> bool:
        """Whether one of its scopes is about pipelines."""
        return not scopes.parse(self.scope).isdisjoint(READ_PIPELINES)

    @property
    def pipeline_names(self) -> list[str] | None:
        """The names of ``seen_pipelines``, or ``None`` if it is not limited."""
        return [pipeline.name for pipeline in self.seen_pipelines] if self.is_limited else None

    @property
    def listed_pipelines(self) -> str:
        """The first of ``seen_pipelines``, and how many more a limited token reaches."""
        total = len(self.pipeline_ids or ())
        if names := self.pipeline_names:
            return first_of(names, LISTED_PIPELINES, total=total)
        return ngettext("You can't see it.", "You can't see them.", total)

    @property
    def only_pipelines(self) -> str:
        """How many pipelines a limited token reaches, in words; empty for other tokens."""
        if (pipelines := self.pipeline_ids) is None:
            return ""
        if not pipelines:
            return gettext("No pipeline")
        number = len(pipelines)
        return ngettext("Only %(count)s pipeline", "Only %(count)s pipelines", number) % {"count": grouped(number)}

    @property
    def only_networks(self) -> str:
        """From how many networks it can be used, in words; empty if from everywhere."""
        if not self.networks:
            return ""
        number = len(self.networks.split())
        return ngettext("Only from %(count)s network", "Only from %(count)s networks", number) % {
            "count": grouped(number)
        }

    @property
    def uses_left(self) -> int | None:
        """How often it can still be used; ``None`` without a limit."""
        return None if self.max_uses is None else max(self.max_uses - self.use_count, 0)

    @property
    def is_used_up(self) -> bool:
        return self.uses_left == 0

    @property
    def uses_left_in_words(self) -> str:
        """Empty without a limit."""
        if (left := self.uses_left) is None:
            return ""
        return ngettext("%(count)s use left", "%(count)s uses left", left) % {"count": grouped(left)}

    @property
    def rotates(self) -> bool:
        """Whether it can replace itself: it has the scope, and its uses are not counted (`tokens.replacement`)."""
        return scopes.ROTATE in self.scopes and self.max_uses is None

    @property
    def lifetime(self) -> timedelta:
        return self.expires_at - self.created_at

    def has_started(self, at: datetime) -> bool:
        """`tokens.querysets.started` is the same condition for the database."""
        return self.not_before is None or self.not_before <= at

    @property
    def is_expired(self) -> bool:
        """Past its end, or neither approved nor shown while that was possible."""
        now = timezone.now()
        return now >= self.expires_at or (self.revealed_at is None and now >= self._lapses_at)

    @property
    def can_be_revealed(self) -> bool:
        could_be = self.revealed_at is None and self.revoked_at is None and self.waits_until is None
        return could_be and timezone.now() < self._lapses_at

    def is_made_by(self, person: User) -> bool:
        """Whether it can be shown to this person."""
        return person.pk == (self.created_by_id or self.owner_id)

    @property
    def can_be_revealed_until(self) -> datetime | None:
        """Until when the owner can have it shown; ``None`` if that is not possible any more."""
        # Most tokens were shown, and computing their state would take time.
        return self._lapses_at if self.revealed_at is None and self.state is TokenState.PENDING else None

    @property
    def _lapses_at(self) -> datetime:
        """When a token that was not shown ends: nobody approved it, or its owner did not look at it."""
        if self.waits_until is not None:
            return min(self.waits_until, self.expires_at)
        until = self.created_at + PENDING_LAPSES_AFTER
        if self.approved_at is not None:
            until = max(until, self.approved_at + APPROVED_LAPSES_AFTER)
        return min(until, self.expires_at)

    @property
    def policy_obstacle(self) -> rules.Rule | None:
        """The rule of the organization's policy that blocks the token now, even if it has ended."""
        return rules.obstacle(self, self.organization, timezone.now())

    @property
    def policy_advice(self) -> str:
        """Says which rule blocks the token and what to do; empty if none does."""
        rule = self.policy_obstacle
        return rule.advice(self, self.organization) if rule else ""

    @property
    def blocked_because(self) -> str:
        """`policy_advice` for a token in the state "blocked by policy", else empty."""
        return self.policy_advice if self.state is TokenState.BLOCKED_BY_POLICY else ""

    @property
    def fits_policy(self) -> bool:
        return self.policy_obstacle is None

    @property
    def is_active(self) -> bool:
        return self.state is TokenState.ACTIVE

    @property
    def ends_at(self) -> datetime:
        """When it stops or stopped working: by time, or early."""
        return self.expires_at if self.revoked_at is None else min(self.revoked_at, self.expires_at)

    @property
    def ended_at(self) -> datetime | None:
        """When it ended: by time, early, or because it was not shown in time. ``None`` if it has not ended."""
        ends_at = self.ends_at if self.revealed_at is not None else min(self.ends_at, self._lapses_at)
        return ends_at if self.revoked_at is not None or ends_at <= timezone.now() else None

    @property
    def ended_before_its_time(self) -> bool:
        return self.ended_at is not None and self.ended_at < self.expires_at

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED

    @property
    def expires_soon(self) -> bool:
        """Active, and in its last 7 days or the last quarter of its lifetime (`TokenQuerySet.expiring_soon`)."""
        return self.is_in_its_last_days and self.is_active

    @property
    def is_in_its_last_days(self) -> bool:
        """Never if it is replaced: its owner knows that it ends."""
        return self.replaced_at is None and timezone.now() >= expires_soon_from(self.created_at, self.expires_at)

    @property
    def is_being_replaced(self) -> bool:
        """Still works, beside the token that replaces it."""
        return self.replaced_at is not None and self.is_active

    @property
    def state(self) -> TokenState:
        if self.revoked_at is not None:
            return TokenState.REVOKED
        if self.is_expired:
            return TokenState.EXPIRED
        if not self.owner.is_active:
            return TokenState.OWNER_DEACTIVATED
        if self.revealed_at is None:
            return TokenState.PENDING if self.waits_until is None else TokenState.WAITING
        if not self.fits_policy:
            return TokenState.BLOCKED_BY_POLICY
        return TokenState.ACTIVE if self.has_started(timezone.now()) else TokenState.SCHEDULED

    def last_use_is_stale(self, at: datetime) -> bool:
        """Whether a use at this moment should be saved: at most one a minute is."""
        return self.last_used_at is None or at - self.last_used_at >= LAST_USED_RESOLUTION

    def mark_used(self, *, at: datetime, ip: str | None) -> None:
        """Saves the use. If several requests come at once, one of them writes."""
        stale = Q(last_used_at__isnull=True) | Q(last_used_at__lte=at - LAST_USED_RESOLUTION)
        Token.objects.filter(stale, pk=self.pk).update(last_used_at=at, last_used_ip=ip)


class WatchedToken(models.Model):
    """What is known about the uses of a token, to tell its owner when something happens for the first time.

    `tokens/use_news.py` writes these rows. The token path neither reads nor writes them.
    """

    token = models.OneToOneField(Token, on_delete=models.CASCADE, primary_key=True, related_name="watched")
    was_used = models.BooleanField(default=False)
    was_refused = models.BooleanField(default=False)
    is_told_in_use_after_end = models.BooleanField(default=False)
    networks = models.JSONField(default=list)
    # Refusals in the hour (UTC) of the latest one.
    refused_hour = models.DateTimeField(null=True)
    refused_in_hour = models.PositiveIntegerField(default=0)

    objects: ClassVar[models.Manager["WatchedToken"]]

    def __str__(self) -> str:
        return str(self.token_id)


class TrustRule(models.Model):
    """Lets jobs of a CI system exchange their own identity for a short token of a service account (`tokens/trust`).

    A job proves its identity with a JWT of ``issuer`` for ``audience``. ``claims``: the pattern by the name of a claim.
    ``pipeline_ids``: the only pipelines that the tokens reach, as text; null for all of the service account.
    """

    id = models.UUIDField("ID", primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey("accounts.Organization", on_delete=models.CASCADE, related_name="trust_rules")
    account = models.ForeignKey(
        "accounts.User", on_delete=models.PROTECT, verbose_name="service account", related_name="trust_rules"
    )
    name = models.CharField(max_length=MAX_LENGTH)
    name_key = models.TextField(editable=False)
    issuer = models.CharField(max_length=200, db_index=True)
    audience = models.CharField(max_length=200)
    claims = models.JSONField()
    scope = models.CharField("scopes", max_length=200)
    pipeline_ids = models.JSONField("pipelines", null=True)
    lifetime_minutes = models.PositiveSmallIntegerField(default=15)
    is_enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects: ClassVar[TrustRuleQuerySet] = TrustRuleQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["organization", "name_key"], name="trustrule_name_unique"),
            models.CheckConstraint(
                condition=Q(lifetime_minutes__gte=1, lifetime_minutes__lte=60), name="trustrule_lifetime_an_hour"
            ),
            models.CheckConstraint(condition=~Q(scope=""), name="trustrule_has_a_scope"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def scopes(self) -> list[scopes.Scope]:
        return scopes.in_order(self.scope)

    @property
    def lifetime(self) -> timedelta:
        return timedelta(minutes=self.lifetime_minutes)


class TokenExchange(models.Model):
    """For which identity a token was issued by an exchange.

    ``replay_key``: a digest of issuer and ``jti`` of the exchanged JWT, so the database refuses the same one a second
    time. Null if the JWT had none.
    """

    token = models.OneToOneField(Token, on_delete=models.CASCADE, primary_key=True, related_name="exchange")
    rule = models.ForeignKey(TrustRule, on_delete=models.SET_NULL, null=True, related_name="exchanges")
    issuer = models.CharField(max_length=200)
    replay_key = models.CharField(max_length=64, null=True, unique=True, editable=False)

    objects: ClassVar[models.Manager["TokenExchange"]]

    def __str__(self) -> str:
        return str(self.token_id)


class TrustRefusals(models.Model):
    """Refused exchanges of one rule for one reason that have no entry in the activity log yet: one entry a minute."""

    rule = models.ForeignKey(TrustRule, on_delete=models.CASCADE, related_name="refusals")
    reason = models.CharField(max_length=40)
    count = models.PositiveIntegerField(default=0)
    logged_at = models.DateTimeField(null=True)

    objects: ClassVar[models.Manager["TrustRefusals"]]

    class Meta:
        verbose_name_plural = "trust refusals"
        constraints = [models.UniqueConstraint(fields=["rule", "reason"], name="trustrefusals_once")]

    def __str__(self) -> str:
        return f"{self.reason} ({self.count})"


# Django finds the models of an app here.
from tokens.approval.models import ApprovalRequest  # noqa: E402, F401
from tokens.review.models import ReviewCampaign, ReviewItem  # noqa: E402, F401
from tokens.status_lists.models import StatusList  # noqa: E402, F401
