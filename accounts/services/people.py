"""Inviting, creating and changing people."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy
from django.views.decorators.debug import sensitive_variables

from accounts import seen as fingerprints
from accounts.access_tokens import access_tokens
from accounts.mails import email_change_mail, invitation_mail, password_changed_mail
from accounts.models import Group, Organization, User, UserState
from accounts.notifications.kinds import BY_ID, END_NEAR, ROLE_CHANGED, channel_for
from accounts.notifications.telling import News, name_of, tell
from accounts.privileges import Privilege, privileges_for, require_proof
from accounts.roles import Ability, SiteRole
from accounts.security import sessions, two_factor
from accounts.security.email_change import follow_email, forget_waiting_address
from accounts.services.guard import (
    ManagedByProvider,
    allowed,
    check_members_are_ours,
    check_same_organization,
    lock_organization,
    locked_user,
)
from accounts.services.service_accounts import note_orphans
from accounts.signin.single_sign_on.provider import providers_for
from auditlog.actions import Action
from auditlog.models import Activity
from auditlog.open_use import token_in_use
from auditlog.record import record, record_each
from core.api.problems import ClosedToTokens
from core.db.locks import lock
from core.errors import DomainError, NotAllowed
from core.reading import time_zones
from core.seen import check_seen

# What `change_user` can change in a row.
CHANGEABLE = (
    "email",
    "name",
    "site_role",
    "is_active",
    "password",
    "joined_at",
    "external_id",
    "deprovisioned_at",
)


class LastAdministrator(DomainError):
    """The organization would be left without an active Administrator."""

    message = gettext_lazy("The organization needs an active Administrator. Make someone else an Administrator first.")


class EmailTaken(DomainError):
    """Somebody has this e-mail address. The message says whose it is only if the actor can see them."""

    code = "email_taken"
    field = "email"


class AlreadyAccepted(DomainError):
    """The person is deactivated, or has already chosen a password or signed in with the provider."""


class PersonErased(DomainError):
    message = gettext_lazy("This person was erased. That can't be undone.")


class NothingToReset(DomainError):
    message = gettext_lazy("This person has no two-factor: there is nothing to remove.")


def invite_user(
    *,
    actor: User,
    email: str,
    name: str,
    site_role: str = SiteRole.GUEST,
    groups: Iterable[Group] = (),
    request: HttpRequest | None = None,
) -> User:
    """Creates a person without a password in the actor's organization. They get a link by mail to choose one.

    Raises ``NotAllowed``, ``EmailTaken``, or ``ValidationError`` by field. If two people invite the same address at
    once, the database's constraint refuses one of them.
    """
    require_proof(Privilege.INVITE, request)
    with transaction.atomic():
        person = allowed(actor, Ability.MANAGE_ORGANIZATION)
        user = User(email=email, name=name, site_role=site_role, organization=person.own_organization)
        chosen = list(groups)
        check_same_organization(person.own_organization.pk, chosen, "groups")
        check_members_are_ours(*chosen, field="groups")
        _create(person, user, request, groups=chosen)
        _send_invitation(actor=actor, user=user, request=request)
    return user


def provision_user(
    *,
    actor: User,
    email: str,
    name: str,
    site_role: str = SiteRole.GUEST,
    is_active: bool = True,
    external_id: str = "",
    request: HttpRequest | None = None,
) -> User:
    """Creates a person for an identity provider, through SCIM, in the actor's organization.

    They sign in with single sign-on. Only if this installation has none, they get an invitation by mail: a link for a
    password would be a second way in, which the identity provider doesn't know and can't close.

    A person whom SCIM deleted before comes back with the same id, because logs refer to it. Raises ``NotAllowed``,
    ``EmailTaken``, or ``ValidationError`` by field.
    """
    require_proof(Privilege.INVITE, request)
    with transaction.atomic():
        person = allowed(actor, Ability.MANAGE_ORGANIZATION)
        gone = User.objects.in_organization(person).filter(email__iexact=email, deprovisioned_at__isnull=False).first()
        if gone is not None:
            # The rules of single sign-on decide about the role of somebody who is still connected.
            role = {} if gone.role_is_managed else {"site_role": site_role}
            user = change_user(
                actor=actor,
                user=gone,
                request=request,
                name=name,
                **role,
                is_active=is_active,
                external_id=external_id,
                deprovisioned_at=None,
            )
        else:
            user = User(
                email=email,
                name=name,
                site_role=site_role,
                is_active=is_active,
                external_id=external_id,
                organization=person.own_organization,
            )
            _create(person, user, request)
        invite_if_needed(actor=actor, user=user, request=request)
    return user


def invite_if_needed(*, actor: User, user: User, request: HttpRequest | None = None) -> None:
    """Sends an invitation to a person who has no other way to sign in: see `provision_user`."""
    if user.is_invited and not providers_for(user):
        _send_invitation(actor=actor, user=user, request=request)


def deprovision_user(*, actor: User, user: User, seen: str | None = None, request: HttpRequest | None = None) -> User:
    """Deactivates a person and removes them from all groups. SCIM no longer shows them; pages and logs still do.

    Also removes their ways in and ends their tokens, because their address can belong to someone else when SCIM brings
    them back. Raises what `change_user` raises.
    """
    require_proof(Privilege.EDIT_PERSON, request)
    with transaction.atomic():
        gone = change_user(
            actor=actor, user=user, seen=seen, request=request, is_active=False, deprovisioned_at=timezone.now()
        )
        _remove_ways_in(actor, gone, request)
        groups = [*gone.member_groups.select_related("organization")]
        gone.member_groups.clear()
        left = [(actor, group) for group in groups]
        record_each(left, action=Action.GROUP_CHANGED, request=request, removed=[gone.email])
    return gone


@sensitive_variables()
def create_user(
    *,
    actor: User,
    email: str,
    name: str,
    password: str,
    site_role: str = SiteRole.GUEST,
    organization: Organization | None = None,
    request: HttpRequest | None = None,
) -> User:
    """Creates a person with a password, in the actor's organization; operators name the ``organization``.

    Only Django admin calls it. On pages and in the API, people are invited and choose their own password
    (``invite_user``).

    Raises ``NotAllowed``, ``EmailTaken``, or ``ValidationError`` by field.
    """
    require_proof(Privilege.EDIT_PERSON, request)
    with transaction.atomic():
        person = allowed(actor, Ability.MANAGE_ORGANIZATION)
        home = organization if person.is_superuser and organization else person.own_organization
        user = User(email=email, name=name, site_role=site_role, organization=home)
        _set_password(user, password)
        _create(person, user, request)
    return user


def send_invitation(*, actor: User, user: User, request: HttpRequest | None = None) -> User:
    """Sends the link again. Raises ``NotAllowed`` or ``AlreadyAccepted``."""
    require_proof(Privilege.INVITE_AGAIN, request)
    return _send_invitation(actor=actor, user=user, request=request)


def change_site_role(
    *, actor: User, user: User, site_role: str, seen: str | None = None, request: HttpRequest | None = None
) -> User:
    """Raises what `change_user` raises."""
    return change_user(actor=actor, user=user, seen=seen, request=request, site_role=SiteRole(site_role))


def set_active(*, actor: User, user: User, is_active: bool, request: HttpRequest | None = None) -> User:
    """Deactivated people can't sign in, and none of their tokens work, from the next request on.

    Raises what `change_user` raises.
    """
    return change_user(actor=actor, user=user, request=request, is_active=is_active)


@sensitive_variables()
def change_user(
    *, actor: User, user: User, seen: str | None = None, request: HttpRequest | None = None, **changes: Any
) -> User:
    """Changes all of these fields or none: ``email``, ``name``, ``password``, ``site_role``, ``is_active``,
    ``external_id``.

    It applies from the next request on, for sessions and tokens. Fields that aren't named keep the value that they have
    now. ``seen``: one of the fingerprints of a person in `accounts.seen`. Raises ``NotAllowed``, ``ChangedMeanwhile``,
    ``LastAdministrator``, ``ManagedByProvider``, ``EmailTaken``, or ``ValidationError`` by field.
    """
    for privilege in privileges_for(changes):
        require_proof(privilege, request)
    with transaction.atomic():
        before = locked_user(allowed(actor, Ability.MANAGE_ORGANIZATION), user)
        if before.erased_at is not None:
            raise PersonErased
        check_seen(
            seen,
            fingerprints.of_site_role(before),
            fingerprints.of_user(before),
            fingerprints.of_user_in_admin(before),
            fingerprints.of_provisioned_user(before),
        )
        after = _changed(before, **changes)
        if before.site_role != after.site_role and before.role_is_managed:
            said = gettext("Single sign-on decides about this person's site role, at each sign-in. Change it there.")
            raise ManagedByProvider(said, field="site_role")
        check_administrator_stays(before, is_active=after.is_active, site_role=after.site_role)
        changed = [field for field in CHANGEABLE if getattr(before, field) != getattr(after, field)]
        if changed:
            _save(after, if_taken=gettext("This address is already in use."), update_fields=changed)
            _end_sessions_after(before, after, request)
            if before.is_active != after.is_active and after.organization_id is not None:
                note_orphans([after.organization_id])
        for action, details in _entries(before, after):
            _notify(actor, after, record(actor=actor, action=action, target=after, request=request, **details))
    return after


def reset_two_factor(*, actor: User, user: User, request: HttpRequest | None = None) -> User:
    """Removes all second factors of a person who lost theirs, and signs them out everywhere. They get a mail.

    Raises ``NothingToReset`` or ``NotAllowed``. Actors can't reset their own: they remove it under their profile.
    """
    require_proof(Privilege.RESET_TWO_FACTOR, request)
    with transaction.atomic():
        person = allowed(actor, Ability.MANAGE_ORGANIZATION)
        locked = locked_user(person, user)
        if locked.pk == person.pk:
            raise NotAllowed
        if not two_factor.forget_factors(actor=actor, user=locked, request=request):
            raise NothingToReset
        sessions.end_sessions(locked)
    return locked


def reset_two_factor_on_the_machine(*, user: User) -> None:
    """The same from the command line, for anybody: also for an only Administrator, or for an operator.

    Raises ``NothingToReset``. The log entry names the person themselves as its actor, and says "command line".
    """
    with transaction.atomic():
        locked = lock(User.objects.people(), user.pk)
        if not two_factor.forget_factors(actor=locked, user=locked, request=None, by="command line"):
            raise NothingToReset
        sessions.end_sessions(locked)


def set_preferences(*, actor: User, request: HttpRequest | None = None, **wanted: Any) -> User:
    """Changes the person's own ``language``, ``time_zone`` and ``notifications``: those that are given.

    ``notifications`` has the ids of kinds, each with a channel. ``wants_expiry_mails`` is the older way to choose about
    the mails of one kind. It applies from the next page and the next mail on. Raises ``ValidationError`` for an unknown
    language, time zone, kind or channel, and ``ClosedToTokens``: a thief could switch off what warns the owner.
    """
    if token_in_use(request) is not None:
        raise ClosedToTokens("Tokens can't change preferences, whatever their scopes. Sign in to the portal.")
    check_preferences(wanted)
    with transaction.atomic():
        person = lock(User.objects.people(), actor.pk)
        fields = {name: value for name, value in wanted.items() if name in {"language", "time_zone"}}
        channels = _changed_channels(person, wanted)
        changed = {name: value for name, value in fields.items() if getattr(person, name) != value}
        details = changed | ({"notifications": channels} if channels else {})
        if channels:
            changed["notification_choices"] = {**_stored_channels(person), **channels}
        if changed:
            User.objects.filter(pk=person.pk).update(**changed)
            record(actor=actor, action=Action.USER_PREFERENCES_CHANGED, target=actor, request=request, **details)
    for name, value in {**fields, "notification_choices": person.notification_choices, **changed}.items():
        setattr(actor, name, value)
    return actor


def _changed_channels(person: User, wanted: Mapping[str, Any]) -> dict[str, str]:
    """The channels that differ from the person's present ones, by kind."""
    channels: dict[str, str] = dict(wanted.get("notifications", {}))
    if "wants_expiry_mails" in wanted:
        present = channel_for(person.notification_choices, END_NEAR)
        channels[END_NEAR.id] = present.with_mail(wanted["wants_expiry_mails"]).value
    return {
        kind_id: str(channel)
        for kind_id, channel in channels.items()
        if channel_for(person.notification_choices, BY_ID[kind_id]) != channel
    }


