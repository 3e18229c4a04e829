"""The page Security of a person's profile."""

from typing import Any

from django.contrib.auth.mixins import LoginRequiredMixin
from django.views.generic import TemplateView

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
            **kwargs,
        )


def password_changed_at(person: User) -> Any:
    """When the password was last changed, by the person or by a link from a mail to them."""
    changes = Activity.objects.filter(actor=person, action__in=[Action.PASSWORD_CHANGED, Action.PASSWORD_RESET])
    newest = changes.order_by("-at").first()
    return (newest and newest.at) or person.joined_at
