import uuid
from functools import cache
from typing import Any

from allauth.account.auth_backends import AuthenticationBackend

from accounts.models import User
from accounts.notifications.reading import with_unread_count
from accounts.querysets import UserQuerySet


class PortalAuthenticationBackend(AuthenticationBackend):
    """allauth's, which also reads what every page needs: the organization, and the number beside the bell."""

    def get_user(self, user_id: uuid.UUID | str) -> User | None:
        user: User | None = next(iter(_with_what_every_page_needs().filter(pk=user_id)), None)
        return user if user is not None and self.user_can_authenticate(user) else None

    def user_can_authenticate(self, user: Any) -> bool:
        """Never a service account. Every request with a session asks this, so no session can be one's, however it
        began."""
        return not user.is_service_account and super().user_can_authenticate(user)

    def _authenticate_by_email(self, email: str, password: str) -> User | None:
        """By ``User.email`` only: allauth's own table also has addresses that wait for confirmation."""
        user: User | None = User.objects.people().filter(email=email.strip().lower()).first()
        found: User | None = self._check_password(user, password)
        return found


@cache
def _with_what_every_page_needs() -> UserQuerySet:
    """Built once: building this query takes longer than the database needs to answer it."""
    return with_unread_count(User.objects.select_related("organization").order_by())
