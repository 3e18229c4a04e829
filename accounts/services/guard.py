"""Checks that an actor may make a change, and locks the rows that it is about. Call these in a transaction."""

import uuid
from collections.abc import Sequence

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import Group, Organization, User
from accounts.roles import Ability
from core.db.locks import lock, lock_all, lock_if_exists
from core.errors import DomainError, NotAllowed

UNKNOWN_SUBJECT = gettext_lazy("No such person or group in your organization.")


def allowed(actor: User, ability: Ability) -> User:
    """The actor as they are now. Raises ``NotAllowed`` if they lost the ability in the meantime.

    Locks the organization of people who manage it: if two Administrators demote each other at once, the second is
    refused.
    """
    if ability is Ability.MANAGE_ORGANIZATION:
        lock_organization(actor.organization_id)
    person: User | None = User.objects.as_now(actor)
    if person is None or not (_is_active_operator(person) or person.may(ability)):
        raise NotAllowed
    return person


def locked_user(actor: User, user: User) -> User:
    """The person as they are now, locked. Raises ``NotAllowed`` for people of another organization, and for service
    accounts, which have services of their own."""
    if actor.is_superuser:
        lock_organization(user.organization_id)
    found: User | None = lock_if_exists(User.objects.people().in_organization(actor), user.pk)
    if found is None:
        raise NotAllowed
    return found


def locked_group(actor: User, group: Group) -> Group:
    """The group as it is now, locked. Raises ``NotAllowed`` for groups of another organization.

    Also waits for access rules that are about to name the group, unlike `lock`.
    """
    found = lock_if_exists(Group.objects.in_organization(actor), group.pk, blocks_references=True)
    if found is None:
        raise NotAllowed
    return found


def locked_organization(actor: User, organization: Organization, *, blocks_references: bool = False) -> Organization:
    """The organization as it is now, locked. Raises ``NotAllowed`` if it is not the actor's; operators get any."""
    if not (actor.is_superuser or actor.organization_id == organization.pk):
        raise NotAllowed
    found = lock_if_exists(Organization.objects.all(), organization.pk, blocks_references=blocks_references)
    if found is None:
        raise NotAllowed
    return found


class ManagedByProvider(DomainError):
    """The organization's provider decides about this at each sign-in. By hand, it would last only until then."""

    code = "managed_by_provider"


def check_members_are_ours(*groups: Group, field: str = "") -> None:
    """Raises ``ManagedByProvider`` if the members of one of the groups come from the organization's provider."""
    managed = next((group for group in groups if group.is_managed), None)
    if managed is not None:
        said = _("The members of “%(group)s” come from single sign-on. Change them at the provider.")
        raise ManagedByProvider(said % {"group": managed.name}, field=field)


def lock_organization(organization_id: uuid.UUID | None) -> None:
    """Always lock the organization before a person, so that two changes at once can't deadlock."""
    if organization_id is not None:
        lock(Organization.objects.all(), organization_id)


def check_same_organization(organization_id: uuid.UUID, rows: Sequence[User | Group], field: str) -> None:
    """The same message for rows that don't exist and for rows of another organization, so that ids can't be probed."""
    if any(row.organization_id != organization_id for row in rows):
        raise ValidationError({field: _("Not all of these exist in your organization.")})


def check_subjects(organization_id: uuid.UUID, subjects: Sequence[User | Group]) -> None:
    """For access rules. Locks the groups, so that none is deleted meanwhile. Raises ``ValidationError``."""
    groups = sorted(subject.pk for subject in subjects if isinstance(subject, Group))
    people = [subject.pk for subject in subjects if isinstance(subject, User)]
    here = {"organization_id": organization_id}
    found = len(lock_all(Group.objects.filter(pk__in=groups, **here)))
    found += User.objects.filter(pk__in=people, **here).count()
    if found != len(set(groups)) + len(set(people)):
        raise ValidationError({"rules": UNKNOWN_SUBJECT})


def _is_active_operator(person: User) -> bool:
    return person.is_superuser and person.is_active