def _stored_channels(person: User) -> dict[str, Any]:
    return person.notification_choices if isinstance(person.notification_choices, dict) else {}


def take_from_browser(*, actor: User, time_zone: str, language: str) -> None:
    """Stores what the browser said at a sign-in. Not logged, because the person has decided nothing.

    The time zone is stored once, until the person has one, and only if the portal knows it. A language other than
    English is stored each time, for mails to people who chose none.
    """
    person = User.objects.filter(pk=actor.pk)
    if not actor.time_zone and time_zone in time_zones() and person.filter(time_zone="").update(time_zone=time_zone):
        actor.time_zone = time_zone
    of_mails = "" if language == settings.LANGUAGE_CODE else language
    if of_mails != actor.browser_language:
        person.update(browser_language=of_mails)
        actor.browser_language = of_mails


def check_preferences(wanted: Mapping[str, Any]) -> None:
    """The language can be ``""``, for that of the browser."""
    if wanted.get("language", "") not in {"", *dict(settings.LANGUAGES)}:
        raise ValidationError({"language": [gettext("The portal doesn't speak this language.")]})
    if "time_zone" in wanted and wanted["time_zone"] not in time_zones():
        raise ValidationError({"time_zone": [gettext("Choose a time zone of the list, such as Europe/Berlin.")]})
    for kind_id, channel in wanted.get("notifications", {}).items():
        if kind_id not in BY_ID or channel not in BY_ID[kind_id].channels:
            raise ValidationError({"notifications": [gettext("Choose a channel that this kind has.")]})
    if "wants_expiry_mails" in wanted and END_NEAR.id in wanted.get("notifications", {}):
        raise ValidationError({"wants_expiry_mails": [gettext("Give either this or the channel of end_near.")]})


