"""A person's own profile page."""

from typing import Any

from django.views.generic import TemplateView

from accounts.roles import Ability
from accounts.security import sessions
from core.pages.views import MemberPageMixin, SectionMixin


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
                "description": role.summary,
                "can": [ability.value for ability in Ability if ability in role.abilities],
                "cannot": [ability.value for ability in Ability if ability not in role.abilities],
            },
            groups=list(user.member_groups.values_list("name", flat=True)),
            sessions=[sessions.as_row(session, self.request) for session in sessions.live_sessions(user)],
            **kwargs,
        )
