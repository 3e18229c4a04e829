"""Signing in and out, as Django tells of it, goes to the activity log."""

import logging
from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest

from accounts.models import User
from auditlog.actions import Action, record
from opsera_portal.request_context import client_address

logger = logging.getLogger(__name__)


@receiver(user_logged_in)
def record_sign_in(sender: object, request: HttpRequest, user: User, **kwargs: Any) -> None:
    record(actor=user, action=Action.SIGNED_IN, target=user, request=request)


@receiver(user_logged_out)
def record_sign_out(sender: object, request: HttpRequest, user: User | None, **kwargs: Any) -> None:
    if user is not None:
        record(actor=user, action=Action.SIGNED_OUT, target=user, request=request)


@receiver(user_login_failed)
def record_failed_sign_in(
    sender: object, credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any
) -> None:
    """A failed sign-in belongs to the person whose account was tried.

    Where there is no such account only the server's own log gets a line, without what was typed: it may be a password
    in the wrong field, and no stranger can fill anyone's log.
    """
    email = str(credentials.get("email") or credentials.get("username") or "")
    user = User.objects.filter(email=email.strip().lower()).first() if "\x00" not in email else None
    if user is None:
        address = client_address(request) if request else None
        logger.warning("Failed sign-in for an unknown e-mail address from %s", address)
        return
    record(actor=user, action=Action.SIGN_IN_FAILED, target=user, request=request)
