"""The pages of signing in and of what keeps an account safe: allauth's, with the portal's services behind them.

Whoever is signed in has them, operators too.
"""

from typing import Any

from allauth.account import views as account
from allauth.account.adapter import get_adapter
from allauth.account.views._password_reset import INTERNAL_RESET_SESSION_KEY
from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse_lazy
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.generic import FormView, TemplateView, View

from accounts import services
from accounts.forms import (
    AskPasswordResetForm,
    ChangeEmailForm,
    ChangePasswordForm,
    ExpiryMailsForm,
    ResetPasswordForm,
    SetFirstPasswordForm,
    SignOutEverywhereForm,
)
from accounts.models import User
from accounts.privileges import Privilege
from accounts.security import credentials, email_change, sessions
from accounts.security.reauthentication import CountedAnswersMixin, RecentSignInMixin
from accounts.signin import limits
from auditlog.actions import Action
from auditlog.models import Activity
from core.http.request_context import person_of
from core.pages.errors import too_many_requests
from core.pages.tabs import PROFILE_TABS
from core.pages.views import TabsMixin

never_cached = method_decorator(never_cache, name="dispatch")
hides_passwords = method_decorator(
    sensitive_post_parameters("oldpassword", "password", "password1", "password2"), name="dispatch"
)


class SecurityView(LoginRequiredMixin, TabsMixin, TemplateView):
    """What keeps my account safe, and the way to change each of it."""

    template_name = "accounts/security.html"
    tabs = PROFILE_TABS
    current_tab = "accounts:security"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        person = person_of(self.request)
        context = super().get_context_data(
            person=person,
            password_changed_at=password_changed_at(person) if person.has_usable_password() else None,
            waiting_address=email_change.waiting_address(person),
            session_count=sessions.live_sessions(person).count(),
            expiry_mails_form=ExpiryMailsForm(initial={"wants_expiry_mails": person.wants_expiry_mails}),
            **kwargs,
        )
        # The other pages are those of an organization's people.
        return context if person.organization_id else {**context, "tabs": []}


def password_changed_at(person: User) -> Any:
    """When the person, or somebody by a link from a mail to them, last chose the password."""
    changes = Activity.objects.filter(actor=person, action__in=[Action.PASSWORD_CHANGED, Action.PASSWORD_RESET])
    return changes.order_by("-at").values_list("at", flat=True).first() or person.joined_at


class ExpiryMailsView(LoginRequiredMixin, View):
    """Switches the mails about ending tokens on or off."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponseBase:
        form = ExpiryMailsForm(request.POST)
        form.full_clean()
        wanted = form.cleaned_data["wants_expiry_mails"]
        services.set_expiry_mails(actor=person_of(request), wanted=wanted, request=request)
        messages.success(request, f"You get {'' if wanted else 'no '}mails about tokens that end.")
        return redirect("accounts:security")


# Passwords


@hides_passwords
class ChangePasswordView(RecentSignInMixin, account.PasswordChangeView):
    """The form asks for the present password. Someone with two-factor has to prove that as well."""

    privilege = Privilege.CHANGE_OWN_PASSWORD

    def needs_proof(self) -> bool:
        return super().needs_proof() and person_of(self.request).has_two_factor

    def get_form_class(self) -> type[ChangePasswordForm]:
        return ChangePasswordForm

    def form_valid(self, form: Any) -> HttpResponse:
        return new_password(self.request, form, "Your password is changed.")


@hides_passwords
class SetPasswordView(RecentSignInMixin, account.PasswordSetView):
    """For someone who signs in without a password."""

    privilege = Privilege.CHANGE_OWN_PASSWORD

    def get_form_class(self) -> type[SetFirstPasswordForm]:
        return SetFirstPasswordForm

    def form_valid(self, form: Any) -> HttpResponse:
        return new_password(self.request, form, "Your password is set.")


def new_password(request: HttpRequest, form: Any, said: str) -> HttpResponse:
    person, answer = person_of(request), redirect("accounts:security")
    credentials.change_password(
        actor=person,
        password=form.cleaned_data["password1"],
        expire_tokens=form.cleaned_data["expire_tokens"],
        request=request,
    )
    tokens = " Your access tokens are expired." if form.cleaned_data["expire_tokens"] else ""
    messages.success(request, f"{said} You are signed out everywhere else.{tokens}")
    limits.remember_device(request, answer, person.email)
    return answer


@never_cached
class AskPasswordResetView(FormView[AskPasswordResetForm]):
    """Says the same, after the same work, whether or not somebody has the address."""

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
    """Where the link in the mail leads. allauth takes the link's secret out of the address before it shows a form."""

    def get_form_class(self) -> type[ResetPasswordForm]:
        return ResetPasswordForm

    def logout(self) -> None:
        """Opening a link signs nobody out, whoever is signed in here."""

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
        self.request.session.pop(INTERNAL_RESET_SESSION_KEY, None)
        answer = redirect(self.success_url)
        limits.remember_device(self.request, answer, self.reset_user.email)
        return answer


