"""A person's own profile page, and the language and the time zone of what they read."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import get_language_from_request, gettext
from django.views.generic import FormView, TemplateView

from accounts import services
from accounts.forms import NotificationPreferencesForm, PreferencesForm
from accounts.roles import Ability
from accounts.security import sessions
from core.http.request_context import person_of
from core.pages.views import MemberPageMixin, SectionMixin
from core.reading import reading_as


class ProfileView(SectionMixin, MemberPageMixin, TemplateView):
    """My name and role, what my role allows, and where I am signed in."""

    template_name = "accounts/profile.html"
    section = "profile"
    current_tab = "accounts:profile"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user = self.person
        role = user.role
        return super().get_context_data(
            person=user,
            role={
                "label": user.get_site_role_display(),
                "description": gettext(role.summary),
                "can": [gettext(ability.value) for ability in Ability if ability in role.abilities],
                "cannot": [gettext(ability.value) for ability in Ability if ability not in role.abilities],
            },
            language=dict(settings.LANGUAGES).get(user.language, gettext("As in the browser")),
            groups=list(user.member_groups.values_list("name", flat=True)),
            sessions=[sessions.as_row(session, self.request) for session in sessions.live_sessions(user)],
            **kwargs,
        )


class PreferencesView(LoginRequiredMixin, SectionMixin, FormView[PreferencesForm]):
    """The language and the time zone of pages and mails, and for members where they are told what."""

    template_name = "accounts/preferences.html"
    form_class = PreferencesForm
    section = "profile"

    @property
    def current_tab(self) -> str:  # type: ignore[override]
        """The tab from which people come: the page of notifications links to its part of this page."""
        return "accounts:notification_list" if "notifications" in self.request.GET else "accounts:profile"

    def get_initial(self) -> dict[str, Any]:
        person = person_of(self.request)
        return {"language": person.language, "time_zone": person.time_zone or "UTC"}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        person = person_of(self.request)
        notification_form = kwargs.pop("notification_form", None) or NotificationPreferencesForm(person=person)
        return super().get_context_data(
            notification_form=notification_form if person.organization_id else None, **kwargs
        )

    def form_invalid(self, form: PreferencesForm) -> HttpResponse:
        return self.render_to_response(self.get_context_data(form=form), status=400)

    def form_valid(self, form: PreferencesForm) -> HttpResponse:
        person = services.set_preferences(actor=person_of(self.request), request=self.request, **form.cleaned_data)
        with reading_as(person.language or get_language_from_request(self.request), person.time_zone):
            messages.success(self.request, gettext("Your language and your time zone were saved."))
        return redirect("accounts:preferences")


class NotificationPreferencesView(MemberPageMixin, PreferencesView):
    """Saves where the person is told what."""

    http_method_names = ["post"]
    current_tab = "accounts:notification_list"

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        form = NotificationPreferencesForm(request.POST, person=self.person)
        if not form.is_valid():
            unsaved = PreferencesForm(initial=self.get_initial())
            context = self.get_context_data(form=unsaved, notification_form=form)
            return self.render_to_response(context, status=400)
        services.set_preferences(actor=self.person, request=request, notifications=form.cleaned_data)
        messages.success(request, gettext("Your choices for notifications were saved."))
        return redirect(f"{reverse('accounts:preferences')}?notifications=#notifications")
