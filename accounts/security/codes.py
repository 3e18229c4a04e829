"""Codes of authenticator apps and recovery codes: checking them, and the forms that ask for one."""

import logging
from typing import Any

from allauth.core import context
from allauth.mfa.base.forms import AuthenticateForm, ReauthenticateForm
from allauth.mfa.models import Authenticator
from django import forms
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext_lazy as _

from accounts.allauth_internals import (
    compare_user_code,
    format_hotp_value,
    generate_totp_secret,
    hotp_value,
    yield_hotp_counters_from_time,
)
from accounts.models import User
from accounts.security import recovery_codes, two_factor
from accounts.security.two_factor_adapter import PortalMFAAdapter
from accounts.security.two_factor_secrets import open_pending, open_seed, seal_pending
from core.db.locks import lock_first
from core.encryption import SecretUnreadable
from core.rate_limits import Limit, network_of

logger = logging.getLogger(__name__)

# Limits for wrong codes. Only people who passed the first step, the password, get this far. The limit per address is
# low. The limit per person is higher, because it locks out the person too. With 3 valid codes of a million at a time,
# guessing one takes years. Passkeys have no such limit.
TRIES_OF_ADDRESS = Limit("second-factor-of-address", amount=5, seconds=5 * 60)
TRIES_OF_PERSON = Limit("second-factor-of-person", amount=20, seconds=60 * 60)

PENDING_SECRET = "two_factor_pending_secret"  # noqa: S105  (the name of a place in the session)


def step_of(secret: str, code: str, *, after: int = -1) -> int | None:
    """The time step (RFC 6238) that this code belongs to: the current one or a neighbor, and later than ``after``."""
    for step in yield_hotp_counters_from_time():
        right = compare_user_code(actual=code, expected=format_hotp_value(hotp_value(secret, step)))
        if right and step > after:
            return int(step)
    return None


def accept_code(user: User, typed: str) -> Authenticator | None:
    """Uses up a code of an authenticator app, or a recovery code. ``None`` if it is wrong or already used."""
    recovery_code = recovery_codes.read(typed)
    if recovery_code is not None:
        return two_factor.use_recovery_code(user=user, code=recovery_code, request=context.request)
    try:
        return _accept_code_of_app(user, typed)
    except SecretUnreadable:
        logger.error("No key opens the two-factor of user %s. Is one missing in MFA_SECRETS_KEYS?", user.pk)
        return None


@transaction.atomic
def _accept_code_of_app(user: User, code: str) -> Authenticator | None:
    """Stores the last accepted time step in the row, which is locked. allauth remembers used codes in the cache, where
    other entries could displace them."""
    app: Authenticator | None = lock_first(Authenticator.objects.filter(user=user, type=Authenticator.Type.TOTP))
    if app is None:
        return None
    step = step_of(open_seed(app), code, after=app.data.get("last_step", -1))
    if step is None:
        return None
    app.data["last_step"] = step
    app.save(update_fields=["data"])
    return app


class CodeFormMixin(forms.Form):
    code = forms.CharField(
        max_length=32,
        label=_("Code"),
        help_text=_("From your authenticator app, or one of your recovery codes."),
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "inputmode": "numeric", "spellcheck": "false"}),
        error_messages={"required": _("Enter a code.")},
    )
    user: User
    authenticator: Authenticator

    def clean_code(self) -> str:
        code: str = self.cleaned_data["code"]
        of_address = f"{self.user.pk} {network_of(context.request.client_address)}"
        if TRIES_OF_ADDRESS.take(of_address) is not None or TRIES_OF_PERSON.take(str(self.user.pk)) is not None:
            raise PortalMFAAdapter().validation_error("too_many_codes")
        accepted = accept_code(self.user, code)
        if accepted is None:
            two_factor.note_wrong_code(user=self.user, request=context.request)
            raise PortalMFAAdapter().validation_error("incorrect_code")
        TRIES_OF_ADDRESS.forget(of_address)
        TRIES_OF_PERSON.forget(str(self.user.pk))
        self.authenticator = accepted
        self.authenticator.user = self.user
        return code


class SignInCodeForm(CodeFormMixin, AuthenticateForm):
    """The second step of signing in. Field: ``code``."""


class ReauthenticateCodeForm(CodeFormMixin, ReauthenticateForm):
    """Asks signed-in people again who they are. Field: ``code``."""


class ActivateAppForm(forms.Form):
    """Proves that the app was set up. Field: ``code``. Until then the seed is in the session, encrypted."""

    code = forms.CharField(
        max_length=32,
        label=_("Code from the app"),
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "inputmode": "numeric", "spellcheck": "false"}),
        error_messages={"required": _("Enter the code that the app shows.")},
    )

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user
        session = context.request.session
        pending = self._pending_secret() if self.is_bound else None
        if pending is None:
            pending = generate_totp_secret()
            session[PENDING_SECRET] = seal_pending(pending, user)
        self.secret = pending

    def _pending_secret(self) -> str | None:
        """The seed that the page showed; ``None`` if the session has none, or none that can be decrypted."""
        sealed = context.request.session.get(PENDING_SECRET)
        try:
            return open_pending(sealed, self.user) if sealed else None
        except SecretUnreadable:
            return None

    def clean_code(self) -> str:
        code: str = self.cleaned_data["code"]
        step = step_of(self.secret, code)
        if step is None:
            raise ValidationError(_("This code is wrong. Check the clock of your phone, then enter the next code."))
        self.step = step
        return code
