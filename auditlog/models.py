"""The two logs, the seals that prove them, and the usage counts.

Entries are never changed, except that `erasure.py` replaces the names of an erased person. Only `journal.py` and
`record.py` add them, and only `retention.py` removes them.
"""

from typing import Any, ClassVar, NoReturn

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from auditlog.actions import Action, ActionType
from auditlog.querysets import ActivityQuerySet, TokenUseQuerySet, UsageQuerySet
from core.api.scopes import MAX_LENGTH
from core.db.keyset import Keyset
from core.db.uuid7 import uuid7

# The order of both logs on pages and in the API.
NEWEST_FIRST = Keyset(("at", "id"))


def link(to: str, **options: Any) -> models.ForeignKey[Any, Any]:
    """A foreign key whose id stays in the entry even if the row is deleted.

    Setting it to null would change sealed entries. With a constraint, each new entry would lock the rows of its token,
    owner and organization on PostgreSQL.
    """
    fixed = {"on_delete": models.DO_NOTHING, "db_constraint": False, "db_index": False}
    return models.ForeignKey(to, **{"related_name": "+", **options, **fixed})


class LogEntry(models.Model):
    """The base of both logs. Entries are never changed, and deleted only by `retention.py`.

    ``id`` numbers entries in order of arrival, and seals refer to it. People and programs use a UUID. ``unreadable``
    contains the names of the fields whose stored values can't be read (`core/db/unreadable.py`).
    """

    unreadable: tuple[str, ...] = ()

    id = models.BigAutoField("ID", primary_key=True)
    at = models.DateTimeField("time", default=timezone.now)
    organization = link("accounts.Organization", null=True)
    account = models.CharField(max_length=50, blank=True)
    ip = models.GenericIPAddressField("IP", null=True)

    class Meta:
        abstract = True
        ordering = ["-at", "-id"]

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("Log entries are never changed.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("Log entries are deleted by the retention command only.")


class TokenUse(LogEntry):
    """One use of a genuine token, including refused ones (docs/product.md#logs).

    Token, owner and organization may be deleted later; the copies of their names stay.
    """

    class Outcome(models.TextChoices):
        ALLOWED = "allowed", _("Allowed")
        REFUSED = "refused", _("Refused")

    class Reason(models.TextChoices):
        OK = "ok", _("OK")
        INSUFFICIENT_SCOPE = "insufficient_scope", _("Scope not sufficient")
        FORBIDDEN = "forbidden", _("Forbidden")
        EXPIRED = "expired", _("Token expired")
        REVOKED = "revoked", _("Token expired early")
        NOT_REVEALED = "not_revealed", _("Token never shown")
        OWNER_DEACTIVATED = "owner_deactivated", _("Owner deactivated")
        BLOCKED_BY_POLICY = "blocked_by_policy", _("Blocked by policy")
        NETWORK_NOT_ALLOWED = "network_not_allowed", _("Wrong network")
        NETWORK_POLICY = "network_policy", _("Wrong network for the organization")
        NOT_STARTED = "not_started", _("Token not started")
        USED_UP = "used_up", _("No use left")
        TOKEN_REUSED = "token_reused", _("Replaced token reused")
        WRONG_AUDIENCE = "wrong_audience", _("Made for something else")
        SERVICE_DISABLED = "service_disabled", _("Service switched off")
        PATH_NOT_ALLOWED = "path_not_allowed", _("Path closed by the service's rules")
        AMBIGUOUS_PATH = "ambiguous_path", _("Ambiguous request")
        THROTTLED = "throttled", _("Too many requests")
        INVALID_REQUEST = "invalid_request", _("Invalid request")
        CONFLICT = "conflict", _("Conflict")
        NOT_FOUND = "not_found", _("No such operation")
        ERROR = "error", _("Error in the portal")

    # The public id. The portal creates it (UUIDv7), so it is ordered by time like the entries.
    request_id = models.UUIDField("request ID", unique=True)
    token = link("tokens.Token", related_name="uses")
    token_name = models.CharField(max_length=50)
    scope = models.CharField(max_length=MAX_LENGTH)
    owner = link("accounts.User", related_name="token_uses", null=True)
    # The service that the token opened; method and path are those of the request to the service. Null: the portal.
    service = link("gateway.Service", null=True)
    # When a service that checks tokens itself told the portal of this use. Null: the portal itself saw it.
    reported_at = models.DateTimeField(null=True)
    owner_email = models.CharField("owner's e-mail", max_length=254)
    method = models.CharField(max_length=10)
    target = models.CharField(max_length=512)
    status = models.PositiveSmallIntegerField()
    outcome = models.CharField(max_length=10, choices=Outcome)
    reason = models.CharField(max_length=20, choices=Reason)
    user_agent = models.CharField(max_length=256, blank=True)
    duration_ms = models.PositiveIntegerField()

    objects: ClassVar[TokenUseQuerySet] = TokenUseQuerySet.as_manager()  # type: ignore[assignment]

    class Meta(LogEntry.Meta):
        verbose_name = "use of a token"
        verbose_name_plural = "authentication log"
        indexes = [
            models.Index(fields=["owner", "-at", "-id"], name="tokenuse_owner_newest"),
            models.Index(fields=["token", "-at", "-id"], name="tokenuse_token_newest"),
            models.Index(fields=["organization", "-at", "-id"], name="tokenuse_org_newest"),
            models.Index(
                fields=["service", "-at", "-id"],
                name="tokenuse_service_newest",
                condition=models.Q(service__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.method} {self.target} {self.status}"

    @property
    def is_of_ended_token(self) -> bool:
        return self.reason in ENDED_REASONS


# The token had already expired: someone or some script still uses it.
ENDED_REASONS = frozenset(
    {TokenUse.Reason.EXPIRED, TokenUse.Reason.REVOKED, TokenUse.Reason.USED_UP, TokenUse.Reason.TOKEN_REUSED}
)


class Activity(LogEntry):
    """An action of a person, or of a script with their token (docs/product.md#logs)."""

    public_id = models.UUIDField("ID on pages", unique=True, default=uuid7, editable=False)
    actor = link("accounts.User", related_name="activity")
    actor_email = models.CharField("actor's e-mail", max_length=254)
    type = models.CharField(max_length=20, choices=ActionType)
    action = models.CharField(max_length=40, choices=Action)
    target_id = models.CharField("target ID", max_length=64)
    target_name = models.CharField(max_length=254)
    token = link("tokens.Token", null=True)
    token_name = models.CharField(max_length=50, blank=True)
    request_id = models.UUIDField("request ID", null=True, db_index=True)
    details = models.JSONField(default=dict, blank=True)

    objects: ClassVar[ActivityQuerySet] = ActivityQuerySet.as_manager()  # type: ignore[assignment]

    class Meta(LogEntry.Meta):
        verbose_name = "action"
        verbose_name_plural = "activity log"
        indexes = [
            models.Index(fields=["actor", "-at", "-id"], name="activity_by_actor"),
            models.Index(fields=["organization", "-at", "-id"], name="activity_by_organization"),
        ]

    def __str__(self) -> str:
        return f"{self.get_action_display()}: {self.target_name}"


_AFTER_END = models.Q(after_end__gt=0)


class TokenUsage(models.Model):
    """How often one token was used from one address on one day (UTC). `counting.py` writes these rows."""

    id = models.BigAutoField(primary_key=True)
    token = link("tokens.Token")
    owner = link("accounts.User", null=True)
    organization = link("accounts.Organization", null=True)
    day = models.DateField()
    # Text instead of an address, so that it can be empty: the unique constraint ignores nulls.
    ip = models.CharField(max_length=39, blank=True)
    allowed = models.PositiveIntegerField(default=0)
    refused = models.PositiveIntegerField(default=0)
    after_end = models.PositiveIntegerField("refused because the token had expired", default=0)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    first_after_end_at = models.DateTimeField(null=True)
    last_after_end_at = models.DateTimeField(null=True)

    objects: ClassVar[UsageQuerySet] = UsageQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [models.UniqueConstraint(fields=["token", "day", "ip"], name="tokenusage_once")]
        # A person's chart is read from the index alone, and so are the few rows about expired tokens.
        indexes = [
            models.Index(fields=["owner", "day", "allowed", "refused"], name="tokenusage_owner_day"),
            models.Index(fields=["organization", "day"], name="tokenusage_organization_day"),
            models.Index(fields=["owner", "day"], name="tokenusage_owner_ended", condition=_AFTER_END),
            models.Index(fields=["organization", "day"], name="tokenusage_org_ended", condition=_AFTER_END),
        ]

    def __str__(self) -> str:
        return f"{self.token_id} on {self.day}"


class OrganizationUsage(models.Model):
    """How often the tokens of one organization were used on one day (UTC): the sum of its rows of ``TokenUsage``.

    A large organization has tens of thousands of those for each day.
    """

    id = models.BigAutoField(primary_key=True)
    organization = link("accounts.Organization")
    day = models.DateField()
    allowed = models.PositiveIntegerField(default=0)
    refused = models.PositiveIntegerField(default=0)

    objects: ClassVar[UsageQuerySet] = UsageQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [models.UniqueConstraint(fields=["organization", "day"], name="organizationusage_once")]

    def __str__(self) -> str:
        return f"{self.organization_id} on {self.day}"


class UsageProgress(models.Model):
    """How far uses have been counted: one row, or none before the first entry is counted.

    Without the row, `counting.py` removes all counts and counts the whole log again.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    last_id = models.BigIntegerField()
    newest_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="usageprogress_is_one_row")]

    def __str__(self) -> str:
        return f"Counted up to {self.last_id}"


class LogPlace(models.Model):
    """How far a job has read one of the logs (`log_places.py`). ``started_at``: older entries were never read by it."""

    reader = models.CharField(max_length=40, primary_key=True)
    last_id = models.BigIntegerField()
    started_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.reader}: {self.last_id}"


class AddressName(models.Model):
    """The host name of an address in the logs, if the operator has them looked up (`address_names.py`).

    ``name`` is empty until it is known, and if the address has none. ``look_up_at`` is when to ask for it next.
    """

    ip = models.GenericIPAddressField(primary_key=True)
    name = models.CharField(max_length=253, blank=True)
    seen_on = models.DateField()
    look_up_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [
            models.Index(fields=["look_up_at"], name="addressname_due"),
            models.Index(fields=["seen_on"], name="addressname_seen"),
        ]

    def __str__(self) -> str:
        return self.ip


class Seal(models.Model):
    """One block of the chain that proves a log; `seals/` adds and verifies blocks.

    A block of kind ``entries`` covers all entries from ``first_id`` to ``last_id``. A block of kind ``pruned`` says
    which entries retention removed: for each organization, those before a time. A block of kind ``erased`` has the new
    MACs of entries in which the names of an erased person were replaced.
    """

    class Log(models.TextChoices):
        AUTHENTICATION = "authentication", "Authentication log"
        ACTIVITY = "activity", "Activity log"

    class Kind(models.TextChoices):
        ENTRIES = "entries", "Entries"
        PRUNED = "pruned", "Pruned"
        ERASED = "erased", "Erased"

    id = models.BigAutoField(primary_key=True)
    log = models.CharField(max_length=20, choices=Log)
    number = models.PositiveBigIntegerField()
    kind = models.CharField(max_length=10, choices=Kind)
    made_at = models.DateTimeField(default=timezone.now)
    first_id = models.BigIntegerField()
    last_id = models.BigIntegerField()
    count = models.PositiveIntegerField()
    # By organization id in hexadecimal ("" for none): the time of its newest entry in the block; in a pruned block, the
    # time before which entries were removed.
    newest = models.JSONField()
    # One record for each entry; null once all entries are pruned. Their digest stays.
    entries = models.BinaryField(null=True)
    entries_digest = models.CharField(max_length=64)
    previous = models.CharField(max_length=64)
    mac = models.CharField(max_length=64)

    class Meta:
        ordering = ["log", "number"]
        constraints = [models.UniqueConstraint(fields=["log", "number"], name="seal_number_once")]
        indexes = [models.Index(fields=["log", "kind", "last_id"], name="seal_by_last_id")]

    def __str__(self) -> str:
        return f"{self.get_log_display()}, block {self.number}"
