"""Receivers for Django's and allauth's signals of signing in and out: they write log entries and update sessions."""

import logging
from typing import Any

from allauth.account.signals import authentication_step_completed
from allauth.account.signals import user_logged_in as signed_in
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest

from accounts.models import User
from accounts.security import sessions
from accounts.signin import browser
from accounts.signin.methods import methods_of
from auditlog.actions import Action
from auditlog.record import record
from core.http.request_context import client_address
from core.rate_limits import Limit

logger = logging.getLogger(__name__)

# Keeps strangers from filling the server's log. Counting writes to the database, like the entry for a known account, so
# the time of the answer doesn't reveal whether the account exists.
UNKNOWN_LOG_LIMIT = Limit("unknown-sign-in-told", amount=30, seconds=60)


@receiver(user_logged_in)
def record_sign_in(sender: object, request: HttpRequest, user: User, **kwargs: Any) -> None:
    sessions.begin(request)
    browser.take(request, user)
    record(actor=user, action=Action.SIGNED_IN, target=user, request=request, methods=methods_of(request, user))


@receiver(signed_in)
def list_session(sender: object, request: HttpRequest, user: User, **kwargs: Any) -> None:
    sessions.add_row(request, user)


@receiver(authentication_step_completed)
def renew_session(sender: object, request: HttpRequest, reauthenticated: bool = False, **kwargs: Any) -> None:
    """Gives the session a new key after the person proved again who they are. Signing in does so anyway."""
    if reauthenticated:
        sessions.renew(request)


@receiver(user_logged_out)
def record_sign_out(sender: object, request: HttpRequest, user: User | None, **kwargs: Any) -> None:
    if user is not None:
        record(actor=user, action=Action.SIGNED_OUT, target=user, request=request)


@receiver(user_login_failed)
def record_failed_sign_in(
    sender: object, credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any
) -> None:
    """Records a failed sign-in in the log of the person whose account was tried.

    If there is no such account, only the server's log gets a line. It does not contain what was typed, which may be a
    password in the wrong field.
    """
    email = str(credentials.get("email") or credentials.get("username") or "")
    user = User.objects.people().filter(email=email.strip().lower()).first() if "\x00" not in email else None
    if user is None:
        address = client_address(request) if request else None
        if UNKNOWN_LOG_LIMIT.take(str(address)) is None:
            logger.warning("Failed sign-in for an unknown e-mail address from %s", address)
        return
    record(actor=user, action=Action.SIGN_IN_FAILED, target=user, request=request)
