"""Changing one's own password."""

from typing import Any

from allauth.account import views as account
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _

from accounts.forms import ChangePasswordForm, SetFirstPasswordForm
from accounts.privileges import Privilege
from accounts.security import credentials
from accounts.security.decorators import hides_passwords
from accounts.security.reauthentication import RecentSignInMixin
from accounts.signin import limits
from core.http.request_context import person_of


@hides_passwords
class ChangePasswordView(RecentSignInMixin, account.PasswordChangeView):
    """The form asks for the current password. People with two-factor also have to prove that."""

    privilege = Privilege.CHANGE_OWN_PASSWORD

    def needs_proof(self) -> bool:
        return super().needs_proof() and person_of(self.request).has_two_factor

    def get_form_class(self) -> type[ChangePasswordForm]:
        return ChangePasswordForm

    def form_valid(self, form: Any) -> HttpResponse:
        return new_password(self.request, form, _("Your password is changed."))


@hides_passwords
class SetPasswordView(RecentSignInMixin, account.PasswordSetView):
    """For people who sign in without a password."""

    privilege = Privilege.CHANGE_OWN_PASSWORD

    def get_form_class(self) -> type[SetFirstPasswordForm]:
        return SetFirstPasswordForm

    def form_valid(self, form: Any) -> HttpResponse:
        return new_password(self.request, form, _("Your password is set."))


def new_password(request: HttpRequest, form: Any, said: str) -> HttpResponse:
    person, answer = person_of(request), redirect("accounts:security")
    credentials.change_password(
        actor=person,
        password=form.cleaned_data["password1"],
        expire_tokens=form.cleaned_data["expire_tokens"],
        request=request,
    )
    sentences = [said, _("You are signed out everywhere else.")]
    if form.cleaned_data["expire_tokens"]:
        sentences.append(_("Your access tokens are expired."))
    messages.success(request, " ".join(sentences))
    limits.remember_device(request, answer, person.email)
    return answer
