"""Requires two-factor of people whose role or organization needs it."""

from collections.abc import Callable
from typing import Any, ClassVar
from urllib.parse import urlencode

from allauth.account.authentication import get_authentication_records
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse

from core.api.problems import problem_response
from core.http.open_views import is_open_to_everybody
from core.http.request_context import is_api

REQUIRED = "You must use two-factor. Set it up on the portal, under your profile, Security; then try again."
NOT_SHOWN = "You must use two-factor, and you signed in without it. Sign out, then sign in with it."


class RequiredTwoFactorMiddleware:
    """Sends signed-in people without the required two-factor to the page that sets it up.

    People who have it must prove it if their session began without it, for example before they set it up in another
    browser. For requests with a token, `tokens/authentication.py` makes the same check of the token's owner.
    """

    # Signing out and proving two-factor.
    OPEN: ClassVar[set[str]] = {"mfa_reauthenticate", "mfa_reauthenticate_webauthn", "account_logout"}
    # Only for people without two-factor: otherwise a stranger who knows the password could add a factor.
    OPEN_TO_SET_UP: ClassVar[set[str]] = {
        "mfa_index",
        "mfa_activate_totp",
        "mfa_add_webauthn",
        "mfa_view_recovery_codes",
        "account_reauthenticate",
        "account_change_password",
        "account_set_password",
    }

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., HttpResponseBase], args: Any, kwargs: Any
    ) -> HttpResponseBase | None:
        match = request.resolver_match
        if match is None or match.view_name in self.OPEN or is_open_to_everybody(view):
            return None
        user = request.user
        if not user.is_authenticated or not user.needs_two_factor:
            return None
        if not user.has_two_factor:
            if match.view_name in self.OPEN_TO_SET_UP:
                return None
            return _refusal(request, REQUIRED, reverse("mfa_index"))
        if not has_shown_second_factor(request):
            return _refusal(request, NOT_SHOWN, _where_to_show_it(request))
        return None


def has_shown_second_factor(request: HttpRequest) -> bool:
    """Whether the second factor was used, or set up, in this session."""
    records = get_authentication_records(request, request.user)
    return any(record.get("method") == "mfa" for record in records)


def _where_to_show_it(request: HttpRequest) -> str:
    # Afterwards the person returns to the page that they opened; a form is not sent again.
    query = urlencode({REDIRECT_FIELD_NAME: request.get_full_path()}, safe="/") if request.method == "GET" else ""
    return f"{reverse('mfa_reauthenticate')}?{query}"


def _refusal(request: HttpRequest, explanation: str, address: str) -> HttpResponseBase:
    if is_api(request):
        return problem_response(request, 403, explanation, "two_factor_required")
    return redirect(address)
