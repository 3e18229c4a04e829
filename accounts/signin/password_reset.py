"""The link that sets a new password. It works once, for an hour. Nothing of it is stored."""

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.urls import reverse
from django.utils.http import base36_to_int

from accounts.models import User
from accounts.signin.single_sign_on.provider import providers_for

SECONDS = 60 * 60


class ResetKeyGenerator(PasswordResetTokenGenerator):
    """Signs the person's state: a new password or address, a sign-in or a deactivation invalidates the link."""

    # Never change the salt: links in mails that were sent would stop working.
    key_salt = "accounts.password_reset"

    def _make_hash_value(self, user: User, timestamp: int) -> str:
        return f"{super()._make_hash_value(user, timestamp)}{user.is_active}"

    def check_token(self, user: User | None, token: str | None) -> bool:
        """Checks the hour here: Django's own setting is used for invitations, which are valid for longer."""
        if user is None or not token or not can_reset(user) or not super().check_token(user, token):
            return False
        made_at = base36_to_int(token.partition("-")[0])
        return self._num_seconds(self._now()) - made_at <= SECONDS


reset_keys = ResetKeyGenerator()


def can_reset(user: User) -> bool:
    """People with a password, and members who have no other way to sign in, such as after the removal of their
    organization's provider. Invited people use the link of their invitation."""
    if not user.is_active or user.is_service_account:
        return False
    return user.has_usable_password() or _has_no_way_in(user)


def _has_no_way_in(user: User) -> bool:
    # Operators are left out: a mailbox alone never gives their rights.
    if user.organization_id is None or user.is_invited or providers_for(user):
        return False
    return not Authenticator.objects.filter(user=user, type=Authenticator.Type.WEBAUTHN).exists()


def link_for(user: User) -> str:
    path = reverse("account_reset_password_from_key", args=[user.pk.hex, reset_keys.make_token(user)])
    return f"{settings.PORTAL_URL}{path}"
