"""Service accounts: creating them, changing them, and who is responsible for them.

A service account belongs to an organization like a person, and never signs in. People are responsible for it. Without
an active one, it is orphaned, which ``User.orphaned_at`` says. Every change of that takes the lock of the organization,
so that of two changes at once the second sees the first.
"""

import uuid
from collections.abc import Collection, Iterable
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import get_random_string
from django.utils.text import slugify
from django.utils.translation import gettext, gettext_lazy

from accounts import seen as fingerprints
from accounts.models import Group, ServiceAccount, User
from accounts.privileges import Privilege, require_proof
from accounts.querysets import UserQuerySet
from accounts.roles import Ability, SiteRole
from accounts.services.guard import allowed, check_members_are_ours, check_same_organization, lock_organization
from auditlog.actions import Action
from auditlog.record import record
from core.db.locks import lock_if_exists
from core.errors import DomainError, NotAllowed
from core.seen import check_seen
from core.service_accounts import ENDING
from core.text import NOT_PRINTABLE, composed, is_printable

DESCRIPTION_MAX_LENGTH = ServiceAccount._meta.get_field("description").max_length or 0
MOST_RESPONSIBLE = 20
# Everything else that an Administrator may do needs a signed-in person who proves who they are. For what tokens can do,
# these roles are enough.
ROLES_OF_SERVICE_ACCOUNTS = [role for role in SiteRole if role is not SiteRole.ADMINISTRATOR]
# Letters and digits after the name, so that each has its own address.
_HANDLE_LENGTH = 6
_HANDLE_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


class ServiceAccountInactive(DomainError):
    code = "service_account_inactive"
    message = gettext_lazy("This service account is deactivated. Activate it first.")


def create_service_account(
    *,
    actor: User,
    name: str,
    responsible: Iterable[User],
    description: str = "",
    site_role: str = SiteRole.GUEST,
    groups: Iterable[Group] = (),
    request: HttpRequest | None = None,
) -> User:
    """Creates a service account in the actor's organization. It has no password and no tokens.

    Raises ``NotAllowed``, ``ManagedByProvider`` for its groups, or ``ValidationError`` by field.
    """
    require_proof(Privilege.CREATE_SERVICE_ACCOUNT, request)
    with transaction.atomic():
        person = allowed(actor, Ability.MANAGE_ORGANIZATION)
        home = person.own_organization
        user = User(organization=home, is_service_account=True, joined_at=timezone.now())
        user.set_unusable_password()
        _take(user, name=name, site_role=site_role)
        chosen = _checked_responsible(home.pk, responsible)
        members_of = list(groups)
        check_same_organization(home.pk, members_of, "groups")
        check_members_are_ours(*members_of, field="groups")
        _save_new(user)
        account = ServiceAccount(user=user, description=_clean_description(description), created_by=person)
        account.save(force_insert=True)
        account.responsible.set(chosen)
        user.member_groups.set(members_of)
        record(
            actor=actor,
            action=Action.SERVICE_ACCOUNT_CREATED,
            target=user,
            request=request,
            site_role=user.site_role,
            groups=sorted(group.name for group in members_of),
            responsible=_addresses(chosen),
        )
    return user


def change_service_account(
    *,
    actor: User,
    account: User,
    name: str | None = None,
    description: str | None = None,
    site_role: str | None = None,
    groups: Iterable[Group] | None = None,
    responsible: Iterable[User] | None = None,
    seen: str | None = None,
    request: HttpRequest | None = None,
) -> User:
    """Changes all of these or none; ``None`` leaves a field as it is. It applies from the next request on.

    ``seen``: `accounts.seen.of_service_account`. Raises ``NotAllowed``, ``ChangedMeanwhile``, ``ManagedByProvider`` for
    its groups, or ``ValidationError`` by field.
    """
    require_proof(Privilege.CHANGE_SERVICE_ACCOUNT, request)
    with transaction.atomic():
        user = locked_service_account(allowed(actor, Ability.MANAGE_ORGANIZATION), account)
        row = user.service_account
        if seen is not None:
            check_seen(seen, fingerprints.of_service_account(user))
        before = {"name": user.name, "site_role": user.site_role, "description": row.description}
        _take(user, name=user.name if name is None else name, site_role=site_role or user.site_role)
        if description is not None:
            row.description = _clean_description(description)
        after = {"name": user.name, "site_role": user.site_role, "description": row.description}
        details: dict[str, Any] = {}
        if changed := [field for field in before if before[field] != after[field]]:
            user.save(update_fields=["name", "site_role"])
            row.save(update_fields=["description"])
            details["fields"] = changed
        if "site_role" in changed:
            details |= {"from": before["site_role"], "to": after["site_role"]}
        if groups is not None:
            details |= _replace_groups(user, list(groups))
        if details:
            record(actor=actor, action=Action.SERVICE_ACCOUNT_CHANGED, target=user, request=request, **details)
        if responsible is not None:
            _replace_responsible(actor, user, list(responsible), request)
    return user


def set_service_account_active(
    *, actor: User, account: User, is_active: bool, request: HttpRequest | None = None
) -> User:
    """The tokens of a deactivated service account don't work, from the next request on. Nothing is deleted.

    Raises ``NotAllowed``.
    """
    if is_active:
        require_proof(Privilege.ACTIVATE_SERVICE_ACCOUNT, request)
    with transaction.atomic():
        user = locked_service_account(allowed(actor, Ability.MANAGE_ORGANIZATION), account)
        if user.is_active != is_active:
            user.is_active = is_active
            user.save(update_fields=["is_active"])
            action = Action.SERVICE_ACCOUNT_ACTIVATED if is_active else Action.SERVICE_ACCOUNT_DEACTIVATED
            record(actor=actor, action=action, target=user, request=request)
    return user


