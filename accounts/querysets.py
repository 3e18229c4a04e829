from typing import TYPE_CHECKING, Any, Self, TypeVar

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.db import models
from django.db.models import Count, Exists, F, OuterRef, Prefetch, Q

from accounts.access_tokens import access_tokens
from accounts.roles import Ability
from core.models import OutgoingMail, OutgoingMailQuerySet

if TYPE_CHECKING:
    from accounts.models import Group, OrganizationProvider, User  # noqa: F401  (in the class's base)

Row = TypeVar("Row", bound=models.Model)


# Recovery codes can replace a second factor, but are none themselves.
SECOND_FACTOR_TYPES = [Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN]


def second_factors() -> "models.QuerySet[Authenticator]":
    """Everything that counts as a second factor."""
    factors: models.QuerySet[Authenticator] = Authenticator.objects.filter(type__in=SECOND_FACTOR_TYPES)
    return factors


def managing_links() -> "models.QuerySet[SocialAccount]":
    """Connections with a provider that decides about the person's site role."""
    links: models.QuerySet[SocialAccount] = SocialAccount.objects.filter(
        user__organization__provider__is_enabled=True, user__organization__provider__connection=F("provider")
    )
    return links.exclude(user__organization__provider__role_rules=[])


def undelivered_mails_readable_by(user: "User") -> OutgoingMailQuerySet:
    """Mails to people of the organization that have not been delivered yet, for people who manage it."""
    if not user.may(Ability.MANAGE_ORGANIZATION):
        return OutgoingMail.objects.none()
    mails = OutgoingMail.objects.undelivered().filter(person__organization=user.own_organization)
    return mails.select_related("person")


class OrganizationRowsQuerySet(models.QuerySet[Row]):
    """Rows that belong to one organization through a field of that name."""

    def in_organization(self, user: "User") -> Self:
        """All rows for operators of the installation, the rows of one's own organization for everyone else."""
        if user.is_superuser:
            return self.all()
        return self.filter(organization_id=user.organization_id) if user.organization_id else self.none()

    def in_organization_with(self, ability: Ability, user: "User") -> Self:
        """The same for operators and for people whose role has the ability; no rows for everyone else."""
        return self.in_organization(user) if user.is_superuser or user.may(ability) else self.none()


class SubjectRuleQuerySet(models.QuerySet[Row]):
    """Rules for a person or a group (`accounts.models.SubjectRule`)."""

    def about(self, user: "User") -> "models.QuerySet[Any]":
        """Rules with ``is_direct`` and ``is_of_group``: whether each names the person or one of their groups."""
        groups = user.member_groups.order_by().values("pk")
        return self.order_by().annotate(
            is_direct=models.ExpressionWrapper(Q(user=user), output_field=models.BooleanField()),
            is_of_group=models.ExpressionWrapper(Q(group__in=groups), output_field=models.BooleanField()),
        )

    def for_rules_table(self) -> Self:
        """People first, then groups, each by name."""
        return self.select_related("user", "group").order_by(F("user__email").asc(nulls_last=True), "group__name", "id")


