import uuid

from allauth.account.auth_backends import AuthenticationBackend

from accounts.models import User


class PortalAuthenticationBackend(AuthenticationBackend):
    """allauth's, with the person's organization in the query that every page begins with: each one names it."""

    def get_user(self, user_id: uuid.UUID | str) -> User | None:
        user: User | None = User.objects.select_related("organization").filter(pk=user_id).first()
        return user if user is not None and self.user_can_authenticate(user) else None
