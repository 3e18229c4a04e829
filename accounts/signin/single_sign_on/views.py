"""The pages of single sign-on. Without a provider in the environment there are none."""

import secrets
from collections.abc import Callable
from functools import wraps
from typing import Any

from allauth.account.utils import get_next_redirect_url
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.helpers import render_authentication_error
from allauth.socialaccount.providers.base.constants import AuthProcess
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.decorators import method_decorator
from django.utils.translation import gettext
from django.views.decorators.http import require_GET
from django.views.generic import TemplateView

from accounts.privileges import Privilege
from accounts.security.reauthentication import RecentSignInMixin
from accounts.signin.browser import note_time_zone
from accounts.signin.single_sign_on.links import disconnect, link_of
from accounts.signin.single_sign_on.openid import CheckedOpenIDConnect
from accounts.signin.single_sign_on.provider import provider_id, provider_in_use
from core.http.request_context import client_address, person_of
from core.pages.errors import too_many_requests
from core.rate_limits import Limit, network_of

# From one address. Each start sends a request to the provider, and a thread waits for the answer.
STARTS = Limit("single-sign-on-starts", amount=60, seconds=60)

View = Callable[..., HttpResponseBase]


def where_there_is_a_provider(view: View) -> View:
    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if provider_in_use() is None:
            raise Http404("There is no single sign-on here.")
        return view(request, *args, **kwargs)

    return guarded


@where_there_is_a_provider
def start(request: HttpRequest) -> HttpResponse:
    """Sends the browser to the provider. Only by POST, so that no other site can start it."""
    if request.method != "POST":
        return redirect("account_login")
    wait = STARTS.take(network_of(client_address(request)))
    if wait is not None:
        explanation = gettext(
            "Your network has tried to sign in too often in a short time. Wait a minute, then try again."
        )
        return too_many_requests(request, explanation, retry_after=wait)
    note_time_zone(request)
    provider = get_adapter().get_provider(request, provider_id())
    nonce = secrets.token_urlsafe(24)
    try:
        answer = provider.redirect(
            request,
            process=AuthProcess.LOGIN,
            next_url=get_next_redirect_url(request),
            auth_params={"nonce": nonce},
            nonce=nonce,
        )
    except OAuth2Error as error:
        failed: HttpResponse = render_authentication_error(request, provider, exception=error)
        return failed
    # A page that forwards, not a redirect: `form-action 'self'` forbids redirects to other sites, and the addresses to
    # which a provider may redirect in turn are unknown.
    return render(request, "socialaccount/leaving.html", {"provider": provider, "address": answer["Location"]})


class _CallbackView(OAuth2CallbackView):
    def _get_state(self, request: HttpRequest, provider: Any) -> tuple[Any, Any]:
        state, answer = super()._get_state(request, provider)
        if answer is None:
            self.adapter.expected_nonce = state["nonce"]
            try:
                # Fetch it here: in allauth's code, an error would become a server error.
                _ = self.adapter.openid_config
            except OAuth2Error as error:
                answer = render_authentication_error(request, provider, exception=error)
        return state, answer


@where_there_is_a_provider
@require_GET
def callback(request: HttpRequest) -> HttpResponseBase:
    """The page to which the provider sends the browser back."""
    adapter = CheckedOpenIDConnect(request, provider_id())
    answer: HttpResponseBase = _CallbackView.adapter_view(adapter)(request)
    return answer


@method_decorator(where_there_is_a_provider, name="dispatch")
class CancelledView(TemplateView):
    template_name = "socialaccount/login_cancelled.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(provider=provider_in_use(), **kwargs)


@method_decorator([login_required, where_there_is_a_provider], name="dispatch")
class ConnectionView(RecentSignInMixin, TemplateView):
    """Shows whether single sign-on is connected. People with a password can disconnect it."""

    privilege = Privilege.DISCONNECT_SINGLE_SIGN_ON
    asks_before = frozenset({"POST"})
    template_name = "socialaccount/connections.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        person = person_of(self.request)
        return super().get_context_data(
            provider=provider_in_use(),
            link=link_of(person),
            has_password=person.has_usable_password(),
            **kwargs,
        )

    def post(self, request: HttpRequest) -> HttpResponse:
        person = person_of(request)
        if not person.has_usable_password():
            messages.error(request, gettext("Set a password first: without it you could no longer sign in."))
        elif disconnect(actor=person, request=request):
            messages.success(request, gettext("Single sign-on is disconnected."))
        return redirect("socialaccount_connections")
