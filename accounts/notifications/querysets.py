from typing import TYPE_CHECKING, Self

from django.db import models
from django.db.models import OuterRef

if TYPE_CHECKING:
    from accounts.models import Notification, User  # noqa: F401  (in the class's base)


class NotificationQuerySet(models.QuerySet["Notification"]):
    def of(self, user: "User | OuterRef") -> Self:
        """Those that this person sees in the portal. Nobody else sees them."""
        return self.filter(person=user, is_in_portal=True)

    def unread(self) -> Self:
        return self.filter(read_at__isnull=True)

    def for_admin(self, user: "User") -> Self:
        """Everything for operators, those of the own organization for its Administrators."""
        if user.is_superuser:
            return self.all()
        return (
            self.filter(person__organization_id=user.organization_id) if user.may_manage_organization else self.none()
        )
