from typing import TYPE_CHECKING, Self, TypeVar

from allauth.mfa.models import Authenticator
from django.db import models
from django.db.models import Count, Exists, OuterRef, Prefetch

from accounts.access_tokens import live_token_count
from accounts.roles import Ability
from core.models import OutgoingMail, OutgoingMailQuerySet

if TYPE_CHECKING:
    from accounts.models import Group, User  # noqa: F401  (in the class's base)

Row = TypeVar("Row", bound=models.Model)


# Recovery codes stand in for a second factor, and are none by themselves.
SECOND_FACTOR_TYPES = [Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN]


def second_factors() -> "models.QuerySet[Authenticator]":
    """What counts as a second factor."""
    factors: models.QuerySet[Authenticator] = Authenticator.objects.filter(type__in=SECOND_FACTOR_TYPES)
    return factors


def undelivered_mails_readable_by(user: "User") -> OutgoingMailQuerySet:
    """The mails to people of the organization that did not arrive so far, for those who manage it."""
    if not user.may(Ability.MANAGE_ORGANIZATION):
        return OutgoingMail.objects.none()
    mails = OutgoingMail.objects.undelivered().filter(person__organization=user.own_organization)
    return mails.select_related("person")


class OrganizationRowsQuerySet(models.QuerySet[Row]):
    """Rows that belong to one organization through a field of that name."""

    def in_organization(self, user: "User") -> Self:
        """All rows for the installation's operators, one organization's for everyone else."""
        if user.is_superuser:
            return self.all()
        return self.filter(organization_id=user.organization_id) if user.organization_id else self.none()


class UserQuerySet(OrganizationRowsQuerySet["User"]):
    def visible_to(self, user: "User") -> Self:
        if user.is_superuser or user.may(Ability.READ_USERS):
            return self.in_organization(user)
        return self.filter(pk=user.pk)

    def of_organization_readable_by(self, user: "User") -> Self:
        """Everyone of the organization, for those whose role reads them; nobody for everyone else."""
        if not (user.is_superuser or user.may(Ability.READ_USERS)):
            return self.none()
        return self.in_organization(user)

    def active(self) -> Self:
        return self.filter(is_active=True)

    def deactivated(self) -> Self:
        return self.filter(is_active=False)

    def invited(self) -> Self:
        """Active, and have not chosen so far how to sign in."""
        return self.active().filter(joined_at__isnull=True)

    def with_two_factor(self) -> Self:
        """Who has set up an authenticator app or a passkey."""
        return self.filter(Exists(second_factors().filter(user=OuterRef("pk"))))

    def with_second_factors(self) -> Self:
        """``has_two_factor`` of all rows, which each row would otherwise ask for by itself."""
        return self.annotate(has_two_factor=Exists(second_factors().filter(user=OuterRef("pk"))))

    def for_user_table(self) -> Self:
        """With ``live_token_count``, and ``undelivered_mails``, the newest first."""
        undelivered = Prefetch("outgoing_mails", OutgoingMail.objects.undelivered(), to_attr="undelivered_mails")
        rows = self.annotate(live_token_count=live_token_count()).with_second_factors()
        return rows.prefetch_related("member_groups", undelivered)


class GroupQuerySet(OrganizationRowsQuerySet["Group"]):
    def readable_by(self, user: "User") -> Self:
        """The organization's groups, for those whose role reads them; none for everyone else."""
        if not (user.is_superuser or user.may(Ability.READ_USERS)):
            return self.none()
        return self.in_organization(user)

    def for_group_table(self) -> Self:
        return self.annotate(member_count=Count("members"))