def check_administrator_stays(before: User, *, is_active: bool, site_role: str) -> None:
    """Raises ``LastAdministrator`` if the change would leave an organization without an active Administrator.

    Locks the organization, so that of two demotions at once the second sees the first. Call it in a transaction.
    """
    was = before.is_active and before.site_role == SiteRole.ADMINISTRATOR
    stays = is_active and site_role == SiteRole.ADMINISTRATOR
    if not was or stays or before.organization_id is None:
        return
    lock_organization(before.organization_id)
    # Invited people can't do anything yet: with them alone nobody could manage the organization.
    administrators = (
        User.objects.people().active().filter(organization_id=before.organization_id, site_role=SiteRole.ADMINISTRATOR)
    )
    others = administrators.exclude(pk=before.pk)
    if not others.exclude(pk__in=User.objects.invited().values("pk")).exists():
        raise LastAdministrator


def _create(actor: User, user: User, request: HttpRequest | None, groups: Sequence[Group] | None = None) -> None:
    if not user.password:
        user.set_unusable_password()
    user.clean_fields(exclude=["password"])
    user.clean()
    _save(user, if_taken=_why_taken(actor, user.email), force_insert=True)
    details: dict[str, Any] = {"site_role": user.site_role}
    if not user.is_active:
        details["state"] = UserState.DEACTIVATED
    if groups is not None:
        user.member_groups.set(groups)
        details["groups"] = sorted(group.name for group in groups)
    record(actor=actor, action=Action.USER_CREATED, target=user, request=request, **details)


