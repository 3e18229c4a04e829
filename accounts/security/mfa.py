"""Two-factor as the portal wants it of allauth: encrypted seeds, codes that work once, passkeys that ask who is there.

What is done with second factors, and what is recorded of it, is in `accounts/security/two_factor.py`.
"""

import logging
import struct
from typing import Any

import qrcode
from allauth.core import context
from allauth.core.internal.cryptokit import compare_user_code
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.base.forms import AuthenticateForm, ReauthenticateForm
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import (
    format_hotp_value,
    generate_totp_secret,
    hotp_value,
    yield_hotp_counters_from_time,
)
from allauth.mfa.webauthn.forms import (
    AddWebAuthnForm,
    AuthenticateWebAuthnForm,
    EditWebAuthnForm,
    LoginWebAuthnForm,
    ReauthenticateWebAuthnForm,
)
from allauth.mfa.webauthn.internal import auth as webauthn
from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from fido2.webauthn import CollectedClientData
from qrcode.image.svg import SvgPathImage

from accounts.models import User
from accounts.security import recovery_codes, two_factor
from accounts.security.two_factor_secrets import BOX, open_pending, open_seed, seal_pending
from core.encryption import SecretUnreadable
from core.environment import origin
from core.rate_limits import Limit, network_of

logger = logging.getLogger(__name__)

# Wrong codes. Only who has passed the first step, the password, comes so far and can use these up: for one address
# soon, for all addresses of the world together late, since the person could not enter a code either. With 3 codes of a
# million that are right at a time, it takes years to guess one. A passkey is not bound by this.
TRIES_OF_ADDRESS = Limit("second-factor-of-address", amount=5, seconds=5 * 60)
TRIES_OF_PERSON = Limit("second-factor-of-person", amount=20, seconds=60 * 60)

PENDING_SECRET = "two_factor_pending_secret"  # noqa: S105  (the name of a place in the session)
NAME_LENGTH = 50

# What the library raises for an answer of a passkey that is none: all of it was sent by the browser.
MALFORMED = (AttributeError, IndexError, KeyError, TypeError, ValueError, struct.error)


class PortalMFAAdapter(DefaultMFAAdapter):
    """Words are the portal's, and seeds are kept by `two_factor_secrets`."""

    error_messages = {
        **DefaultMFAAdapter.error_messages,
        "incorrect_code": "This code is wrong, or was used before. Wait for the next one and enter that.",
        "incorrect_passkey": "This passkey was not accepted. Try again, or use another way.",
        "too_many_codes": "Too many wrong codes. Wait five minutes, or use a passkey.",
    }

    def encrypt(self, text: str) -> str:
        """Encrypts for nobody: allauth does not say whose seed it is. `two_factor.add_app` keeps the real one."""
        return BOX.encrypt(text, ("nobody",))

    def decrypt(self, encrypted_text: str) -> str:
        """Refuses: `two_factor_secrets.open_seed` decrypts, and it needs to know whose seed it is."""
        raise SecretUnreadable

    def build_totp_svg(self, url: str) -> str:
        """To stand in the page itself: no policy has to allow images that stand in addresses."""
        svg: str = qrcode.make(url, image_factory=SvgPathImage).to_string(encoding="unicode")
        return svg

    def generate_authenticator_name(self, user: Any, type: Authenticator.Type) -> str:  # noqa: A002
        count = Authenticator.objects.filter(user_id=user.pk, type=type).count()
        return f"Passkey {count + 1}"

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        return {**super().get_public_key_credential_rp_entity(), "name": settings.MFA_TOTP_ISSUER}


# Codes


def step_of(secret: str, code: str, *, after: int = -1) -> int | None:
    """The step of time (RFC 6238) whose code this is: the present or a neighbor, and only one after ``after``."""
    for step in yield_hotp_counters_from_time():
        right = compare_user_code(actual=code, expected=format_hotp_value(hotp_value(secret, step)))
        if right and step > after:
            return int(step)
    return None


def accept_code(user: User, typed: str) -> Authenticator | None:
    """Uses up a code of an authenticator app, or a recovery code; ``None`` if it is neither, or was used before."""
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
    """The last step of time that was accepted stands in the row, which is locked: allauth's own memory of used codes is
    the cache, from which others could push it out."""
    app: Authenticator | None = (
        Authenticator.objects.select_for_update().filter(user=user, type=Authenticator.Type.TOTP).first()
    )
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
        help_text="From your authenticator app, or one of your recovery codes.",
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "inputmode": "numeric", "spellcheck": "false"}),
        error_messages={"required": "Enter a code."},
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
    """Asks once more who is there. Field: ``code``."""


