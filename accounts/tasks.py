"""What the worker does for this app."""

import uuid
from typing import Any

from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.template.loader import render_to_string
from django.urls import reverse
from django_tasks import task

from accounts import invitations, password_reset
from accounts.models import User
from auditlog.actions import Action, record
from auditlog.models import Activity


@task()
def send_invitation_mail(user_id: str) -> None:
    """The link is made here, in the moment of sending: the queue holds the person's id only."""
    user = User.objects.select_related("organization").filter(pk=uuid.UUID(user_id)).first()
    if user is None or not user.is_invited or user.organization is None:
        return
    context = {"person": user, "organization": user.organization, "link": invitations.link_for(user)}
    EmailMessage(
        subject=f"You are invited to the Opsera Portal of {' '.join(user.organization.name.split())}",
        body=render_to_string("accounts/mail/invitation.txt", context | {"days": invitations.DAYS}),
        to=[user.email],
    ).send()


@task()
def send_security_mail(entry_id: int) -> None:
    """Tells the person what was done with what they sign in with, and from where, as an entry of the log says it."""
    if found := _entry_and_person(entry_id):
        entry, person, by = found
        said = _said_of(entry)
        _send(said, "security_notice", person, entry=entry, said=said, by=by)


def tell_by_mail(entry: Activity) -> None:
    """Whose account the entry is about, once it is committed."""
    # Robust: what was done is done and in the log, whether or not a mail can be queued.
    transaction.on_commit(lambda: send_security_mail.enqueue(entry.pk), robust=True)


def _said_of(entry: Activity) -> str:
    kinds = entry.details.get("kinds") or [entry.details.get("kind", "")]
    return {
        Action.TWO_FACTOR_ADDED: f"A second factor was added to your account: {kinds[0]}",
        Action.TWO_FACTOR_REMOVED: f"A second factor was removed from your account: {', '.join(kinds)}",
        Action.RECOVERY_CODES_MADE: "New recovery codes were made for your account",
        Action.RECOVERY_CODE_USED: "A recovery code of your account was used",
        Action.PROVIDER_CONNECTED: "Single sign-on was connected with your account",
        Action.PROVIDER_DISCONNECTED: "Single sign-on was disconnected from your account",
        Action.SIGN_IN_FAILED: "Somebody tries to guess the second factor of your account",
    }[Action(entry.action)]


@task()
def answer_password_reset(user_id: str | None, address: str | None) -> None:
    """Does what fits someone who says that they lost their password; of an account that does not exist, nothing.

    Here and not in the request, so that its time tells nothing. ``address`` is where the request came from.
    """
    user = User.objects.select_related("organization").filter(pk=uuid.UUID(user_id)).first() if user_id else None
    if user is None or not user.is_active:
        return
    record(actor=user, action=Action.PASSWORD_RESET_ASKED, target=user, address=address)
    if user.is_invited:
        send_invitation_mail.enqueue(str(user.pk))
    elif password_reset.can_reset(user):
        link = password_reset.link_for(user)
        _send("Set a new password for the Opsera Portal", "password_reset", user, link=link, address=address)
    else:
        _send("You have no password for the Opsera Portal", "no_password", user, address=address)


@task()
def send_password_changed_mail(entry_id: int) -> None:
    """Tells the person that their password is another one, and who did that from where: an entry of the log says it."""
    if found := _entry_and_person(entry_id):
        entry, person, by = found
        _send("Your password was changed", "password_changed", person, entry=entry, by=by)


@task()
def send_email_change_link(address_id: int) -> None:
    """To an address that is to become a person's; not where it is someone else's already."""
    address = EmailAddress.objects.select_related("user").filter(pk=address_id, verified=False).first()
    if address is None or User.objects.filter(email=address.email).exists():
        return
    link = settings.PORTAL_URL + reverse("account_confirm_email", args=[EmailConfirmationHMAC(address).key])
    _send("Confirm your new e-mail address", "email_change_link", address.user, to=address.email, link=link)


@task()
def send_email_change_mail(entry_id: int) -> None:
    """Tells the address that a person had that another one was asked for, or has taken its place."""
    found = _entry_and_person(entry_id)
    if found is None:
        return
    entry, person, by = found
    if entry.action == Action.EMAIL_CHANGED:
        old = entry.details["from"]
        _send("Your e-mail address was changed", "email_changed", person, to=old, entry=entry, by=by)
    else:
        asked_at = entry.actor_email
        _send("Your e-mail address is to be changed", "email_change_asked", person, to=asked_at, entry=entry)


def _entry_and_person(entry_id: int) -> tuple[Activity, User, User | None] | None:
    """An entry of the activity log, whom it is about, and who did it if that was somebody else."""
    entry = Activity.objects.select_related("actor").filter(pk=entry_id).first()
    person = User.objects.filter(pk=uuid.UUID(entry.target_id)).first() if entry else None
    if entry is None or person is None:
        return None
    return entry, person, entry.actor if entry.actor_id != person.pk else None


def _send(subject: str, template: str, person: User, *, to: str | None = None, **context: Any) -> None:
    context |= {"person": person, "portal_url": settings.PORTAL_URL}
    body = render_to_string(f"accounts/mail/{template}.txt", context)
    EmailMessage(subject=subject, body=body, to=[to or person.email]).send()
