"""allauth's two-factor in the portal's words, with seeds encrypted by `two_factor_secrets`."""

from typing import Any

import qrcode
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.utils.translation import gettext_lazy as _
from qrcode.image.svg import SvgPathImage

from accounts.security.two_factor_secrets import BOX
from core.encryption import SecretUnreadable


class PortalMFAAdapter(DefaultMFAAdapter):
    """Words are the portal's, and seeds are kept by `two_factor_secrets`."""

    error_messages = {
        **DefaultMFAAdapter.error_messages,
        "incorrect_code": _("This code is wrong or already used. Wait for the next code and enter it."),
        "incorrect_passkey": _("This passkey was not accepted. Try again, or sign in another way."),
        "too_many_codes": _("Too many wrong codes. Wait five minutes, or use a passkey."),
    }

    def encrypt(self, text: str) -> str:
        """allauth does not say whose seed it is, so this value is never used: `two_factor.add_app` stores its own."""
        return BOX.encrypt(text, ("nobody",))

    def decrypt(self, encrypted_text: str) -> str:
        """Refuses: `two_factor_secrets.open_seed` decrypts, and it needs to know whose seed it is."""
        raise SecretUnreadable

    def build_totp_svg(self, url: str) -> str:
        """SVG for the page itself, so that the content security policy need not allow `data:` images."""
        svg: str = qrcode.make(url, image_factory=SvgPathImage).to_string(encoding="unicode")
        return svg

    def generate_authenticator_name(self, user: Any, type: Authenticator.Type) -> str:  # noqa: A002
        count = Authenticator.objects.filter(user_id=user.pk, type=type).count()
        return f"Passkey {count + 1}"

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        return {**super().get_public_key_credential_rp_entity(), "name": settings.MFA_TOTP_ISSUER}
