"""Between the first step of signing in and the second: for what and for how long the first one holds."""

from allauth.mfa.stages import AuthenticateStage
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare

from accounts.allauth_internals import clear_login
from accounts.models import User

FIRST_STEP = "first_step"


def note_first_step(request: HttpRequest, user: User) -> None:
    """Keeps a digest of the password that there was, as a session does of somebody who is signed in."""
    request.session[FIRST_STEP] = user.get_session_auth_hash()


def first_step_holds(request: HttpRequest, user: User) -> bool:
    """Not for who was deactivated since, and not when the password is another one: it may have been changed because
    somebody else knew it."""
    return user.is_active and constant_time_compare(request.session.get(FIRST_STEP, ""), user.get_session_auth_hash())


def forget_first_step(request: HttpRequest) -> None:
    request.session.pop(FIRST_STEP, None)
    clear_login(request)


class SecondStep(AuthenticateStage):
    """allauth's, which would send the browser in a circle where the second factor was removed meanwhile."""

    def is_resumable(self, request: HttpRequest) -> bool:
        """Whether the sign-in page leads on to the second step, and does not begin anew."""
        return self._should_handle(request) and first_step_holds(request, self.login.user)
