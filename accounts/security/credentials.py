"""Changes of a person's password, each with its entry in the activity log and its mail. Their other sessions end."""

from django.contrib.auth import HASH_SESSION_KEY, logout
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from accounts.access_tokens import access_tokens
from accounts.invitations import invitation_tokens
from accounts.mails import password_changed_mail, password_reset_answer
from accounts.models import User
from accounts.privileges import Privilege, require_proof
from accounts.security import sessions
from accounts.security.email_change import forget_waiting_address
from accounts.security.sign_in_networks import check_sign_in
from accounts.signin.password_reset import reset_keys
from auditlog.actions import Action
from auditlog.record import record
from core.db.locks import lock
from core.http.request_context import client_address
from core.rate_limits import Limit

# Mails to one address. Further requests send none, and get the same answer.
RESET_MAILS = Limit("password-reset-mails", amount=3, seconds=60 * 60)


class LinkUsed(Exception):
    """The link was used or has ended since the page was opened."""


@sensitive_variables()
def change_password(*, actor: User, password: str, expire_tokens: bool, request: HttpRequest) -> None:
    """For people who have proved their current password, or have none. This session continues under a new key."""
    with transaction.atomic():
        person = lock(User.objects.people(), actor.pk)
        _set_password(person, password)
        ended = _end_access(
            person,
            keep=sessions.key_of(request),
            expire_tokens=expire_tokens,
            reason="password changed",
            request=request,
        )
        entry = record(actor=person, action=Action.PASSWORD_CHANGED, target=person, request=request, **ended)
        password_changed_mail.put(person.pk, entry.pk)
    # Django ends sessions whose digest of the password no longer matches.
    request.session[HASH_SESSION_KEY] = person.get_session_auth_hash()
    sessions.renew(request)


def ask_password_reset(*, email: str, request: HttpRequest) -> None:
    """Queues a mail to this address. The worker finds out which mail to send, if any.

    The caller does the same work and gets the same answer whether or not there is such an account.
    """
    email = email.strip().lower()
    user = User.objects.people().filter(email=email).only("pk").first()
    if RESET_MAILS.take(email) is None:
        with transaction.atomic():
            password_reset_answer.put(None, str(user.pk) if user else None, client_address(request))


@sensitive_variables()
def reset_password(*, user: User, key: str, password: str, expire_tokens: bool, request: HttpRequest) -> None:
    """Sets a new password by the link from a mail. Its ``key`` works once and signs nobody in.

    Raises ``LinkUsed``: if it is used twice at once, one request sets the password. Raises ``OutsideNetworks`` if the
    person can't sign in from here; the link then works on.
    """
    if reset_keys.check_token(user, key):
        check_sign_in(user, request, methods=["password reset"])
    with transaction.atomic():
        person = lock(User.objects.people(), user.pk)
        if not reset_keys.check_token(person, key):
            raise LinkUsed
        _set_password(person, password)
        ended = _end_access(person, keep=None, expire_tokens=expire_tokens, reason="password reset", request=request)
        entry = record(actor=person, action=Action.PASSWORD_RESET, target=person, request=request, **ended)
        password_changed_mail.put(person.pk, entry.pk)
    if request.user == person:
        logout(request)


@sensitive_variables()
def accept_invitation(*, user: User, key: str, password: str, request: HttpRequest) -> None:
    """Sets the first password by the link of an invitation, whose ``key`` works once. Raises ``LinkUsed``, or
    ``OutsideNetworks`` as `reset_password` does.

    Saves no other field: an Administrator may change or deactivate the person at the same time.
    """
    if invitation_tokens.check_token(user, key):
        check_sign_in(user, request, methods=["invitation"])
    with transaction.atomic():
        person = lock(User.objects.people(), user.pk)
        if not invitation_tokens.check_token(person, key):
            raise LinkUsed
        _set_password(person, password)
        record(actor=person, action=Action.USER_CHANGED, target=person, request=request, fields=["password"])


def sign_out_everywhere(
    *, actor: User, including_here: bool, expire_tokens: bool, request: HttpRequest
) -> dict[str, int]:
    """Ends the actor's other sessions, and this one if ``including_here``. Returns the number of ``sessions`` and of
    ``tokens`` that ended."""
    require_proof(Privilege.END_ALL_SESSIONS, request)
    with transaction.atomic():
        ended = _end_access(
            lock(User.objects.people(), actor.pk),
            keep=None if including_here else sessions.key_of(request),
            expire_tokens=expire_tokens,
            reason="signed out everywhere",
            request=request,
        )
        record(actor=actor, action=Action.SIGNED_OUT_EVERYWHERE, target=actor, request=request, **ended)
    if including_here:
        logout(request)
    return ended


def _end_access(
    person: User, *, keep: str | None, expire_tokens: bool, reason: str, request: HttpRequest
) -> dict[str, int]:
    forget_waiting_address(person)
    return {
        "sessions": sessions.end_sessions(person, keep=keep),
        "tokens": access_tokens().expire_all(actor=person, reason=reason, request=request) if expire_tokens else 0,
    }


def _set_password(person: User, password: str) -> None:
    person.set_password(password)
    person.joined_at = person.joined_at or timezone.now()
    person.save(update_fields=["password", "joined_at"])