class UserQuerySet(OrganizationRowsQuerySet["User"]):
    def visible_to(self, user: "User") -> Self:
        if user.is_superuser or user.may(Ability.READ_USERS):
            return self.in_organization(user)
        return self.filter(pk=user.pk)

    def of_organization_readable_by(self, user: "User") -> Self:
        """Everyone in the organization, for people whose role can see them; nobody for everyone else."""
        return self.in_organization_with(Ability.READ_USERS, user)

    def as_now(self, actor: "User") -> "User | None":
        """The person who acts, as they are now, still with the limit of their token. ``None`` if they are gone.

        Services read actors with this and never by id alone: then a limited token would reach everything again.
        """
        person = self.filter(pk=actor.pk).first()
        if person is not None:
            person.limited_by_token = actor.limited_by_token
        return person

    def people(self) -> Self:
        """Without service accounts: those who can sign in, get mails and answer for things."""
        return self.filter(is_service_account=False)

    def service_accounts(self) -> Self:
        return self.filter(is_service_account=True)

    def manageable_by(self, user: "User") -> Self:
        """The service accounts whose tokens the person manages: all for Administrators, else those that they are
        responsible for."""
        if user.is_superuser or user.may(Ability.MANAGE_ORGANIZATION):
            return self.service_accounts().in_organization(user)
        return self.service_accounts_of(user)

    def service_accounts_of(self, user: "User") -> Self:
        """The service accounts that the person is responsible for."""
        return self.service_accounts().filter(service_account__responsible=user)

    def service_accounts_readable_by(self, user: "User") -> Self:
        """All of the organization for people whose role can see its people; for others, those that they are
        responsible for."""
        if user.is_superuser or user.may(Ability.READ_USERS):
            return self.service_accounts().in_organization(user)
        return self.service_accounts_of(user)

    def orphaned(self) -> Self:
        """Active service accounts without an active responsible person."""
        return self.service_accounts().filter(orphaned_at__isnull=False, is_active=True)

    def without_reader(self) -> Self:
        """Service accounts, also deactivated ones, for which no active person is responsible who has joined."""
        people = self.model._default_manager.filter(is_active=True, joined_at__isnull=False)
        readers = people.filter(responsible_for=OuterRef("pk"))
        return self.service_accounts().filter(~Exists(readers))

    def active(self) -> Self:
        return self.filter(is_active=True)

    def deactivated(self) -> Self:
        return self.filter(is_active=False)

    def invited(self) -> Self:
        """Active people who have not chosen yet how to sign in."""
        return self.people().active().filter(joined_at__isnull=True)

    def provisioned(self) -> Self:
        """Without people whom SCIM deleted."""
        return self.filter(deprovisioned_at__isnull=True)

    def with_two_factor(self) -> Self:
        """People who have set up an authenticator app or a passkey."""
        return self.filter(Exists(second_factors().filter(user=OuterRef("pk"))))

    def with_second_factors(self) -> Self:
        """Reads ``has_two_factor`` of all rows in the same query."""
        return self.annotate(has_two_factor=Exists(second_factors().filter(user=OuterRef("pk"))))

    def with_managed_roles(self) -> Self:
        """Reads ``role_is_managed`` of all rows in the same query."""
        return self.annotate(role_is_managed=Exists(managing_links().filter(user=OuterRef("pk"))))

    def for_user_table(self) -> Self:
        """With ``live_token_count``, and ``undelivered_mails``, the newest first."""
        undelivered = Prefetch("outgoing_mails", OutgoingMail.objects.undelivered(), to_attr="undelivered_mails")
        rows = self.annotate(live_token_count=access_tokens().live_count()).with_second_factors()
        rows = rows.with_managed_roles()
        return rows.prefetch_related("member_groups", undelivered)

    def for_service_account_table(self) -> Self:
        """With ``live_token_count``, groups and responsible people."""
        rows = self.annotate(live_token_count=access_tokens().live_count()).select_related(
            "service_account__created_by"
        )
        return rows.prefetch_related("member_groups", "service_account__responsible")


class GroupQuerySet(OrganizationRowsQuerySet["Group"]):
    def readable_by(self, user: "User") -> Self:
        """The organization's groups, for people whose role can see them; none for everyone else."""
        if not (user.is_superuser or user.may(Ability.READ_USERS)):
            return self.none()
        return self.in_organization(user)

    def for_group_table(self) -> Self:
        return self.with_managed().annotate(member_count=Count("members"))

    def with_managed(self) -> Self:
        """Reads ``is_managed`` of all rows in the same query."""
        managed = self.model._default_manager.filter(pk=OuterRef("pk"), providers__is_enabled=True)
        return self.annotate(is_managed=Exists(managed))


class OrganizationProviderQuerySet(OrganizationRowsQuerySet["OrganizationProvider"]):
    def manageable_by(self, user: "User") -> Self:
        """Those of all organizations for operators, one's own for people who manage the organization."""
        return self.in_organization_with(Ability.MANAGE_ORGANIZATION, user)
