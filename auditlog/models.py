"""The two logs. Entries are only ever added: `journal.py` and `actions.py` are their only writers."""

import uuid
from typing import Any, ClassVar, NoReturn

from django.db import models
from django.utils import timezone

from auditlog.actions_list import Action, ActionType
from auditlog.querysets import ActivityQuerySet, TokenUseQuerySet
from opsera_portal.keyset import Keyset

# The order in which both logs are read, on pages and by the API.
NEWEST_FIRST = Keyset(("at", "id"))


class LogEntry(models.Model):
    """What both logs have in common: an entry that exists is never changed and never deleted."""

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("Log entries are never changed.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("Log entries are deleted by the retention command only.")


class TokenUse(LogEntry):
    """One use of a genuine token, refused uses included (PRODUCT section 6).

    Links to token, owner and organization may be lost; the copies beside them stay.
    """

    class Outcome(models.TextChoices):
        ALLOWED = "allowed", "Allowed"
        REFUSED = "refused", "Refused"

    class Reason(models.TextChoices):
        OK = "ok", "OK"
        INSUFFICIENT_SCOPE = "insufficient_scope", "Scope does not open this"
        FORBIDDEN = "forbidden", "Forbidden"
        EXPIRED = "expired", "Token had expired"
        REVOKED = "revoked", "Token had been expired early"
        NOT_REVEALED = "not_revealed", "Token was never shown"
        OWNER_DEACTIVATED = "owner_deactivated", "Owner deactivated"
        BLOCKED_BY_POLICY = "blocked_by_policy", "Blocked by policy"
        THROTTLED = "throttled", "Too many requests"
        INVALID_REQUEST = "invalid_request", "Request was wrong"
        NOT_FOUND = "not_found", "No such address"
        ERROR = "error", "Error in the portal"

    # The request's id is the public handle; the number only orders entries of one microsecond.
    id = models.BigAutoField(primary_key=True)
    request_id = models.UUIDField(unique=True)
    at = models.DateTimeField()
    token = models.ForeignKey("tokens.Token", on_delete=models.SET_NULL, null=True, related_name="uses")
    token_name = models.CharField(max_length=50)
    scope = models.CharField(max_length=200)
    owner = models.ForeignKey(
        "accounts.User", on_delete=models.SET_NULL, null=True, related_name="token_uses", db_index=False
    )
    owner_email = models.CharField(max_length=254)
    organization = models.ForeignKey(
        "accounts.Organization", on_delete=models.SET_NULL, null=True, related_name="+", db_index=False
    )
    token_public_id = models.UUIDField()
    account = models.CharField(max_length=50)
    method = models.CharField(max_length=10)
    target = models.CharField(max_length=512)
    status = models.PositiveSmallIntegerField()
    outcome = models.CharField(max_length=10, choices=Outcome)
    reason = models.CharField(max_length=20, choices=Reason)
    ip = models.GenericIPAddressField(null=True)
    user_agent = models.CharField(max_length=256, blank=True)
    duration_ms = models.PositiveIntegerField()

    objects: ClassVar[TokenUseQuerySet] = TokenUseQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = "use of a token"
        verbose_name_plural = "authentication log"
        ordering = ["-at", "-id"]
        indexes = [
            models.Index(fields=["owner", "-at", "-id"], name="tokenuse_owner_newest"),
            models.Index(fields=["token_public_id", "-at", "-id"], name="tokenuse_token_newest"),
            models.Index(fields=["organization", "-at", "-id"], name="tokenuse_org_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.method} {self.target} {self.status}"


class Activity(LogEntry):
    """Something that a person did, or a script in their name (PRODUCT section 6, "actions")."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    at = models.DateTimeField(default=timezone.now)
    actor = models.ForeignKey(
        "accounts.User", on_delete=models.SET_NULL, null=True, related_name="activity", db_index=False
    )
    actor_public_id = models.UUIDField()
    actor_email = models.CharField(max_length=254)
    organization = models.ForeignKey(
        "accounts.Organization", on_delete=models.SET_NULL, null=True, related_name="+", db_index=False
    )
    account = models.CharField(max_length=50, blank=True)
    type = models.CharField(max_length=20, choices=ActionType)
    action = models.CharField(max_length=40, choices=Action)
    target_id = models.CharField(max_length=64)
    target_name = models.CharField(max_length=254)
    token = models.ForeignKey("tokens.Token", on_delete=models.SET_NULL, null=True, related_name="+")
    token_name = models.CharField(max_length=50, blank=True)
    ip = models.GenericIPAddressField(null=True)
    request_id = models.UUIDField(null=True)
    details = models.JSONField(default=dict, blank=True)

    objects: ClassVar[ActivityQuerySet] = ActivityQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = "action"
        verbose_name_plural = "activity log"
        ordering = ["-at", "-id"]
        indexes = [
            models.Index(fields=["actor", "-at", "-id"], name="activity_actor_newest"),
            models.Index(fields=["organization", "-at", "-id"], name="activity_org_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.get_action_display()}: {self.target_name}"
