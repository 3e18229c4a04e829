"""Changing one's own e-mail address: it takes effect when the person opens the link that is sent to it.

``User.email`` is what people sign in with; a constraint of the database keeps it unique, ignoring case. allauth's table
of addresses follows it: the verified row of a person is their current address, and an unverified row is an address that
was requested and waits for its link.
"""

from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.mails import email_change_link_mail, email_change_mail
from accounts.models import User
from accounts.privileges import Privilege, require_proof
from accounts.security import sessions
from auditlog.actions import Action
from auditlog.record import record
from core.db.locks import lock
from core.errors import DomainError
from core.rate_limits import Limit
from core.service_accounts import is_reserved

# Requests of one person; each sends two mails.
ASKED = Limit("email-changes-asked", amount=5, seconds=60 * 60)


class AddressTaken(DomainError):
    message = _("You can't use this address: somebody else signs in with it.")


class LinkEnded(Exception):
    """The link was used, is too old, belongs to another person, or another address was requested after it."""


def waiting_address(user: User) -> str | None:
    """The address that waits for its link."""
    address: str | None = EmailAddress.objects.filter(user=user, verified=False).values_list("email", flat=True).first()
    return address


def ask_email_change(*, actor: User, email: str, request: HttpRequest) -> None:
    """Sends a link to the new address and a notice to the old one. Nothing changes until the link is opened.

    If somebody else has the address, no link is sent there, but everything looks the same, so that the actor can't find
    out who has an account.
    """
    require_proof(Privilege.CHANGE_OWN_EMAIL, request)
    email = email.strip().lower()
    if is_reserved(email):
        raise AddressTaken
    with transaction.atomic():
        person = lock(User.objects.people(), actor.pk)
        EmailAddress.objects.filter(user=person).delete()
        waiting = EmailAddress.objects.create(user=person, email=email)
        entry = record(actor=person, action=Action.EMAIL_CHANGE_ASKED, target=person, request=request, to=email)
        email_change_link_mail.put(person.pk, waiting.pk)
        email_change_mail.put(person.pk, entry.pk)


def address_of_link(user: User, key: str) -> EmailAddress:
    """The address that the link confirms. Raises ``LinkEnded``."""
    confirmation = EmailConfirmationHMAC.from_key(key)
    if confirmation is None or confirmation.email_address.user_id != user.pk:
        raise LinkEnded
    return confirmation.email_address


def confirm_email_change(*, actor: User, key: str, request: HttpRequest) -> User:
    """Changes the actor's address to that of the link, ends their other sessions, and sends the old address a notice.

    Raises ``LinkEnded`` or ``AddressTaken``: if two people confirm at once, the database's constraint refuses one.
    """
    with transaction.atomic():
        person: User = lock(User.objects.people(), actor.pk)
        address = address_of_link(person, key)
        before, person.email = person.email, address.email
        try:
            with transaction.atomic():
                person.save(update_fields=["email"])
        except IntegrityError:
            raise AddressTaken from None
        follow_email(person)
        sessions.end_sessions(person, keep=sessions.key_of(request))
        details = {"from": before, "to": person.email}
        entry = record(actor=person, action=Action.EMAIL_CHANGED, target=person, request=request, **details)
        email_change_mail.put(person.pk, entry.pk)
    return person


def forget_waiting_address(user: User) -> None:
    """Call it when sessions end because a stranger may be using one: they may have requested the waiting address."""
    EmailAddress.objects.filter(user=user, verified=False).delete()


def follow_email(user: User) -> None:
    """Updates allauth's table after ``User.email`` has changed. Addresses that wait for their link are removed."""
    # Also removes a former address of somebody else: the table allows only one verified row per address.
    EmailAddress.objects.filter(Q(user=user) | Q(email=user.email, verified=True)).delete()
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
