"""Whether it is still the person who signed in: asked again before a token is made and security settings change.

allauth notes in the session each time that somebody proves who they are, and has the pages that ask. Signing in counts
like being asked again.
"""

import time
from urllib.parse import urlencode

from allauth.account.adapter import get_adapter
from allauth.account.authentication import get_authentication_records
from django.conf import settings
from django.contrib.auth.mixins import AccessMixin
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.views.generic import View

from opsera_portal.api.problems import ReauthenticationRequired


def is_recent(request: HttpRequest) -> bool:
    records = get_authentication_records(request, request.user)
    return bool(records) and time.time() - records[-1]["at"] < settings.ACCOUNT_REAUTHENTICATION_TIMEOUT


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


class RecentSignInMixin(AccessMixin, View):
    """A page for signed-in people that asks once more who is there, if it was asked too long ago.

    ``return_to``: the name of the page that comes after it, where it cannot be this one.
    """

    return_to = ""

    def dispatch(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return self.handle_no_permission()
        if not is_recent(request):
            return ask_again(request, then=reverse(self.return_to) if self.return_to else request.path)
        return super().dispatch(request, *args, **kwargs)
