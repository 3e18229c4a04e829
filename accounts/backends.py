import uuid

from allauth.account.auth_backends import AuthenticationBackend

from accounts.models import User


class PortalAuthenticationBackend(AuthenticationBackend):
    """allauth's, with the person's organization in the query that every page begins with: each one names it."""

    def get_user(self, user_id: uuid.UUID | str) -> User | None:
        user: User | None = User.objects.select_related("organization").filter(pk=user_id).first()
        return user if user is not None and self.user_can_authenticate(user) else None

    def _authenticate_by_email(self, email: str, password: str) -> User | None:
        """By ``User.email`` alone: allauth's own table holds addresses that wait to be confirmed, too."""
        user: User | None = User.objects.filter(email=email.strip().lower()).first()
        found: User | None = self._check_password(user, password)
        return found
