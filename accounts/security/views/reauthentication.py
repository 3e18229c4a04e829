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


@never_cached
class ReauthenticateView(CountedAnswersMixin, account.ReauthenticateView):
    """Asks for the password. People without a password and a second factor sign in with their provider again."""

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