def only_responsible_for(person: User) -> UserQuerySet:
    """The active service accounts that would be orphaned if this person were deactivated."""
    others = ServiceAccount.responsible.through.objects.filter(
        serviceaccount=OuterRef("pk"), user__is_active=True
    ).exclude(user=person.pk)
    mine: UserQuerySet = User.objects.service_accounts_of(person).active()
    return mine.filter(~Exists(others)).order_by("name", "pk")


def note_orphans(organization_ids: Collection[uuid.UUID] | None = None) -> None:
    """Sets and clears ``orphaned_at`` where it differs from whether an active person is responsible.

    Call it in the transaction of a change, with the organization locked. ``None``: all organizations, for the job that
    also finds changes that were made without the services.
    """
    accounts = User.objects.service_accounts()
    if organization_ids is not None:
        accounts = accounts.filter(organization__in=organization_ids)
    active = ServiceAccount.responsible.through.objects.filter(serviceaccount=OuterRef("pk"), user__is_active=True)
    accounts.filter(~Exists(active), orphaned_at__isnull=True).update(orphaned_at=timezone.now())
    accounts.filter(Exists(active), orphaned_at__isnull=False).update(orphaned_at=None)


def locked_service_account(actor: User, account: User) -> User:
    """The service account as it is now, locked. Raises ``NotAllowed`` for those of another organization, and for
    people."""
    if actor.is_superuser:
        lock_organization(account.organization_id)
    rows = User.objects.service_accounts().in_organization(actor)
    found: User | None = lock_if_exists(rows, account.pk)
    if found is None:
        raise NotAllowed
    return found


def _take(user: User, *, name: str, site_role: str) -> None:
    """Sets both, checked. Raises ``ValidationError`` by field."""
    if site_role not in ROLES_OF_SERVICE_ACCOUNTS:
        raise ValidationError({"site_role": gettext("A service account can't have this site role.")})
    user.name, user.site_role = name.strip(), site_role
    if not user.email:
        user.email = _new_address(user.name)
    user.clean_fields(exclude=["password"])
    user.clean()


def _new_address(name: str) -> str:
    handle = slugify(name)[:40].strip("-_") or "service"
    return f"{handle}-{get_random_string(_HANDLE_LENGTH, _HANDLE_CHARACTERS)}{ENDING}"


def _save_new(user: User) -> None:
    """With another address if by chance this one exists."""
    while True:
        try:
            with transaction.atomic():
                user.save(force_insert=True)
        except IntegrityError:
            if not User.objects.filter(email=user.email).exists():
                raise
            user.email = _new_address(user.name)
        else:
            return


def _clean_description(text: str) -> str:
    text = composed(" ".join(text.split()))
    if len(text) > DESCRIPTION_MAX_LENGTH:
        said = gettext("At most %(count)s characters.") % {"count": DESCRIPTION_MAX_LENGTH}
        raise ValidationError({"description": said})
    if not is_printable(text):
        raise ValidationError({"description": NOT_PRINTABLE})
    return text


def _checked_responsible(
    organization_id: uuid.UUID, people: Iterable[User], *, before: Collection[uuid.UUID] = ()
) -> list[User]:
    """The people as they are now, each once. People who were responsible ``before`` may stay, also if they are
    deactivated. Raises ``ValidationError``."""
    ids = list(dict.fromkeys(person.pk for person in people))
    found = list(User.objects.people().filter(pk__in=ids, organization_id=organization_id).order_by("email"))
    if len(found) != len(ids):
        raise ValidationError({"responsible": gettext("Not all of these exist in your organization.")})
    for person in found:
        if person.pk not in before and (not person.is_active or person.is_invited):
            said = gettext("%(email)s can't sign in: choose people who are active.") % {"email": person.email}
            raise ValidationError({"responsible": said})
    if not any(person.is_active for person in found):
        raise ValidationError({"responsible": gettext("Name at least one active person who is responsible.")})
    if len(found) > MOST_RESPONSIBLE:
        said = gettext("Name at most %(count)s people.") % {"count": MOST_RESPONSIBLE}
        raise ValidationError({"responsible": said})
    return found


def _replace_groups(user: User, groups: list[Group]) -> dict[str, list[str]]:
    """Returns the details for the log."""
    check_same_organization(user.own_organization.pk, groups, "groups")
    present = list(user.member_groups.all())
    before = {group.pk: group.name for group in present}
    after = {group.pk: group.name for group in groups}
    changed = [group for group in [*present, *groups] if (group.pk in before) != (group.pk in after)]
    check_members_are_ours(*changed, field="groups")
    user.member_groups.set(groups)
    changes = {
        "groups_added": sorted(name for pk, name in after.items() if pk not in before),
        "groups_removed": sorted(name for pk, name in before.items() if pk not in after),
    }
    return {field: names for field, names in changes.items() if names}


def _replace_responsible(actor: User, user: User, people: list[User], request: HttpRequest | None) -> None:
    row = user.service_account
    before = {person.pk: person.email for person in row.responsible.all()}
    chosen = _checked_responsible(user.own_organization.pk, people, before=before)
    after = {person.pk: person.email for person in chosen}
    if before.keys() == after.keys():
        return
    row.responsible.set(chosen)
    note_orphans([user.own_organization.pk])
    user.refresh_from_db(fields=["orphaned_at"])
    record(
        actor=actor,
        action=Action.SERVICE_ACCOUNT_RESPONSIBLE_CHANGED,
        target=user,
        request=request,
        added=sorted(email for pk, email in after.items() if pk not in before),
        removed=sorted(email for pk, email in before.items() if pk not in after),
    )


def _addresses(people: Iterable[User]) -> list[str]:
    return sorted(person.email for person in people)
