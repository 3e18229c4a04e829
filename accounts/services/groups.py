"""Creating, changing and deleting groups."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext, gettext_lazy, ngettext

from accounts import seen as fingerprints
from accounts.models import Group, User
from accounts.roles import Ability
from accounts.services.guard import (
    ManagedByProvider,
    allowed,
    check_members_are_ours,
    check_same_organization,
    locked_group,
)
from auditlog.actions import Action
from auditlog.record import record
from core.errors import DomainError, NameTaken
from core.seen import check_seen
from core.text import NOT_PRINTABLE, composed, grouped, is_printable

# How many access rules the message of `GroupInUse` lists.
RULES_LISTED = 5
GROUP_NAME_TAKEN = gettext_lazy("A group of this name exists already. Choose another one.")


class GroupInUse(DomainError):
    """Access rules name the group; the message lists them. Not for a limited token: they name pipelines."""

    def __init__(self, group: Group, rules: Sequence[object], *, actor: User) -> None:
        if actor.limited_by_token is not None:
            said = gettext("Access rules use “%(group)s”. Remove it from these rules first, then delete it.")
            super().__init__(said % {"group": group.name})
            return
        more = len(rules) - RULES_LISTED
        said = (
            ngettext(
                "Access rules use “%(group)s”: %(rules)s; and %(count)s more. Remove it from these rules first, then "
                "delete it.",
                "Access rules use “%(group)s”: %(rules)s; and %(count)s more. Remove it from these rules first, then "
                "delete it.",
                more,
            )
            if more > 0
            else gettext("Access rules use “%(group)s”: %(rules)s. Remove it from these rules first, then delete it.")
        )
        listed = "; ".join(str(rule) for rule in rules[:RULES_LISTED])
        super().__init__(said % {"group": group.name, "rules": listed, "count": grouped(more)})


def create_group(
    *,
    actor: User,
    name: str,
    members: Iterable[User] = (),
    external_id: str = "",
    request: HttpRequest | None = None,
) -> Group:
    """Raises ``NotAllowed``, ``NameTaken``, or ``ValidationError`` by field."""
    with transaction.atomic():
        person = allowed(actor, Ability.MANAGE_GROUPS)
        group = Group(organization=person.own_organization, name=name, external_id=external_id)
        chosen = list(members)
        check_same_organization(group.organization_id, chosen, "members")
        _save(group)
        group.members.set(chosen)
        emails = sorted(member.email for member in chosen)
        record(actor=actor, action=Action.GROUP_CREATED, target=group, request=request, members=emails)
    return group


def change_group(
    *,
    actor: User,
    group: Group,
    name: str | None = None,
    members: Iterable[User] | None = None,
    added: Iterable[User] = (),
    removed: Iterable[User] = (),
    external_id: str | None = None,
    keeps_service_accounts: bool = False,
    seen: str | None = None,
    request: HttpRequest | None = None,
) -> Group:
    """Renames the group, replaces its members, or changes some of them. It applies from the next request on.

    ``added`` and ``removed`` come after ``members``; nobody else's change at the same time is lost.
    ``keeps_service_accounts``: ``members`` are only people, and service accounts stay in the group. ``seen``:
    `accounts.seen.of_group_name`, or `of_group` and `of_provisioned_group` from there, which members are part of.
    Raises ``NotAllowed``, ``ChangedMeanwhile``, ``NameTaken``, ``ManagedByProvider`` for other members, or
    ``ValidationError`` by field; then nothing is changed.
    """
    with transaction.atomic():
        locked = locked_group(allowed(actor, Ability.MANAGE_GROUPS), group)
        if seen is not None:
            check_seen(
                seen,
                fingerprints.of_group_name(locked),
                fingerprints.of_group(locked),
                fingerprints.of_provisioned_group(locked, _people_in(locked)),
            )
        details = _rename(locked, name) if name is not None else {}
        if members is not None:
            details |= _replace_members(locked, list(members), keeps_service_accounts=keeps_service_accounts)
        details |= _change_members(locked, list(added), list(removed))
        if external_id is not None and external_id != locked.external_id:
            locked.external_id = external_id
            _save(locked)
            details["fields"] = ["external_id"]
        if details:
            record(actor=actor, action=Action.GROUP_CHANGED, target=locked, request=request, **details)
    return locked


def add_member(*, actor: User, group: Group, user: User, request: HttpRequest | None = None) -> bool:
    """Adds a person, and returns ``False`` if they already were a member.

    Raises ``NotAllowed``, ``ManagedByProvider``, or ``ValidationError`` for a person of another organization.
    """
    with transaction.atomic():
        locked = locked_group(allowed(actor, Ability.MANAGE_GROUPS), group)
        check_same_organization(locked.organization_id, [user], "members")
        if locked.members.filter(pk=user.pk).exists():
            return False
        check_members_are_ours(locked, field="email")
        locked.members.add(user)
        record(actor=actor, action=Action.GROUP_CHANGED, target=locked, request=request, added=[user.email])
    return True


def remove_member(*, actor: User, group: Group, user: User, request: HttpRequest | None = None) -> bool:
    """Removes a person, and returns ``False`` if they were not a member.

    Raises ``NotAllowed`` or ``ManagedByProvider``.
    """
    with transaction.atomic():
        locked = locked_group(allowed(actor, Ability.MANAGE_GROUPS), group)
        if not locked.members.filter(pk=user.pk).exists():
            return False
        check_members_are_ours(locked)
        locked.members.remove(user)
        record(actor=actor, action=Action.GROUP_CHANGED, target=locked, request=request, removed=[user.email])
    return True


def delete_group(*, actor: User, group: Group, request: HttpRequest | None = None) -> None:
    """Raises ``NotAllowed``, ``ManagedByProvider``, or ``GroupInUse`` while access rules name it.

    Its rules are not deleted with it: a pipeline without rules is open to everyone.
    """
    with transaction.atomic():
        locked = locked_group(allowed(actor, Ability.MANAGE_GROUPS), group)
        if locked.is_managed:
            said = gettext("The rules of single sign-on use “%(group)s”. Remove it there first, then delete it.")
            raise ManagedByProvider(said % {"group": locked.name})
        record(actor=actor, action=Action.GROUP_DELETED, target=locked, request=request)
        try:
            locked.delete()
        except ProtectedError as error:
            raise GroupInUse(locked, list(error.protected_objects), actor=actor) from None


def _people_in(group: Group) -> QuerySet[Any, UUID]:
    """SCIM shows only people as members."""
    return group.members.filter(is_service_account=False).values_list("pk", flat=True)


def _rename(group: Group, name: str) -> dict[str, Any]:
    """Returns the details for the log: none if the name stays the same."""
    before = group.name
    if name.strip() == before:
        return {}
    group.name = name
    _save(group)
    return {"from": before, "to": group.name}


def _save(group: Group) -> None:
    group.name = composed(group.name.strip())
    group.clean_fields()
    if not is_printable(group.name):
        raise ValidationError({"name": NOT_PRINTABLE})
    try:
        with transaction.atomic():
            group.save()
    except IntegrityError:
        raise NameTaken(GROUP_NAME_TAKEN) from None


def _change_members(group: Group, added: list[User], removed: list[User]) -> dict[str, list[str]]:
    """Returns the details for the log, as `_replace_members`. People who are members already, or are none, are left
    out."""
    if not (added or removed):
        return {}
    check_same_organization(group.organization_id, [*added, *removed], "members")
    named = [user.pk for user in (*added, *removed)]
    members = set(group.members.filter(pk__in=named).values_list("pk", flat=True))
    joining = [user for user in added if user.pk not in members]
    leaving = [user for user in removed if user.pk in members]
    if joining or leaving:
        check_members_are_ours(group, field="members")
    group.members.add(*joining)
    group.members.remove(*leaving)
    changes = {
        "added": sorted(user.email for user in joining),
        "removed": sorted(user.email for user in leaving),
    }
    return {name: emails for name, emails in changes.items() if emails}


def _replace_members(group: Group, members: list[User], *, keeps_service_accounts: bool) -> dict[str, list[str]]:
    """Returns the details for the log: the e-mail addresses of people who were ``added`` and ``removed``."""
    check_same_organization(group.organization_id, members, "members")
    replaced = [member for member in group.members.all() if not (keeps_service_accounts and member.is_service_account)]
    before = {member.pk: member.email for member in replaced}
    after = {member.pk: member.email for member in members}
    changes = {
        "added": sorted(email for pk, email in after.items() if pk not in before),
        "removed": sorted(email for pk, email in before.items() if pk not in after),
    }
    if any(changes.values()):
        check_members_are_ours(group, field="members")
    # Not `set`, which would also remove a service account that joins at this moment.
    group.members.add(*(member for member in members if member.pk not in before))
    group.members.remove(*(member for member in replaced if member.pk not in after))
    return {name: emails for name, emails in changes.items() if emails}
