"""The pages of single sign-on. Without a provider in the environment, and if organizations can't have their own, there
are none."""

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
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.decorators import method_decorator
from django.utils.translation import gettext
from django.views.decorators.http import require_GET
from django.views.generic import TemplateView

from accounts.models import OrganizationProvider, User
from accounts.privileges import Privilege
from accounts.provider_forms import OrganizationSignOnForm
from accounts.security.reauthentication import RecentSignInMixin
from accounts.signin.browser import note_time_zone
from accounts.signin.single_sign_on import again
from accounts.signin.single_sign_on.links import disconnect, link_of
from accounts.signin.single_sign_on.openid import CheckedOpenIDConnect
from accounts.signin.single_sign_on.provider import (
    Provider,
    connected_providers,
    has_organizations,
    is_in_use,
    provider_of,
    provider_of_organization,
    provider_of_settings,
    providers_for,
)
from core.http.request_context import client_address, person_of
from core.pages.errors import too_many_requests
from core.rate_limits import Limit, network_of

# From one address. Each start sends a request to the provider, and a thread waits for the answer.
STARTS = Limit("single-sign-on-starts", amount=60, seconds=60)

View = Callable[..., HttpResponseBase]


def only_if(exists: Callable[[], object]) -> Callable[[View], View]:
    """Answers 404 unless there is such single sign-on here."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not exists():
                raise Http404("There is no single sign-on here.")
            return view(request, *args, **kwargs)

        return guarded

    return decorate


@only_if(provider_of_settings)
def start(request: HttpRequest) -> HttpResponse:
    """Sends the browser to the provider. Only by POST, so that no other site can start it."""
    if request.method != "POST":
        return redirect("account_login")
    return _too_many(request) or _leave(request, _known(provider_of_settings()))


@only_if(is_in_use)
@login_required
def start_again(request: HttpRequest) -> HttpResponse:
    """Asks a signed-in person again who they are at a provider that they are connected with.

    ``provider``: its id. Without it, the first one.
    """
    if request.method != "POST":
        return redirect("account_reauthenticate")
    named = request.POST.get("provider")
    chosen = (provider for provider in connected_providers(person_of(request)) if named in {None, provider.id})
    return _too_many(request) or _leave(request, _known(next(chosen, None)))


@method_decorator(only_if(has_organizations), name="dispatch")
class OrganizationSignOnView(TemplateView):
    """Asks for the short name of the organization, and sends the browser to its provider.

    An organization that doesn't exist and one without a provider get the same answer.
    """

    template_name = "socialaccount/organization.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        form = kwargs.pop("form", None) or OrganizationSignOnForm(initial=self.request.GET.dict())
        next_url = get_next_redirect_url(self.request)
        return super().get_context_data(form=form, next_url=next_url, **kwargs)

    def post(self, request: HttpRequest) -> HttpResponse:
        if refused := _too_many(request):
            return refused
        form = OrganizationSignOnForm(request.POST)
        if form.is_valid():
            provider = provider_of_organization(form.cleaned_data["organization"])
            if provider is not None:
                return _leave(request, provider)
            form.add_error("organization", gettext("No organization with this short name has its own single sign-on."))
        return self.render_to_response(self.get_context_data(form=form), status=400)


def _too_many(request: HttpRequest) -> HttpResponse | None:
    wait = STARTS.take(network_of(client_address(request)))
    if wait is None:
        return None
    explanation = gettext("Your network has tried to sign in too often in a short time. Wait a minute, then try again.")
    return too_many_requests(request, explanation, retry_after=wait)


def _leave(request: HttpRequest, used: Provider) -> HttpResponse:
    """Sends the browser to the provider. A person who is signed in and connected with it is asked again there."""
    note_time_zone(request)
    parameters: dict[str, str] = {}
    kept: dict[str, Any] = {}
    if isinstance(request.user, User) and link_of(request.user, used) is not None:
        parameters, kept = again.PARAMETERS, again.state_for(request.user)
    provider = get_adapter().get_provider(request, used.id)
    nonce = secrets.token_urlsafe(24)
    try:
        answer = provider.redirect(
            request,
            process=AuthProcess.LOGIN,
            next_url=get_next_redirect_url(request),
            auth_params={"nonce": nonce, **parameters},
            nonce=nonce,
            **kept,
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


@only_if(provider_of_settings)
@require_GET
def callback(request: HttpRequest) -> HttpResponseBase:
    """The page to which the provider sends the browser back."""
    return _return(request, _known(provider_of_settings()))


@only_if(has_organizations)
@require_GET
def callback_of_organization(request: HttpRequest, pk: str) -> HttpResponseBase:
    """The same for an organization's provider: a state is valid only at the address of its own provider."""
    return _return(request, _known(provider_of(get_object_or_404(OrganizationProvider, pk=pk))))


def _return(request: HttpRequest, used: Provider) -> HttpResponseBase:
    answer: HttpResponseBase = _CallbackView.adapter_view(CheckedOpenIDConnect(request, used.id))(request)
    return answer


def _known(provider: Provider | None) -> Provider:
    if provider is None:
        raise Http404("There is no single sign-on here.")
    return provider


@method_decorator(only_if(provider_of_settings), name="dispatch")
class CancelledView(TemplateView):
    template_name = "socialaccount/login_cancelled.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(provider=provider_of_settings(), **kwargs)


@method_decorator([login_required, only_if(is_in_use)], name="dispatch")
class ConnectionView(RecentSignInMixin, TemplateView):
    """Shows whether single sign-on is connected. People with a password can disconnect it."""

    privilege = Privilege.DISCONNECT_SINGLE_SIGN_ON
    asks_before = frozenset({"POST"})
    template_name = "socialaccount/connections.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        person = person_of(self.request)
        return super().get_context_data(
            connections=[
                {"provider": provider, "link": link_of(person, provider)} for provider in providers_for(person)
            ],
            has_password=person.has_usable_password(),
            **kwargs,
        )

    def post(self, request: HttpRequest) -> HttpResponse:
        """``provider``: the id of the provider to disconnect. Without it, the first one."""
        person = person_of(request)
        providers = providers_for(person)
        named = request.POST.get("provider")
        chosen = next((provider for provider in providers if named in {None, provider.id}), None)
        if not person.has_usable_password():
            messages.error(request, gettext("Set a password first: without it you could no longer sign in."))
        elif chosen is not None and disconnect(actor=person, provider=chosen, request=request):
            messages.success(request, gettext("Single sign-on is disconnected."))
        return redirect("socialaccount_connections")
