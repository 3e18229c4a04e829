"""The page Security of a person's profile."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.generic import TemplateView, View

from accounts import services
from accounts.forms import ExpiryMailsForm
from accounts.models import User
from accounts.security import email_change, sessions
from auditlog.actions import Action
from auditlog.models import Activity
from core.http.request_context import person_of
from core.pages.views import SectionMixin


class SecurityView(LoginRequiredMixin, SectionMixin, TemplateView):
    """Password, address, two-factor, sessions and mails, with links to change each."""

    template_name = "accounts/security.html"
    section = "profile"
    current_tab = "accounts:security"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        person = person_of(self.request)
        return super().get_context_data(
            person=person,
            password_changed_at=password_changed_at(person) if person.has_usable_password() else None,
            waiting_address=email_change.waiting_address(person),
            session_count=sessions.live_sessions(person).count(),
            expiry_mails_form=ExpiryMailsForm(initial={"wants_expiry_mails": person.wants_expiry_mails}),
            **kwargs,
        )


def password_changed_at(person: User) -> Any:
    """When the password was last changed, by the person or by a link from a mail to them."""
    changes = Activity.objects.filter(actor=person, action__in=[Action.PASSWORD_CHANGED, Action.PASSWORD_RESET])
    newest = changes.order_by("-at").first()
    return (newest and newest.at) or person.joined_at


class ExpiryMailsView(LoginRequiredMixin, View):
    """Switches the mails about expiring tokens on or off."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponseBase:
        form = ExpiryMailsForm(request.POST)
        form.full_clean()
        wanted = form.cleaned_data["wants_expiry_mails"]
        services.set_preferences(actor=person_of(request), request=request, wants_expiry_mails=wanted)
        said = (
            _("You get mails about tokens that expire.") if wanted else _("You get no mails about tokens that expire.")
        )
        messages.success(request, said)
        return redirect("accounts:security")
