"""What the pages under "Organization" share."""

from typing import Any

from django.conf import settings
from django.shortcuts import get_object_or_404

from accounts.models import Group, User
from accounts.roles import Ability
from core.pages.views import MemberPageMixin, SectionMixin


class OrganizationPageMixin(SectionMixin, MemberPageMixin):
    """A page under "Organization". People need ``ability`` to open it; the services decide what they may change."""

    section = "organization"
    ability = Ability.READ_USERS

    def role_allows(self, user: User) -> bool:
        return user.may(self.ability)


def find_user(actor: User, pk: str) -> User:
    """404 if the actor can't see this person. Service accounts have pages of their own."""
    users = User.objects.people().of_organization_readable_by(actor)
    user: User = get_object_or_404(users.for_user_table(), pk=pk)
    return user


def find_group(actor: User, pk: str) -> Group:
    """404 if the actor can't see this group."""
    return get_object_or_404(Group.objects.readable_by(actor).with_managed(), pk=pk)


def find_member(actor: User, pk: str) -> User:
    """404 if the actor can't see this person or service account."""
    user: User = get_object_or_404(User.objects.of_organization_readable_by(actor), pk=pk)
    return user


def find_service_account(actor: User, pk: str) -> User:
    """404 if the actor can't see this service account."""
    accounts = User.objects.service_accounts_readable_by(actor).for_service_account_table()
    account: User = get_object_or_404(accounts, pk=pk)
    return account


class ServiceAccountPageMixin(SectionMixin, MemberPageMixin):
    """A page of service accounts: of the organization, or for others of those that they are responsible for."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        self.section, self.current_tab = place_of_service_accounts(self.person)
        return super().get_context_data(**kwargs)


def place_of_service_accounts(person: User) -> tuple[str, str]:
    """The section and the tab of the pages of service accounts.

    People who are responsible for one, and whose role can't open the pages under "Organization", find them from their
    own tokens.
    """
    if person.may(Ability.READ_USERS):
        return "organization", "accounts:organization_service_account_list"
    return "profile", settings.ACCESS_TOKEN_LIST_PAGE
