from typing import TYPE_CHECKING, Self, TypeVar

from django.db import models

from accounts.roles import Ability

if TYPE_CHECKING:
    from accounts.models import User

Row = TypeVar("Row", bound=models.Model)


class OrganizationRowsQuerySet(models.QuerySet[Row]):
    """Rows that belong to one organization through a field of that name."""

    def of_organization_of(self, user: "User") -> Self:
        """All rows for the installation's operators, one organization's for everyone else."""
        if user.is_superuser:
            return self.all()
        return self.filter(organization_id=user.organization_id) if user.organization_id else self.none()


class UserQuerySet(OrganizationRowsQuerySet["User"]):
    def visible_to(self, user: "User") -> Self:
        if user.is_superuser or user.may(Ability.READ_USERS):
            return self.of_organization_of(user)
        return self.filter(pk=user.pk)

    def active(self) -> Self:
        return self.filter(is_active=True)
