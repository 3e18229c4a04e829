"""Between the first and the second step of signing in: whether the first step is still valid."""

from allauth.mfa.stages import AuthenticateStage
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare

from accounts.allauth_internals import clear_login
from accounts.models import User

FIRST_STEP = "first_step"


def note_first_step(request: HttpRequest, user: User) -> None:
    """Stores a digest of the current password in the session, as Django does for signed-in people."""
    request.session[FIRST_STEP] = user.get_session_auth_hash()


def first_step_holds(request: HttpRequest, user: User) -> bool:
    """Returns ``False`` if the person was deactivated or changed the password since the first step."""
    return (
        user.is_active
        and not user.is_service_account
        and constant_time_compare(request.session.get(FIRST_STEP, ""), user.get_session_auth_hash())
    )


def forget_first_step(request: HttpRequest) -> None:
    request.session.pop(FIRST_STEP, None)
    clear_login(request)


class SecondStep(AuthenticateStage):
    """allauth's step, which redirects in a loop if the second factor was removed in the meantime."""

    def is_resumable(self, request: HttpRequest) -> bool:
        """Whether the sign-in page continues with the second step instead of starting again."""
        return self._should_handle(request) and first_step_holds(request, self.login.user)
