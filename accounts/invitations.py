"""The link in an invitation. It works once, for three days. Nothing of it is stored."""

from django.conf import settings
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from accounts.models import User

DAYS = settings.PASSWORD_RESET_TIMEOUT // (24 * 60 * 60)


class InvitationTokenGenerator(PasswordResetTokenGenerator):
    """Signs the person's state: the first password, a new address or a deactivation invalidates the link."""

    key_salt = "accounts.invitations"

    def _make_hash_value(self, user: User, timestamp: int) -> str:
        return f"{super()._make_hash_value(user, timestamp)}{user.is_active}"

    def check_token(self, user: User | None, token: str | None) -> bool:
        return user is not None and user.is_invited and super().check_token(user, token)


invitation_tokens = InvitationTokenGenerator()


def link_for(user: User) -> str:
    uid = urlsafe_base64_encode(force_bytes(user.pk))
    path = reverse("accounts:invitation", args=[uid, invitation_tokens.make_token(user)])
    return f"{settings.PORTAL_URL}{path}"