class ActivateAppForm(forms.Form):
    """Proves that the app was set up. Field: ``code``. Until then the secret waits, encrypted, in the session."""

    code = forms.CharField(
        max_length=32,
        label="Code that the app shows",
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "inputmode": "numeric", "spellcheck": "false"}),
        error_messages={"required": "Enter the code that the app shows."},
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
        """The one that the page showed; ``None`` where the session has none, or none that can be read."""
        sealed = context.request.session.get(PENDING_SECRET)
        try:
            return open_pending(sealed, self.user) if sealed else None
        except SecretUnreadable:
            return None

    def clean_code(self) -> str:
        code: str = self.cleaned_data["code"]
        step = step_of(self.secret, code)
        if step is None:
            raise ValidationError("This code is wrong. Is the clock of your phone right? Enter the next one.")
        self.step = step
        return code


# Passkeys


class CredentialField(forms.JSONField):
    """What the browser's script sends of a passkey (static/js/passkey.js)."""

    def __init__(self) -> None:
        super().__init__(label="Passkey", widget=forms.HiddenInput)

    def to_python(self, value: Any) -> Any:
        try:
            return super().to_python(value)
        except RecursionError:
            raise not_accepted() from None


def not_accepted() -> ValidationError:
    error: ValidationError = PortalMFAAdapter().validation_error("incorrect_passkey")
    return error


def is_of_this_page(client_data: CollectedClientData) -> bool:
    """Whether the browser was asked by a page of the portal, and not in a frame. The library lets any site below the
    portal's name ask for its passkeys."""
    request = context.request
    is_ours: bool = client_data.origin == origin(f"{request.scheme}://{request.get_host()}")
    return is_ours and not client_data.cross_origin


class PasskeyFormMixin(forms.Form):
    """Whatever a browser sends for a passkey is an error of the form and not of the portal."""

    credential = CredentialField()

    def clean_credential(self) -> Authenticator:
        try:
            answer = webauthn.parse_authentication_response(self.cleaned_data["credential"]).response
            passkey: Authenticator = super().clean_credential()  # type: ignore[misc]
        except MALFORMED:
            raise not_accepted() from None
        except ValidationError as error:
            raise (not_accepted() if error.code == "incorrect_code" else error) from None
        if not is_of_this_page(answer.client_data):
            raise not_accepted()
        if not two_factor.accept_sign_count(passkey, answer.authenticator_data.counter, request=context.request):
            raise not_accepted()
        return passkey


class SignInPasskeyForm(PasskeyFormMixin, LoginWebAuthnForm):
    """Signs in, without a password. Field: ``credential`` (JSON)."""


class SignInSecondPasskeyForm(PasskeyFormMixin, AuthenticateWebAuthnForm):
    """The second step of signing in. Field: ``credential`` (JSON)."""


class ReauthenticatePasskeyForm(PasskeyFormMixin, ReauthenticateWebAuthnForm):
    """Asks once more who is there. Field: ``credential`` (JSON)."""


def name_field(**kwargs: Any) -> forms.CharField:
    return forms.CharField(
        max_length=NAME_LENGTH,
        label="Name",
        help_text="To tell your passkeys apart, for example “Laptop” or “Blue key”.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        **kwargs,
    )


class AddPasskeyForm(AddWebAuthnForm):
    """Fields: ``name``, ``credential`` (JSON)."""

    name = name_field(required=False)
    credential = CredentialField()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Each passkey can sign in by itself; there is nothing to choose.
        self.fields.pop("passwordless", None)

    def clean(self) -> dict[str, Any]:
        """As allauth does, with what it lets fall through, and for every passkey: the device knew its owner."""
        cleaned = forms.Form.clean(self) or {}
        credential = cleaned.get("credential")
        if credential is None:
            return cleaned
        try:
            answer = webauthn.parse_registration_response(credential).response
            knew_its_owner = webauthn.complete_registration(credential).is_user_verified()
            is_accepted = knew_its_owner and is_of_this_page(answer.client_data)
        except (*MALFORMED, ValidationError):
            is_accepted = False
        if not is_accepted:
            raise not_accepted()
        return cleaned


class RenamePasskeyForm(EditWebAuthnForm):
    """Field: ``name``."""

    name = name_field(error_messages={"required": "Enter a name."})
