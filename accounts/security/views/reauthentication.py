"""Pages that ask signed-in people again who they are."""

from typing import Any

from allauth.account import views as account
from allauth.account.adapter import get_adapter
from allauth.mfa.base import views as mfa
from allauth.mfa.webauthn.views import ReauthenticateWebAuthnView
from django import forms
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from accounts.security.decorators import never_cached
from accounts.security.reauthentication import CountedAnswersMixin
from accounts.signin.single_sign_on.provider import connected_providers
from core.http.request_context import person_of


@never_cached
class ReauthenticateView(CountedAnswersMixin, account.ReauthenticateView):
    """Asks for the password, or for another sign-in at the provider. People with two-factor must use their factor."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(**kwargs)
        person = person_of(self.request)
        return {**context, "providers": [] if person.has_two_factor else connected_providers(person)}

    def _check_reauthentication_method_available(self, request: HttpRequest) -> HttpResponseBase | None:
        answer: HttpResponseBase | None
        if get_adapter().get_reauthentication_methods(request.user):
            answer = super()._check_reauthentication_method_available(request)
        else:
            answer = self.render_to_response(self.get_context_data(form=None))
        return answer


class ReauthenticateCodeView(CountedAnswersMixin, mfa.ReauthenticateView):
    """Asks for a code."""


class ReauthenticatePasskeyView(CountedAnswersMixin, ReauthenticateWebAuthnView):
    def form_invalid(self, form: forms.Form) -> HttpResponse:
        """Shows the page again with the error; allauth's own answer forgets where the person was going."""
        page: HttpResponse = self.render_to_response(self.get_context_data(form=form))
        return page

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_context_data(**kwargs), **kwargs}
