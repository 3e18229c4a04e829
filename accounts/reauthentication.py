"""Whether it is still the person who signed in: asked again before a token is made and security settings change.

allauth notes in the session each time that somebody proves who they are, and has the pages that ask. Signing in counts
like being asked again.
"""

import time
from urllib.parse import urlencode

from allauth.account.adapter import get_adapter
from allauth.account.authentication import get_authentication_records
from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.views.generic import View

from accounts import sign_in_limits
from opsera_portal.api.problems import ReauthenticationRequired
from opsera_portal.request_context import person_of

# As allauth calls a code of an app, a recovery code and a passkey alike.
SECOND_FACTOR = "mfa"


def is_recent(request: HttpRequest) -> bool:
    """Whoever has two-factor has shown that: whoever sits at a session that was left open, or stole it, may know the
    password, and would take the second factor away with it (ASVS 7.5.1)."""
    since = time.time() - settings.ACCOUNT_REAUTHENTICATION_TIMEOUT
    methods = {record["method"] for record in get_authentication_records(request, request.user) if record["at"] > since}
    return bool(methods) and (SECOND_FACTOR in methods or not person_of(request).has_two_factor)


def check_recent(request: HttpRequest) -> None:
    """For the API. Raises ``ReauthenticationRequired``."""
    if not is_recent(request):
        raise ReauthenticationRequired


def ask_again(request: HttpRequest, *, then: str) -> HttpResponseRedirect:
    """To the page that asks, and from there to ``then``, an address of the portal.

    Whoever has neither a password nor a second factor finds there the way to their provider.
    """
    methods = get_adapter(request).get_reauthentication_methods(request.user)
    page = methods[0]["url"] if methods else reverse("account_reauthenticate")
    return HttpResponseRedirect(f"{page}?{urlencode({'next': then})}")


class CountedAnswersMixin(View):
    """A page of allauth that asks again who is there, with the portal's limit in place of allauth's."""

    def _check_ratelimit(self, request: HttpRequest) -> None:
        if request.method == "POST":
            sign_in_limits.count_again(request, person_of(request))


class RecentSignInMixin(View):
    """A page for signed-in people that asks once more who is there, if it was asked too long ago.

    ``return_to``: the name of the page that comes after it, where it cannot be this one.
    """

    return_to = ""

    def dispatch(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        then = reverse(self.return_to) if self.return_to else request.path
        if not request.user.is_authenticated:
            return redirect_to_login(then)
        if not is_recent(request):
            return ask_again(request, then=then)
        return super().dispatch(request, *args, **kwargs)
