"""The mails of this app."""

import uuid
from datetime import timedelta
from typing import Any

from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from django.conf import settings
from django.core.mail import EmailMessage
from django.utils.translation import gettext, gettext_lazy

from accounts import invitations
from accounts.models import User
from accounts.signin import password_reset
from auditlog.actions import Action
from auditlog.models import Activity
from auditlog.record import record
from core.http.public_address import public_url
from core.mail.kinds import mail_kind
from core.mail.messages import mail_from

# A link for a new password is created when its mail is sent, and works for an hour from then. A mail that can't be sent
# for this long is no longer useful: the person has requested another one, or given up.
RESET_MAIL_LASTS = timedelta(hours=4)


@mail_kind(gettext_lazy("Invitation"), lasts=timedelta(days=invitations.DAYS), replaces_earlier=True)
def invitation_mail(user_id: str) -> EmailMessage | None:
    """Creates the link when the mail is sent: the outbox only stores the person's id."""
    user = User.objects.people().select_related("organization").filter(pk=uuid.UUID(user_id)).first()
    if user is None or not user.is_invited or user.organization is None:
        return None
    subject = gettext("You are invited to the Opsera Portal of %(organization)s")
    return _mail(
        subject % {"organization": user.organization.name},
        "invitation",
        user,
        organization=user.organization,
        link=invitations.link_for(user),
        days=invitations.DAYS,
    )


@mail_kind(gettext_lazy("Security notice"))
def security_mail(entry_id: int) -> EmailMessage | None:
    """Tells a person about a change to how they sign in. ``entry_id``: its entry in the activity log."""
    if (found := _entry_and_person(entry_id)) is None:
        return None
    entry, person, by = found
    said = _said_of(entry)
    return _mail(said, "security_notice", person, entry=entry, said=said, by=by)


def tell_by_mail(entry: Activity) -> None:
    """Sends the person of the entry a security notice. Call it in the transaction of the entry."""
    security_mail.put(uuid.UUID(entry.target_id), entry.pk)


def _said_of(entry: Activity) -> str:
    kinds = entry.details.get("kinds") or [entry.details.get("kind", "")]
    # The log has their English names (accounts/security/two_factor.py).
    factors = ", ".join(gettext(kind) for kind in kinds)
    said = {
        Action.TWO_FACTOR_ADDED: gettext("A second factor was added to your account: %(factors)s"),
        Action.TWO_FACTOR_REMOVED: gettext("A second factor was removed from your account: %(factors)s"),
        Action.RECOVERY_CODES_MADE: gettext("New recovery codes were created for your account"),
        Action.RECOVERY_CODE_USED: gettext("A recovery code of your account was used"),
        Action.PROVIDER_CONNECTED: gettext("Single sign-on was connected to your account"),
        Action.PROVIDER_DISCONNECTED: gettext("Single sign-on was disconnected from your account"),
        Action.SIGN_IN_FAILED: gettext("Somebody is trying to guess the second factor of your account"),
    }
    return said[Action(entry.action)] % {"factors": factors}


@mail_kind(gettext_lazy("Answer to a lost password"), lasts=RESET_MAIL_LASTS)
def password_reset_answer(user_id: str | None, address: str | None) -> None:
    """Queues the mail that fits a request for a new password; none if the account does not exist.

    The worker does this, so that the request takes the same time for known and unknown addresses: both write one row.
    ``address`` is where the request came from.
    """
    user = User.objects.people().filter(pk=uuid.UUID(user_id)).first() if user_id else None
    if user is None or not user.is_active:
        return
    record(actor=user, action=Action.PASSWORD_RESET_ASKED, target=user, address=address)
    if user.is_invited:
        invitation_mail.put(user.pk, str(user.pk))
    else:
        password_reset_mail.put(user.pk, str(user.pk), address)


@mail_kind(gettext_lazy("Link for a new password"), lasts=RESET_MAIL_LASTS, replaces_earlier=True)
def password_reset_mail(user_id: str, address: str | None) -> EmailMessage | None:
    """Creates the link when the mail is sent."""
    user = User.objects.people().active().filter(pk=uuid.UUID(user_id)).first()
    if user is None:
        return None
    if not password_reset.can_reset(user):
        return _mail(gettext("You have no password for the Opsera Portal"), "no_password", user, address=address)
    link = password_reset.link_for(user)
    return _mail(
        gettext("Set a new password for the Opsera Portal"), "password_reset", user, link=link, address=address
    )


@mail_kind(gettext_lazy("Password changed"))
def password_changed_mail(entry_id: int) -> EmailMessage | None:
    """Tells a person that their password was changed, by whom and from where."""
    if (found := _entry_and_person(entry_id)) is None:
        return None
    entry, person, by = found
    return _mail(
        gettext("Your password was changed"),
        "password_changed",
        person,
        entry=entry,
        by=by,
        reset_url=public_url("account_reset_password"),
        tokens_url=public_url(settings.ACCESS_TOKEN_LIST_PAGE),
        activity_url=public_url("auditlog:activity_list"),
    )


@mail_kind(gettext_lazy("Link for a new e-mail address"), lasts=timedelta(days=1), replaces_earlier=True)
def email_change_link_mail(address_id: int) -> EmailMessage | None:
    """Sends the link to a requested address. If somebody else already has the address, nothing is sent."""
    address = EmailAddress.objects.select_related("user").filter(pk=address_id, verified=False).first()
    if address is None or User.objects.filter(email=address.email).exists():
        return None
    link = public_url("account_confirm_email", EmailConfirmationHMAC(address).key)
    return _mail(
        gettext("Confirm your new e-mail address"),
        "email_change_link",
        address.user,
        to=address.email,
        address=address.email,
        link=link,
    )


@mail_kind(gettext_lazy("E-mail address changed"))
def email_change_mail(entry_id: int) -> EmailMessage | None:
    """Tells the previous address that another one was requested or has replaced it."""
    found = _entry_and_person(entry_id)
    if found is None:
        return None
    entry, person, by = found
    if entry.action == Action.EMAIL_CHANGED:
        old = entry.details["from"]
        return _mail(gettext("Your e-mail address was changed"), "email_changed", person, to=old, entry=entry, by=by)
    asked_at = entry.actor_email
    return _mail(
        gettext("A change of your e-mail address was requested"),
        "email_change_asked",
        person,
        to=asked_at,
        entry=entry,
    )


def _entry_and_person(entry_id: int) -> tuple[Activity, User, User | None] | None:
    """An entry of the activity log, the person it is about, and the actor if that was somebody else."""
    entry = Activity.objects.select_related("actor").filter(pk=entry_id).first()
    person = User.objects.people().filter(pk=uuid.UUID(entry.target_id)).first() if entry else None
    if entry is None or person is None:
        return None
    return entry, person, entry.actor if entry.actor_id != person.pk else None


def _mail(subject: str, template: str, person: User, *, to: str | None = None, **context: Any) -> EmailMessage:
    context |= {
        "person": person,
        "sign_in_url": public_url("account_login"),
        "security_url": public_url("accounts:security"),
    }
    return mail_from(f"accounts/mail/{template}.txt", context, subject=subject, to=to or person.email)
