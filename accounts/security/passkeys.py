"""The forms for passkeys: signing in, proving again who is there, adding and renaming them."""

import struct
from typing import Any

from allauth.core import context
from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn.forms import (
    AddWebAuthnForm,
    AuthenticateWebAuthnForm,
    EditWebAuthnForm,
    LoginWebAuthnForm,
    ReauthenticateWebAuthnForm,
)
from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from fido2.webauthn import CollectedClientData

from accounts.allauth_internals import webauthn
from accounts.security import two_factor
from accounts.security.two_factor_adapter import PortalMFAAdapter
from core.setting_readers import origin

NAME_LENGTH = 50

# What the library raises for a malformed answer of a browser.
MALFORMED = (AttributeError, IndexError, KeyError, TypeError, ValueError, struct.error)


class CredentialField(forms.JSONField):
    """The answer of a passkey, as static/js/passkey.js sends it."""

    def __init__(self) -> None:
        super().__init__(label=_("Passkey"), widget=forms.HiddenInput)

    def to_python(self, value: Any) -> Any:
        try:
            return super().to_python(value)
        except RecursionError:
            raise not_accepted() from None


def not_accepted() -> ValidationError:
    error: ValidationError = PortalMFAAdapter().validation_error("incorrect_passkey")
    return error


def is_of_this_page(client_data: CollectedClientData) -> bool:
    """Whether a page of the portal requested the passkey, and not in a frame. The library alone would accept any
    subdomain of the portal's."""
    request = context.request
    is_ours: bool = client_data.origin == origin(f"{request.scheme}://{request.get_host()}")
    return is_ours and not client_data.cross_origin


class PasskeyFormMixin(forms.Form):
    """Makes every malformed answer of a browser an error of the form, not a server error."""

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
    """Asks signed-in people again who they are. Field: ``credential`` (JSON)."""


def name_field(**kwargs: Any) -> forms.CharField:
    return forms.CharField(
        max_length=NAME_LENGTH,
        label=_("Name"),
        help_text=_("To tell your passkeys apart, for example “Laptop” or “Blue key”."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        **kwargs,
    )


class AddPasskeyForm(AddWebAuthnForm):
    """Fields: ``name``, ``credential`` (JSON)."""

    name = name_field(required=False)
    credential = CredentialField()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Every passkey can sign in without a password; there is nothing to choose.
        self.fields.pop("passwordless", None)

    def clean(self) -> dict[str, Any]:
        """As allauth, but also catches malformed answers, and requires user verification of every passkey."""
        cleaned = forms.Form.clean(self) or {}
        credential = cleaned.get("credential")
        if credential is None:
            return cleaned
        try:
            answer = webauthn.parse_registration_response(credential).response
            is_verified = webauthn.complete_registration(credential).is_user_verified()
            is_accepted = is_verified and is_of_this_page(answer.client_data)
        except (*MALFORMED, ValidationError):
            is_accepted = False
        if not is_accepted:
            raise not_accepted()
        return cleaned


class RenamePasskeyForm(EditWebAuthnForm):
    """Field: ``name``."""

    name = name_field(error_messages={"required": _("Enter a name.")})