def _remove_ways_in(actor: User, user: User, request: HttpRequest | None) -> None:
    """Password, second factors, connections, sessions and tokens. If the person comes back, they join again."""
    user.set_unusable_password()
    user.joined_at = None
    user.save(update_fields=["password", "joined_at"])
    two_factor.forget_factors(actor=actor, user=user, request=request, is_told=False)
    connections, _ = SocialAccount.objects.filter(user=user).delete()
    if connections:
        record(actor=actor, action=Action.PROVIDER_DISCONNECTED, target=user, request=request)
    forget_waiting_address(user)
    sessions.end_sessions(user)
    access_tokens().expire_all_of(user, actor=actor, reason="The person was deleted with SCIM.", request=request)


def _send_invitation(*, actor: User, user: User, request: HttpRequest | None) -> User:
    with transaction.atomic():
        locked = locked_user(allowed(actor, Ability.MANAGE_ORGANIZATION), user)
        if not locked.is_invited:
            raise AlreadyAccepted(gettext("%(email)s needs no invitation.") % {"email": locked.email})
        record(actor=actor, action=Action.USER_INVITED, target=locked, request=request)
        invitation_mail.put(locked.pk, str(locked.pk))
    return locked


@sensitive_variables()
def _changed(before: User, *, password: str = "", **fields: Any) -> User:
    """The person as they would be: the changed fields are checked, and nothing is saved."""
    after: User = User.objects.get(pk=before.pk)
    for field, value in fields.items():
        setattr(after, field, value)
    if password:
        _set_password(after, password)
    if after.is_active:
        after.deprovisioned_at = None
    # Rules that came later than the row must not keep anybody from deactivating the person.
    after.clean_fields(exclude={field.name for field in User._meta.fields}.difference(fields))
    if {"email", "name"}.intersection(fields):
        after.clean()
    return after


