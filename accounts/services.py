"""Changes to people, groups and organizations, each with its entry in the activity log."""

import uuid
from collections.abc import Collection, Iterable, Mapping
from copy import copy
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.text import slugify

from accounts.mails import email_change_mail, invitation_mail, password_changed_mail
from accounts.models import Group, Organization, User
from accounts.privileges import Privilege, changes_that_need_proof, require_proof
from accounts.roles import Ability, SiteRole
from accounts.security import sessions, two_factor
from accounts.security.email_change import follow_email, forget_waiting_address
from auditlog.actions import Action, record
from auditlog.models import Activity
from core.text import NOT_PRINTABLE, composed, is_printable

SHOWN_RULES = 5
# Of a person, what others change.
USER_FIELDS = ("email", "name", "site_role", "is_active", "password")


class NotAllowed(Exception):
    """The actor may not do this."""


class LastAdministrator(Exception):
    """The organization would be left without an active Administrator."""


class CannotBeInvited(Exception):
    """The address cannot be invited; the message says why, as far as the actor may know."""


class AlreadyAccepted(Exception):
    """There is nothing to invite to: the person is deactivated, or has chosen a password."""


class PolicyChangedMeanwhile(Exception):
    """Somebody else changed the policy since the actor looked at it."""

    def __init__(self) -> None:
        super().__init__("Somebody else changed the policy since you opened it. Nothing was saved.")


class TwoFactorFirst(Exception):
    """The actor would have to have two-factor themselves, and has none."""

    def __init__(self) -> None:
        super().__init__(
            "Set up two-factor for yourself first, under your profile, Security: your own site role would need it."
        )


class NothingToReset(Exception):
    """The person has no two-factor."""

    def __init__(self) -> None:
        super().__init__("This person has no two-factor: there is nothing to remove.")


class NameTaken(Exception):
    """Another group of the organization has this name, in whatever case."""

    def __init__(self) -> None:
        super().__init__("A group of this name exists already. Choose another one.")


class GroupInUse(Exception):
    """Access rules name the group; the message says which."""


# Organizations


def create_organization(*, name: str, administrator: dict[str, Any]) -> tuple[Organization, User]:
    """An organization with its first Administrator. Raises ``ValidationError``. The Administrator is the actor."""
    with transaction.atomic():
        organization = Organization(name=name.strip(), slug=_free_slug(name))
        organization.full_clean()
        organization.save()
        user = User.objects.create_user(organization=organization, site_role=SiteRole.ADMINISTRATOR, **administrator)
        record(actor=user, action=Action.USER_CREATED, target=user, site_role=user.site_role)
    return organization, user


def add_organization(*, actor: User, organization: Organization, request: HttpRequest | None = None) -> Organization:
    """Saves an organization that an operator filled in; its people are added afterwards."""
    require_proof(Privilege.CREATE_ORGANIZATION, request)
    with transaction.atomic():
        organization.save()
        record(actor=actor, action=Action.POLICY_CHANGED, target=organization, request=request, **organization.policy)
    return organization


def planned_policy(
    *, actor: User, organization: Organization, changes: Mapping[str, Any], version: str | None = None
) -> Organization:
    """The organization as it would be with these changes: checked, and not saved.

    ``changes``: values by field, `POLICY_FIELDS` and ``name``. ``version``: the ``policy_version`` that the actor
    looked at. Raises ``PolicyChangedMeanwhile``, ``TwoFactorFirst``, or ``ValidationError`` by field.
    """
    if version is not None and version != organization.policy_version:
        raise PolicyChangedMeanwhile
    planned = copy(organization)
    for field, value in changes.items():
        setattr(planned, field, value)
    # The validators say in words what the database's constraints say.
    planned.full_clean(validate_constraints=False)
    if actor.organization_id == organization.pk:
        _check_own_two_factor(actor, organization, planned)
    return planned


def save_policy(
    *,
    actor: User,
    organization: Organization,
    changes: Mapping[str, Any],
    version: str | None = None,
    request: HttpRequest | None = None,
) -> Organization:
    """Changes an organization's policy, or its name. Holds from the next request on, for tokens that there are too.

    Raises ``NotAllowed`` and what `planned_policy` raises; then nothing is changed. Of two at once, the second is
    compared with what the first has saved.
    """
    require_proof(Privilege.CHANGE_POLICY, request)
    with transaction.atomic():
        person = _allowed(actor, Ability.MANAGE_ORGANIZATION)
        before = _managed_organization(person, organization)
        after = planned_policy(actor=person, organization=before, changes=changes, version=version)
        old, new = ({"name": row.name, **row.policy} for row in (before, after))
        changed = {field: {"from": old[field], "to": new[field]} for field in new if old[field] != new[field]}
        if changed:
            after.save(update_fields=list(changed))
            record(actor=actor, action=Action.POLICY_CHANGED, target=after, request=request, **changed)
    return after


