"""Pages for people who are not signed in yet. allauth has the others (accounts/signin/urls.py)."""

from typing import Any

from allauth.account import views as account
from allauth.account.adapter import get_adapter
from allauth.mfa.base.views import AuthenticateView
from allauth.mfa.webauthn.views import LoginWebAuthnView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse_lazy
from django.views.generic.edit import FormView

from accounts.allauth_internals import INTERNAL_RESET_SESSION_KEY
from accounts.forms import AskPasswordResetForm, ResetPasswordForm
from accounts.security import credentials
from accounts.security.decorators import hides_passwords, never_cached
from accounts.security.sign_in_networks import OutsideNetworks
from accounts.signin import limits, passkey_hint

sign_in_second_factor = AuthenticateView.as_view()


class SignInView(account.LoginView):
    """Signs in with a password. The page also offers the other ways."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(**kwargs)
        form = context["form"]
        context["passkey_first"] = passkey_hint.passkey_was_used(self.request)
        # The script puts the focus on the button of the passkey.
        if form.errors or not context["passkey_first"]:
            form.focus()
        return context


class SignInPasskeyView(LoginWebAuthnView):
    """Signs in with a passkey alone."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        address = get_adapter().get_client_ip(request)
        limits.count(request, limits.PASSKEYS_FROM_ADDRESS, address=address)
        answer: HttpResponse = super().post(request, *args, **kwargs)
        return answer


@never_cached
class AskPasswordResetView(FormView[AskPasswordResetForm]):
    """Gives the same answer, after the same work, whether or not somebody has the address."""

    template_name = "account/password_reset.html"
    form_class = AskPasswordResetForm
    success_url = reverse_lazy("account_reset_password_done")

    def form_valid(self, form: AskPasswordResetForm) -> HttpResponse:
        address = get_adapter().get_client_ip(self.request)
        limits.count(self.request, limits.RESETS_FROM_ADDRESS, address=address)
        credentials.ask_password_reset(email=form.cleaned_data["email"], request=self.request)
        return super().form_valid(form)


@never_cached
@hides_passwords
class ResetPasswordView(account.PasswordResetFromKeyView):
    """The page that the link in the mail opens. allauth removes the link's secret from the address before the form."""

    def get_form_class(self) -> type[ResetPasswordForm]:
        return ResetPasswordForm

    def logout(self) -> None:
        """Does nothing: opening a link does not sign out the person in this browser."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        address = get_adapter().get_client_ip(request)
        limits.count(request, limits.LINKS_FROM_ADDRESS, address=address)
        answer: HttpResponse = super().post(request, *args, **kwargs)
        return answer

    def form_valid(self, form: Any) -> HttpResponse:
        try:
            credentials.reset_password(
                user=self.reset_user,
                key=self.key,
                password=form.cleaned_data["password1"],
                expire_tokens=form.cleaned_data["expire_tokens"],
                request=self.request,
            )
        except credentials.LinkUsed:
            ended: HttpResponse = self.render_to_response(self.get_context_data(form=form, token_fail=True))
            return ended
        except OutsideNetworks as error:
            form.add_error(None, str(error))
            refused: HttpResponse = self.render_to_response(self.get_context_data(form=form), status=error.status)
            return refused
        self.request.session.pop(INTERNAL_RESET_SESSION_KEY, None)
        answer = redirect(self.success_url)
        limits.remember_device(self.request, answer, self.reset_user.email)
        return answer