@sensitive_variables()
def _set_password(user: User, password: str) -> None:
    user.set_password(password)
    user.joined_at = user.joined_at or timezone.now()


def _save(user: User, *, if_taken: str, **options: Any) -> None:
    try:
        with transaction.atomic():
            user.save(**options)
    except IntegrityError:
        raise EmailTaken(if_taken) from None


def _why_taken(actor: User, email: str) -> str:
    """Doesn't say whether somebody in another organization has the address."""
    if User.objects.in_organization(actor).filter(email__iexact=email).exists():
        return gettext("%(email)s belongs to your organization already.") % {"email": email}
    return gettext("This address cannot be invited.")


def _entries(before: User, after: User) -> list[tuple[Action, dict[str, Any]]]:
    """The entries for the log, with their details: one for each thing that is different."""
    entries: list[tuple[Action, dict[str, Any]]] = []
    if before.site_role != after.site_role:
        entries.append((Action.USER_ROLE_CHANGED, {"from": before.site_role, "to": after.site_role}))
    if before.is_active != after.is_active:
        entries.append((Action.USER_ACTIVATED if after.is_active else Action.USER_DEACTIVATED, {}))
    if before.email != after.email:
        entries.append((Action.EMAIL_CHANGED, {"from": before.email, "to": after.email}))
    if before.password != after.password:
        entries.append((Action.PASSWORD_CHANGED, {}))
    if fields := [field for field in ("name", "external_id") if getattr(before, field) != getattr(after, field)]:
        entries.append((Action.USER_CHANGED, {"fields": fields}))
    return entries


def _end_sessions_after(before: User, after: User, request: HttpRequest | None) -> None:
    """Ends the sessions of people who were deactivated or got another password.

    Keeps the session of this request, so that actors who deactivate themselves get an answer; the next request in it is
    refused.
    """
    if (before.is_active and not after.is_active) or before.password != after.password:
        forget_waiting_address(after)
        sessions.end_sessions(after, keep=sessions.key_of(request))
    if before.email != after.email:
        follow_email(after)


def _notify(actor: User, user: User, entry: Activity) -> None:
    """Tells a person that somebody changed their role, password or address; the last one at the old address."""
    if entry.action == Action.USER_ROLE_CHANGED and actor.pk != user.pk:
        details = {"actor": name_of(actor), **entry.details}
        tell([News(ROLE_CHANGED, user.pk, str(entry.public_id), details=details)])
    mails = {Action.PASSWORD_CHANGED: password_changed_mail, Action.EMAIL_CHANGED: email_change_mail}
    if mail := mails.get(Action(entry.action)):
        mail.put(user.pk, entry.pk)