# People


def invite_user(
    *,
    actor: User,
    email: str,
    name: str,
    site_role: str = SiteRole.GUEST,
    groups: Iterable[Group] = (),
    request: HttpRequest | None = None,
) -> User:
    """Someone new in the actor's organization, without a password, who gets a link by mail to choose one.

    Raises ``NotAllowed``, ``CannotBeInvited``, or ``ValidationError`` by field. Of two at once the database's
    constraint lets one through.
    """
    require_proof(Privilege.INVITE, request)
    with transaction.atomic():
        person = _allowed(actor, Ability.MANAGE_ORGANIZATION)
        user = User(email=email, name=name.strip(), site_role=site_role, organization=person.own_organization)
        user.set_unusable_password()
        user.clean_fields(exclude=["password"])
        user.clean()
        chosen = list(groups)
        _check_same_organization(person, chosen, "groups")
        try:
            with transaction.atomic():
                user.save()
        except IntegrityError:
            raise CannotBeInvited(_why_not(person, user.email)) from None
        user.member_groups.set(chosen)
        details = {"site_role": user.site_role, "groups": sorted(group.name for group in chosen)}
        record(actor=actor, action=Action.USER_CREATED, target=user, request=request, **details)
        _send_invitation(actor=actor, user=user, request=request)
    return user


def send_invitation(*, actor: User, user: User, request: HttpRequest | None = None) -> User:
    """Sends the link once more. Raises ``NotAllowed`` or ``AlreadyAccepted``."""
    require_proof(Privilege.INVITE_AGAIN, request)
    return _send_invitation(actor=actor, user=user, request=request)


def _send_invitation(*, actor: User, user: User, request: HttpRequest | None) -> User:
    with transaction.atomic():
        locked = _managed(_allowed(actor, Ability.MANAGE_ORGANIZATION), user)
        if not locked.is_invited:
            raise AlreadyAccepted(f"{locked.email} needs no invitation.")
        record(actor=actor, action=Action.USER_INVITED, target=locked, request=request)
        invitation_mail.put(locked.pk, str(locked.pk))
    return locked


def change_site_role(*, actor: User, user: User, site_role: str, request: HttpRequest | None = None) -> User:
    """Holds from the next request on, for sessions and tokens. Raises ``NotAllowed`` or ``LastAdministrator``."""
    return _change(actor, user, request, site_role=SiteRole(site_role))


def set_active(*, actor: User, user: User, is_active: bool, request: HttpRequest | None = None) -> User:
    """Someone who is deactivated cannot sign in, and none of their tokens work, from the next request on.

    Raises ``NotAllowed`` or ``LastAdministrator``.
    """
    return _change(actor, user, request, is_active=is_active)


def change_user(
    *,
    actor: User,
    user: User,
    site_role: str | None = None,
    is_active: bool | None = None,
    request: HttpRequest | None = None,
) -> User:
    """Both at once, or neither. Raises ``NotAllowed`` or ``LastAdministrator``."""
    changes: dict[str, Any] = {}
    if site_role is not None:
        changes["site_role"] = SiteRole(site_role)
    if is_active is not None:
        changes["is_active"] = is_active
    return _change(actor, user, request, **changes)


def reset_two_factor(*, actor: User, user: User, request: HttpRequest | None = None) -> User:
    """Removes every second factor of someone who lost theirs, and signs them out everywhere. They get a mail.

    Raises ``NothingToReset`` or ``NotAllowed``. That is also for oneself: whoever is signed in has the factor, and
    removes it where that is asked for once more.
    """
    require_proof(Privilege.RESET_TWO_FACTOR, request)
    with transaction.atomic():
        person = _allowed(actor, Ability.MANAGE_ORGANIZATION)
        locked = _managed(person, user)
        if locked.pk == person.pk:
            raise NotAllowed
        if not two_factor.forget_factors(actor=actor, user=locked, request=request):
            raise NothingToReset
        sessions.end_sessions(locked)
    return locked