@never_cached
class ReauthenticateView(CountedAnswersMixin, account.ReauthenticateView):
    """Asks once more who is there. Who has no password and no second factor signs in with their provider again."""

    def _check_reauthentication_method_available(self, request: HttpRequest) -> HttpResponseBase | None:
        answer: HttpResponseBase | None
        if get_adapter().get_reauthentication_methods(request.user):
            answer = super()._check_reauthentication_method_available(request)
        else:
            answer = self.render_to_response(self.get_context_data(form=None))
        return answer


# The e-mail address


class ChangeEmailView(RecentSignInMixin, FormView[ChangeEmailForm]):
    privilege = Privilege.CHANGE_OWN_EMAIL
    template_name = "account/email_change.html"
    form_class = ChangeEmailForm
    success_url = reverse_lazy("accounts:security")

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), "person": person_of(self.request)}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        person = person_of(self.request)
        return super().get_context_data(waiting_address=email_change.waiting_address(person), **kwargs)

    def form_valid(self, form: ChangeEmailForm) -> HttpResponse:
        person, email = person_of(self.request), form.cleaned_data["email"]
        wait = email_change.ASKED.take(str(person.pk))
        if wait is not None:
            explanation = "You have asked for too many links in a short time. Try again later."
            return too_many_requests(self.request, explanation, retry_after=wait)
        email_change.ask_email_change(actor=person, email=email, request=self.request)
        messages.success(
            self.request, f"A link was sent to {email}. Open it within a day, in a browser in which you are signed in."
        )
        return super().form_valid(form)


class ConfirmEmailView(LoginRequiredMixin, TemplateView):
    """Where the link in the mail leads. Opening it changes nothing; its button does."""

    template_name = "account/email_confirm.html"

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            address = email_change.address_of_link(person_of(request), kwargs["key"])
        except email_change.LinkEnded:
            return self.render_to_response(self.get_context_data(address=None, **kwargs), status=404)
        return self.render_to_response(self.get_context_data(address=address, **kwargs))

    def post(self, request: HttpRequest, key: str) -> HttpResponseBase:
        answer = redirect("accounts:security")
        try:
            person = email_change.confirm_email_change(actor=person_of(request), key=key, request=request)
        except email_change.LinkEnded:
            return self.render_to_response(self.get_context_data(address=None), status=404)
        except email_change.AddressTaken:
            messages.error(request, "This address cannot be used: somebody else signs in with it.")
        else:
            said = f"You sign in with {person.email} from now on. You are signed out everywhere else."
            messages.success(request, said)
            limits.remember_device(request, answer, person.email)
        return answer


# Sessions


class SessionListView(LoginRequiredMixin, TemplateView):
    """Where I am signed in, and the ways to end that."""

    template_name = "usersessions/usersession_list.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        live = sessions.live_sessions(person_of(self.request))
        rows = [sessions.as_row(session, self.request) for session in live]
        return super().get_context_data(sessions=rows, form=SignOutEverywhereForm(), **kwargs)


class SessionEndView(RecentSignInMixin):
    privilege = Privilege.END_SESSION
    return_to = "usersessions_list"
    http_method_names = ["post"]

    def post(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        person = person_of(request)
        session: UserSession = get_object_or_404(sessions.live_sessions(person), pk=pk)
        sessions.end_session(actor=person, session=session, request=request)
        messages.success(request, f"{sessions.browser_in_words(session.user_agent)} at {session.ip} is signed out.")
        return redirect("usersessions_list")


class SignOutEverywhereView(RecentSignInMixin):
    privilege = Privilege.END_ALL_SESSIONS
    return_to = "usersessions_list"
    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponseBase:
        form = SignOutEverywhereForm(request.POST)
        form.full_clean()
        ended = credentials.sign_out_everywhere(actor=person_of(request), request=request, **form.cleaned_data)
        where = "everywhere" if form.cleaned_data["including_here"] else "everywhere else"
        tokens = f" Access tokens that are expired with it: {ended['tokens']}." if ended["tokens"] else ""
        messages.success(request, f"You are signed out {where}.{tokens}")
        return redirect("account_login" if form.cleaned_data["including_here"] else "usersessions_list")
