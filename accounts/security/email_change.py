"""Another e-mail address, which holds when its owner has opened the link that goes there.

``User.email`` is the truth: it signs in, and its uniqueness, whatever the case, is the database's to keep. allauth's
table of addresses follows it: an address of it that is not verified is one that somebody asked for and that waits for
its link, and no other verified one stands there than the person's present one.
"""

from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.http import HttpRequest

from accounts.mails import email_change_link_mail, email_change_mail
from accounts.models import User
from accounts.privileges import Privilege, require_proof
from accounts.security import sessions
from auditlog.actions import Action
from auditlog.record import record
from core.db.locks import lock
from core.rate_limits import Limit

# Of one person: each sends two mails.
ASKED = Limit("email-changes-asked", amount=5, seconds=60 * 60)


class AddressTaken(Exception):
    """Somebody else signs in with this address."""


class LinkEnded(Exception):
    """The link was used, is too old, is another person's, or another address was asked for after it."""


def waiting_address(user: User) -> str | None:
    """The address that waits for its link."""
    address: str | None = EmailAddress.objects.filter(user=user, verified=False).values_list("email", flat=True).first()
    return address


def ask_email_change(*, actor: User, email: str, request: HttpRequest) -> None:
    """Sends a link to the new address and tells the old one. Until the link is opened nothing changes.

    An address that somebody else has is treated like any other, but that no link goes there: nobody learns that.
    """
    require_proof(Privilege.CHANGE_OWN_EMAIL, request)
    email = email.strip().lower()
    with transaction.atomic():
        person = lock(User.objects.all(), actor.pk)
        EmailAddress.objects.filter(user=person).delete()
        waiting = EmailAddress.objects.create(user=person, email=email)
        entry = record(actor=person, action=Action.EMAIL_CHANGE_ASKED, target=person, request=request, to=email)
        email_change_link_mail.put(person.pk, waiting.pk)
        email_change_mail.put(person.pk, entry.pk)


def address_of_link(user: User, key: str) -> EmailAddress:
    """The address that the link would make ``user``'s. Raises ``LinkEnded``."""
    confirmation = EmailConfirmationHMAC.from_key(key)
    if confirmation is None or confirmation.email_address.user_id != user.pk:
        raise LinkEnded
    return confirmation.email_address


def confirm_email_change(*, actor: User, key: str, request: HttpRequest) -> User:
    """Makes the address of the link the actor's. Ends their other sessions, and tells the old address.

    Raises ``LinkEnded`` or ``AddressTaken``: of two people at once the database lets one have it.
    """
    with transaction.atomic():
        person: User = lock(User.objects.all(), actor.pk)
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
    """Call where sessions end since somebody else may sit at one: what they asked for must not become the person's."""
    EmailAddress.objects.filter(user=user, verified=False).delete()


def follow_email(user: User) -> None:
    """Brings allauth's table in step with a changed ``User.email``. What waited for its link does not any more."""
    # A verified address of somebody else that is not theirs any more would be in the way.
    EmailAddress.objects.filter(Q(user=user) | Q(email=user.email, verified=True)).delete()
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
