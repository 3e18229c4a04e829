"""Erasing a person: the part that is done at once. `accounts/erasure.py` does the rest."""

import uuid
from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy

from accounts.erasure import still_owned_by, words_of
from accounts.models import Erasure, Notification, OrganizationProvider, User
from accounts.privileges import Privilege, require_proof
from accounts.roles import Ability
from accounts.security import sessions
from accounts.services.guard import allowed, locked_user
from accounts.services.people import PersonErased
from auditlog.actions import Action
from auditlog.record import record
from core.db.locks import lock
from core.errors import DomainError
from core.models import KeptAnswer, KeptForm, OutgoingMail
from core.service_accounts import ERASED_ENDING
from core.text import first_of

NAMES_LISTED = 5


class NotDeactivated(DomainError):
    message = gettext_lazy("Deactivate this person first. Only deactivated people can be erased.")


class StillOwns(DomainError):
    """The message names what the person owns, such as pipelines: transfer it to someone else first."""

    def __init__(self, names: list[str]) -> None:
        listed = first_of(names, NAMES_LISTED, total=len(names))
        super().__init__(gettext("This person still owns: %(names)s. Transfer it first.") % {"names": listed})


def erase_person(*, actor: User, user: User, confirm: str, request: HttpRequest | None = None) -> User:
    """Replaces the name and the address of a deactivated person by a pseudonym, for good.

    Their row, and all that belongs to their sign-in, is changed at once; the worker replaces the copies in the logs and
    elsewhere. ``confirm``: the person's address, so that nobody is erased by mistake. Raises ``NotAllowed``,
    ``PersonErased``, ``NotDeactivated``, ``StillOwns``, or ``ValidationError`` by field.
    """
    require_proof(Privilege.ERASE_PERSON, request)
    with transaction.atomic():
        locked = locked_user(allowed(actor, Ability.MANAGE_ORGANIZATION), user)
        if confirm.strip().lower() != locked.email.lower():
            raise ValidationError({"confirm": gettext("Enter the address of the person whom you want to erase.")})
        _erase(locked)
        record(actor=actor, action=Action.USER_ERASED, target=locked, request=request)
    return locked


def erase_on_the_machine(*, user: User) -> User:
    """The same from the command line. The log entry names the pseudonym as its actor, and says "command line"."""
    with transaction.atomic():
        locked: User = lock(User.objects.all(), user.pk)
        _erase(locked)
        record(actor=locked, action=Action.USER_ERASED, target=locked, by="command line")
    return locked


def _erase(person: User) -> None:
    if person.erased_at is not None:
        raise PersonErased
    if person.is_active:
        raise NotDeactivated
    if owned := still_owned_by(person):
        raise StillOwns(owned)
    Erasure.objects.create(person=person, words=words_of(person))
    sessions.end_sessions(person)
    for model in (Authenticator, SocialAccount, EmailAddress, UserSession):
        model.objects.filter(user=person).delete()
    OutgoingMail.objects.filter(person=person).delete()
    Notification.objects.filter(person=person).delete()
    # It can name the person, and their id at the provider.
    OrganizationProvider.objects.filter(organization=person.organization).update(last_failure="", last_failure_at=None)
    KeptForm.objects.filter(person_id=person.pk).delete()
    KeptAnswer.objects.filter(owner_id=person.pk).delete()
    person.member_groups.clear()
    pseudonym = uuid.uuid4().hex[:12]
    values: dict[str, Any] = {
        "email": f"erased-{pseudonym}{ERASED_ENDING}",
        "name": f"Erased person {pseudonym}",
        "language": "",
        "browser_language": "",
        "time_zone": "",
        "external_id": "",
        "last_login": None,
        "deprovisioned_at": person.deprovisioned_at or timezone.now(),
        "erased_at": timezone.now(),
    }
    for name, value in values.items():
        setattr(person, name, value)
    person.set_unusable_password()
    person.save(update_fields=[*values, "password"])
