"""Changing one's own e-mail address."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse_lazy
from django.utils.translation import gettext as _
from django.views.generic import TemplateView
from django.views.generic.edit import FormView

from accounts.forms import ChangeEmailForm
from accounts.privileges import Privilege
from accounts.security import email_change
from accounts.security.reauthentication import RecentSignInMixin
from accounts.signin import limits
from core.http.request_context import person_of
from core.pages.errors import too_many_requests
from core.pages.forms import refusals_as_messages


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
            explanation = _("You have requested too many links in a short time. Try again later.")
            return too_many_requests(self.request, explanation, retry_after=wait)
        email_change.ask_email_change(actor=person, email=email, request=self.request)
        said = _("We sent a link to %(email)s. Open it within a day, in a browser in which you are signed in.")
        messages.success(self.request, said % {"email": email})
        return super().form_valid(form)


class ConfirmEmailView(LoginRequiredMixin, TemplateView):
    """The page that the link in the mail opens. The address changes when the person presses the button."""

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
            with refusals_as_messages(request):
                person = email_change.confirm_email_change(actor=person_of(request), key=key, request=request)
                said = _("From now on you sign in with %(email)s. You are signed out everywhere else.")
                messages.success(request, said % {"email": person.email})
                limits.remember_device(request, answer, person.email)
        except email_change.LinkEnded:
            return self.render_to_response(self.get_context_data(address=None), status=404)
        return answer