def reset_two_factor_on_the_machine(*, user: User) -> None:
    """The same for whoever operates the machine, and for anybody: for an only Administrator, or for an operator.

    Raises ``NothingToReset``. The entry has nobody but the person themselves as its actor, and says where it was done.
    """
    with transaction.atomic():
        locked = User.objects.select_for_update(no_key=True).get(pk=user.pk)
        if not two_factor.forget_factors(actor=locked, user=locked, request=None, by="command line"):
            raise NothingToReset
        sessions.end_sessions(locked)


def set_expiry_mails(*, actor: User, wanted: bool, request: HttpRequest | None = None) -> User:
    """Whether mails tell this person that tokens of theirs end. Holds from the next mail on."""
    with transaction.atomic():
        rows = User.objects.filter(pk=actor.pk, wants_expiry_mails=not wanted)
        if rows.update(wants_expiry_mails=wanted):
            record(actor=actor, action=Action.USER_CHANGED, target=actor, request=request, wants_expiry_mails=wanted)
    actor.wants_expiry_mails = wanted
    return actor


def save_user(
    *,
    actor: User,
    user: User,
    is_new: bool,
    filled_in: Collection[str] = USER_FIELDS,
    request: HttpRequest | None = None,
) -> User:
    """Saves a user that was filled in by a form. Raises ``LastAdministrator``.

    ``filled_in``: the fields that the actor changed. All others stay as they are now, and not as they were when the
    form was read: the person may have changed their password since.

    A changed role, an activation and a deactivation hold from the next request on, for sessions and tokens.
    """
    require_proof(Privilege.EDIT_PERSON, request)
    with transaction.atomic():
        before = None
        if not is_new:
            _lock_organization(user.organization_id)
            before = User.objects.select_for_update(no_key=True).get(pk=user.pk)
            for field in {*USER_FIELDS, "joined_at"}.difference(filled_in):
                setattr(user, field, getattr(before, field))
            check_administrator_stays(before, is_active=user.is_active, site_role=user.site_role)
        if user.has_usable_password() and (before is None or before.password != user.password):
            user.joined_at = user.joined_at or timezone.now()
        user.save(update_fields=None if before is None else [*USER_FIELDS, "joined_at"])
        if before is not None:
            _end_what_ended(before, user, request)
        for action, details in _changes(before, user):
            _tell(user, record(actor=actor, action=action, target=user, request=request, **details))
    return user


def check_administrator_stays(before: User, *, is_active: bool, site_role: str) -> None:
    """Raises ``LastAdministrator`` when the change would leave an organization without an active one.

    Locks the organization's row, so that of two demotions at once the second sees the first. Call in a transaction.
    """
    was = before.is_active and before.site_role == SiteRole.ADMINISTRATOR
    stays = is_active and site_role == SiteRole.ADMINISTRATOR
    if not was or stays or before.organization_id is None:
        return
    _lock_organization(before.organization_id)
    # Someone who was only invited can do nothing yet: with them alone nobody could manage the organization.
    administrators = User.objects.active().filter(
        organization_id=before.organization_id, site_role=SiteRole.ADMINISTRATOR
    )
    others = administrators.exclude(pk=before.pk)
    if not others.exclude(pk__in=User.objects.invited().values("pk")).exists():
        raise LastAdministrator("The organization needs an active Administrator. Make someone else one first.")


# Groups


def create_group(*, actor: User, name: str, members: Iterable[User] = (), request: HttpRequest | None = None) -> Group:
    """Raises ``NotAllowed``, ``NameTaken``, or ``ValidationError`` by field."""
    with transaction.atomic():
        person = _allowed(actor, Ability.MANAGE_GROUPS)
        group = Group(organization=person.own_organization, name=name.strip())
        chosen = list(members)
        _check_same_organization(person, chosen, "members")
        _save_group(group)
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
    request: HttpRequest | None = None,
) -> Group:
    """Another name, other members in place of those that it has, or both. Holds from the next request on.

    Raises ``NotAllowed``, ``NameTaken``, or ``ValidationError`` by field; then nothing is changed.
    """
    with transaction.atomic():
        person = _allowed(actor, Ability.MANAGE_GROUPS)
        locked = _locked_group(person, group)
        details: dict[str, Any] = {}
        if name is not None and name.strip() != locked.name:
            details |= {"from": locked.name, "to": name.strip()}
            locked.name = name.strip()
            _save_group(locked)
        if members is not None:
            chosen = list(members)
            _check_same_organization(person, chosen, "members")
            details |= _set_members(locked, chosen)
        if details:
            record(actor=actor, action=Action.GROUP_CHANGED, target=locked, request=request, **details)
    return locked


