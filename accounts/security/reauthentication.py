"""Asks signed-in people again who they are before they do what `accounts/privileges.py` lists.

allauth notes in the session each time that somebody proves who they are, and has the pages that ask. Signing in counts
like being asked again.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlencode

from allauth.account.adapter import get_adapter
from allauth.account.authentication import get_authentication_records
from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.views.generic import View

from accounts.signin import limits
from core.api.problems import ReauthenticationRequired
from core.http.request_context import is_api, person_of

if TYPE_CHECKING:
    from accounts.privileges import Privilege

# As allauth calls a code of an app, a recovery code and a passkey alike.
SECOND_FACTOR = "mfa"
_SAFE_METHODS = ("GET", "HEAD")


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

    Whoever has neither a password nor a second factor finds there the way to their provider. A form that was sent comes
    back filled in, with a sentence that says that nothing was done yet: accounts/security/kept_forms.py.
    """
    methods = get_adapter(request).get_reauthentication_methods(request.user)
    page = methods[0]["url"] if methods else reverse("account_reauthenticate")
    return HttpResponseRedirect(f"{page}?{urlencode({'next': then})}")


class CountedAnswersMixin(View):
    """A page of allauth that asks again who is there, with the portal's limit in place of allauth's."""

    def _check_ratelimit(self, request: HttpRequest) -> None:
        if request.method == "POST":
            limits.count_again(request, person_of(request))


class RecentSignInMixin(View):
    """A page for signed-in people that asks again who they are, if they proved it too long ago.

    ``privilege``: what the page does; ``None`` if it needs no proof. ``asks_before``: the methods that need it.
    ``return_to``: the name of the page that comes after it, if it cannot be this one.
    """

    privilege: ClassVar["Privilege | None"]
    asks_before: ClassVar[frozenset[str]] = frozenset({"GET", "HEAD", "POST"})
    return_to = ""

    def dispatch(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return redirect_to_login(self.return_address())
        if self.needs_proof() and not is_recent(request):
            return ask_again(request, then=self.return_address())
        return super().dispatch(request, *args, **kwargs)

    def needs_proof(self) -> bool:
        method = self.request.method or ""
        return self.privilege is not None and method in self.asks_before and method.lower() in self.http_method_names

    def return_address(self) -> str:
        """The page that the form is on: a person who was asked goes on from there."""
        return reverse(self.return_to) if self.return_to else self.request.path


class ReauthenticationMiddleware:
    """Asks again who is there when a service refuses an old proof that the page itself had not looked at."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponseBase | None:
        if not isinstance(error, ReauthenticationRequired) or is_api(request):
            return None
        is_page = request.method in _SAFE_METHODS
        return ask_again(request, then=request.path if is_page else reverse(settings.LOGIN_REDIRECT_URL))
