"""Asks signed-in people again who they are before they do what `accounts/privileges.py` lists.

allauth stores in the session each time that a person proves who they are, and has the pages that ask. Signing in counts
too.
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

# allauth's name for codes of an app, recovery codes and passkeys alike.
SECOND_FACTOR = "mfa"
_SAFE_METHODS = ("GET", "HEAD")


def is_recent(request: HttpRequest) -> bool:
    """Whether this session has proved recently who the person is.

    People with two-factor must have proved that: a stranger at an open session may know the password, and could then
    remove the second factor (ASVS 7.5.1).
    """
    since = time.time() - settings.ACCOUNT_REAUTHENTICATION_TIMEOUT
    methods = {record["method"] for record in get_authentication_records(request, request.user) if record["at"] > since}
    return bool(methods) and (SECOND_FACTOR in methods or not person_of(request).has_two_factor)


def check_recent(request: HttpRequest) -> None:
    """For the API. Raises ``ReauthenticationRequired``."""
    if not is_recent(request):
        raise ReauthenticationRequired


def ask_again(request: HttpRequest, *, then: str) -> HttpResponseRedirect:
    """Redirects to the page that asks, and from there to ``then``, an address of the portal.

    People without a password and a second factor sign in again with their provider. A form that was sent comes back
    filled in, and says that nothing has been done yet (accounts/security/kept_forms.py).
    """
    methods = get_adapter(request).get_reauthentication_methods(request.user)
    page = methods[0]["url"] if methods else reverse("account_reauthenticate")
    return HttpResponseRedirect(f"{page}?{urlencode({'next': then})}")


class CountedAnswersMixin(View):
    """A page of allauth that asks again who is there, with the portal's limit instead of allauth's."""

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
        """The page that the form is on, where the person continues afterwards."""
        return reverse(self.return_to) if self.return_to else self.request.path


class ReauthenticationMiddleware:
    """Asks again who is there if a service refuses an old proof that the page itself did not check."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponseBase | None:
        if not isinstance(error, ReauthenticationRequired) or is_api(request):
            return None
        is_page = request.method in _SAFE_METHODS
        return ask_again(request, then=request.path if is_page else reverse(settings.LOGIN_REDIRECT_URL))
