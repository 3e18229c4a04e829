"""Nobody of whom two-factor is asked goes on without it."""

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
from core.http.request_context import is_api

REQUIRED = "Two-factor is required of you. Set it up on the portal, under your profile, Security; then come back."
NOT_SHOWN = "Two-factor is required of you, and this session has not shown it. Sign out, and sign in with it."


class RequiredTwoFactorMiddleware:
    """Leads signed-in people who lack the two-factor that is required of them to where it is set up.

    Also those who have it, in a session that has not shown it: one that began before it was set up, elsewhere. Requests
    with a token do not come by here; the check of the token asks the same of its owner.
    """

    # Signing out, and showing it; what is open to everybody says nothing that two-factor guards.
    OPEN: ClassVar[set[str]] = {
        "mfa_reauthenticate",
        "mfa_reauthenticate_webauthn",
        "account_logout",
        "healthz",
        "readyz",
        "favicon",
        "robots",
        "security_txt",
        "tokens:jwks",
    }
    # Only for who has none: else somebody who has the password alone would add a factor of their own.
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
        if match is None or match.view_name in self.OPEN:
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
    # A page that was asked for by its address comes back afterwards; a form that was sent is not sent again.
    query = urlencode({REDIRECT_FIELD_NAME: request.get_full_path()}, safe="/") if request.method == "GET" else ""
    return f"{reverse('mfa_reauthenticate')}?{query}"


def _refusal(request: HttpRequest, explanation: str, address: str) -> HttpResponseBase:
    if is_api(request):
        return problem_response(request, 403, explanation, "two_factor_required")
    return redirect(address)
