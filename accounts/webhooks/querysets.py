from datetime import datetime
from typing import TYPE_CHECKING, Self

from django.db import models

from accounts.querysets import OrganizationRowsQuerySet

if TYPE_CHECKING:
    from accounts.models import User, Webhook, WebhookDelivery  # noqa: F401  (in the class's base)


class WebhookQuerySet(OrganizationRowsQuerySet["Webhook"]):
    def manageable_by(self, user: "User") -> Self:
        """Those of the organization for people who manage it, all for operators, none for everyone else."""
        if not (user.is_superuser or user.may_manage_organization):
            return self.none()
        return self.in_organization(user)

    def active(self) -> Self:
        return self.filter(paused_at__isnull=True)


class WebhookDeliveryQuerySet(models.QuerySet["WebhookDelivery"]):
    def manageable_by(self, user: "User") -> Self:
        """Those of webhooks that this person manages."""
        if user.is_superuser:
            return self.all()
        return (
            self.filter(webhook__organization_id=user.organization_id) if user.may_manage_organization else self.none()
        )

    def due(self, at: datetime) -> Self:
        """Deliveries that the worker can try now, the oldest first. Those of paused webhooks wait."""
        due = self.filter(state=self.model.State.WAITING, next_attempt_at__lte=at, webhook__paused_at__isnull=True)
        return due.order_by("id")