def add_member(*, actor: User, group: Group, user: User, request: HttpRequest | None = None) -> bool:
    """Whether they were none before. Raises ``NotAllowed``, or ``ValidationError`` for a stranger."""
    with transaction.atomic():
        person = _allowed(actor, Ability.MANAGE_GROUPS)
        locked = _locked_group(person, group)
        _check_same_organization(person, [user], "members")
        if locked.members.filter(pk=user.pk).exists():
            return False
        locked.members.add(user)
        record(actor=actor, action=Action.GROUP_CHANGED, target=locked, request=request, added=[user.email])
    return True


def remove_member(*, actor: User, group: Group, user: User, request: HttpRequest | None = None) -> bool:
    """Whether they were one. Raises ``NotAllowed``."""
    with transaction.atomic():
        locked = _locked_group(_allowed(actor, Ability.MANAGE_GROUPS), group)
        if not locked.members.filter(pk=user.pk).exists():
            return False
        locked.members.remove(user)
        record(actor=actor, action=Action.GROUP_CHANGED, target=locked, request=request, removed=[user.email])
    return True


def delete_group(*, actor: User, group: Group, request: HttpRequest | None = None) -> None:
    """Raises ``NotAllowed``, or ``GroupInUse`` while access rules name it.

    Its rules are not deleted with it: without its last rule a pipeline would be open to everyone.
    """
    with transaction.atomic():
        locked = _locked_group(_allowed(actor, Ability.MANAGE_GROUPS), group)
        record(actor=actor, action=Action.GROUP_DELETED, target=locked, request=request)
        try:
            locked.delete()
        except ProtectedError as error:
            raise GroupInUse(_in_use(locked, list(error.protected_objects))) from None


def save_group(*, actor: User, group: Group, is_new: bool, request: HttpRequest | None = None, **details: Any) -> Group:
    """Saves a group that was filled in by a form."""
    action = Action.GROUP_CREATED if is_new else Action.GROUP_CHANGED
    with transaction.atomic():
        group.save()
        record(actor=actor, action=action, target=group, request=request, **details)
    return group


# What they share


def _allowed(actor: User, ability: Ability) -> User:
    """The actor as they are now, if they may. Someone who was demoted in the same second changes nothing.

    For those who manage the organization its row is locked: of two who demote each other the second is none any more.
    """
    if ability is Ability.MANAGE_ORGANIZATION:
        _lock_organization(actor.organization_id)
    person: User | None = User.objects.filter(pk=actor.pk).first()
    if person is None or not ((person.is_superuser and person.is_active) or person.may(ability)):
        raise NotAllowed
    return person


def _managed_organization(actor: User, organization: Organization) -> Organization:
    """The organization as it is now, locked, if it is the actor's; for operators any."""
    found = Organization.objects.select_for_update(no_key=True).filter(pk=organization.pk).first()
    if found is None or not (actor.is_superuser or actor.organization_id == found.pk):
        raise NotAllowed
    return found


def _check_own_two_factor(actor: User, *policies: Organization) -> None:
    """Whoever asks others for two-factor has it: else the last thing they did here would be to lock themselves out.

    Before the change as well as after it: it cannot be got round by first no longer asking for it.
    """
    if any(policy.requires_two_factor_of(actor.site_role) for policy in policies) and not actor.has_two_factor:
        raise TwoFactorFirst


def _managed(actor: User, user: User) -> User:
    """The person as they are now, locked, if they are of the actor's organization."""
    rows: QuerySet[User] = User.objects.in_organization(actor)
    found: User | None = rows.select_for_update(no_key=True).filter(pk=user.pk).first()
    if found is None:
        raise NotAllowed
    return found


def _change(actor: User, user: User, request: HttpRequest | None, **changes: Any) -> User:
    for privilege in changes_that_need_proof(changes):
        require_proof(privilege, request)
    with transaction.atomic():
        before = _managed(_allowed(actor, Ability.MANAGE_ORGANIZATION), user)
        after: User = User.objects.get(pk=before.pk)
        for field, value in changes.items():
            setattr(after, field, value)
        check_administrator_stays(before, is_active=after.is_active, site_role=after.site_role)
        entries = _changes(before, after)
        if entries:
            after.save(update_fields=list(changes))
            _end_what_ended(before, after, request)
        for action, details in entries:
            record(actor=actor, action=action, target=after, request=request, **details)
    return after


