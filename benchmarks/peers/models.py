"""The tables of the naive endpoint, with the same columns as the portal's, so that only the code is compared."""

import uuid
from typing import Any, ClassVar

from django.contrib.auth.models import User
from django.db import models
from django.utils import timezone


class Organization(models.Model):
    name = models.CharField(max_length=100)
    slug = models.CharField(max_length=50, unique=True)

    objects: ClassVar[models.Manager["Organization"]]

    def __str__(self) -> str:
        return self.name


class Token(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="tokens")
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT)
    name = models.CharField(max_length=50)
    description = models.CharField(max_length=500, blank=True)
    scope = models.CharField(max_length=200)
    is_limited = models.BooleanField(default=False)
    networks = models.TextField(blank=True)
    max_uses = models.PositiveIntegerField(null=True)
    use_count = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    not_before = models.DateTimeField(null=True)
    expires_at = models.DateTimeField()
    waits_until = models.DateTimeField(null=True)
    approved_at = models.DateTimeField(null=True)
    revealed_at = models.DateTimeField(null=True)
    signing_key_id = models.CharField(max_length=64, blank=True)
    revoked_at = models.DateTimeField(null=True)
    revoked_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    revoke_reason = models.CharField(max_length=200, blank=True)
    replaced_at = models.DateTimeField(null=True)
    replaced_by = models.OneToOneField("self", on_delete=models.PROTECT, null=True)
    last_used_at = models.DateTimeField(null=True)
    last_used_ip = models.GenericIPAddressField(null=True)

    objects: ClassVar[models.Manager["Token"]]

    def __str__(self) -> str:
        return self.name


def link(to: Any) -> Any:
    """Creates a foreign key like those of the portal's log: without a constraint and without an index of its own."""
    return models.ForeignKey(
        to, on_delete=models.DO_NOTHING, null=True, related_name="+", db_constraint=False, db_index=False
    )


class TokenUse(models.Model):
    """The columns and indexes of the portal's authentication log."""

    id = models.BigAutoField(primary_key=True)
    request_id = models.UUIDField(unique=True, default=uuid.uuid4)
    at = models.DateTimeField()
    token = link(Token)
    token_name = models.CharField(max_length=50)
    scope = models.CharField(max_length=200)
    owner = link(User)
    owner_email = models.CharField(max_length=254)
    organization = link(Organization)
    account = models.CharField(max_length=50)
    method = models.CharField(max_length=10)
    target = models.CharField(max_length=512)
    status = models.PositiveSmallIntegerField()
    outcome = models.CharField(max_length=10)
    reason = models.CharField(max_length=20)
    ip = models.GenericIPAddressField(null=True)
    user_agent = models.CharField(max_length=256, blank=True)
    duration_ms = models.PositiveIntegerField()
    service_id = models.UUIDField(null=True)
    reported_at = models.DateTimeField(null=True)

    objects: ClassVar[models.Manager["TokenUse"]]

    class Meta:
        indexes = [
            models.Index(fields=["owner", "-at", "-id"], name="peers_owner_newest"),
            models.Index(fields=["token", "-at", "-id"], name="peers_token_newest"),
            models.Index(fields=["organization", "-at", "-id"], name="peers_organization_newest"),
            models.Index(
                fields=["service_id", "-at", "-id"],
                name="peers_service_newest",
                condition=models.Q(service_id__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.method} {self.target} {self.status}"
