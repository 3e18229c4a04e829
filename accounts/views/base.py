"""What the pages under "Organization" share."""

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
    """404 if the actor can't see this person."""
    user: User = get_object_or_404(User.objects.of_organization_readable_by(actor).for_user_table(), pk=pk)
    return user


def find_group(actor: User, pk: str) -> Group:
    """404 if the actor can't see this group."""
    return get_object_or_404(Group.objects.readable_by(actor).with_managed(), pk=pk)