def _check_same_organization(actor: User, rows: list[Any], field: str) -> None:
    """One and the same message for what does not exist and what is another organization's."""
    if any(row.organization_id != actor.organization_id for row in rows):
        raise ValidationError({field: "Not all of these exist in your organization."})


def _locked_group(actor: User, group: Group) -> Group:
    """Locked against a rule that names it in the same moment, too."""
    found = Group.objects.in_organization(actor).select_for_update().filter(pk=group.pk).first()
    if found is None:
        raise NotAllowed
    return found


def _save_group(group: Group) -> None:
    group.name = composed(group.name)
    group.clean_fields()
    if not is_printable(group.name):
        raise ValidationError({"name": NOT_PRINTABLE})
    try:
        with transaction.atomic():
            group.save()
    except IntegrityError:
        raise NameTaken from None


def _set_members(group: Group, members: list[User]) -> dict[str, list[str]]:
    """Returns the e-mail addresses of those who came and of those who went."""
    before = {member.pk: member.email for member in group.members.all()}
    after = {member.pk: member.email for member in members}
    changes = {
        "added": sorted(email for pk, email in after.items() if pk not in before),
        "removed": sorted(email for pk, email in before.items() if pk not in after),
    }
    group.members.set(members)
    return {name: emails for name, emails in changes.items() if emails}


def _in_use(group: Group, rules: list[Any]) -> str:
    shown = "; ".join(str(rule) for rule in rules[:SHOWN_RULES])
    more = f"; and {len(rules) - SHOWN_RULES} more" if len(rules) > SHOWN_RULES else ""
    return f"Access rules name “{group.name}”: {shown}{more}. Take it out of them first, then delete it."


def _why_not(actor: User, email: str) -> str:
    """Organizations do not see each other: of an address that is taken elsewhere nothing is told."""
    if User.objects.in_organization(actor).filter(email__iexact=email).exists():
        return f"{email} belongs to your organization already."
    return "This address cannot be invited."


def _lock_organization(organization_id: uuid.UUID | None) -> None:
    """Until the transaction ends. Comes before the lock of any person, so that two changes at once cannot deadlock.

    Without its key: entries of the logs, which refer to the organization and to the people, need not wait.
    """
    if organization_id is not None:
        Organization.objects.select_for_update(no_key=True).get(pk=organization_id)


def _end_what_ended(before: User, after: User, request: HttpRequest | None) -> None:
    """Sessions of someone who was deactivated, or was given another password; what stood under another address.

    The session in which somebody does this to themselves is refused from its next request on: it must be there to be
    answered in.
    """
    if (before.is_active and not after.is_active) or before.password != after.password:
        forget_waiting_address(after)
        sessions.end_sessions(after, keep=sessions.key_of(request))
    if before.email != after.email:
        follow_email(after)


def _changes(before: User | None, after: User) -> list[tuple[Action, dict[str, Any]]]:
    if before is None:
        return [(Action.USER_CREATED, {"site_role": after.site_role})]
    changes: list[tuple[Action, dict[str, Any]]] = []
    if before.site_role != after.site_role:
        changes.append((Action.USER_ROLE_CHANGED, {"from": before.site_role, "to": after.site_role}))
    if before.is_active != after.is_active:
        changes.append((Action.USER_ACTIVATED if after.is_active else Action.USER_DEACTIVATED, {}))
    if before.email != after.email:
        changes.append((Action.EMAIL_CHANGED, {"from": before.email, "to": after.email}))
    if before.password != after.password:
        changes.append((Action.PASSWORD_CHANGED, {}))
    if before.name != after.name:
        changes.append((Action.USER_CHANGED, {"fields": ["name"]}))
    return changes


def _tell(user: User, entry: Activity) -> None:
    """The person by mail what somebody did to how they sign in; of another address, the one that they had."""
    mails = {Action.PASSWORD_CHANGED: password_changed_mail, Action.EMAIL_CHANGED: email_change_mail}
    if mail := mails.get(Action(entry.action)):
        mail.put(user.pk, entry.pk)


def _free_slug(name: str) -> str:
    base = slugify(name)[:40] or "organization"
    taken = set(Organization.objects.filter(slug__startswith=base).values_list("slug", flat=True))
    return next(slug for slug in (base, *(f"{base}-{number}" for number in range(2, 10**6))) if slug not in taken)
