from typing import Any

from allauth.usersessions.models import UserSession
from django.views.generic import TemplateView

from accounts.roles import Ability
from opsera_portal.pages.tabs import PROFILE_TABS
from opsera_portal.pages.views import MemberPageMixin, TabsMixin


class ProfileView(TabsMixin, MemberPageMixin, TemplateView):
    """Who I am here, what my role allows, and where I am signed in."""

    template_name = "accounts/profile.html"
    tabs = PROFILE_TABS
    current_tab = "accounts:profile"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user = self.person
        role = user.role
        return super().get_context_data(
            person=user,
            role={
                "label": user.get_site_role_display(),
                "description": role.summary,
                "may": [ability.value for ability in Ability if ability in role.abilities],
                "may_not": [ability.value for ability in Ability if ability not in role.abilities],
            },
            groups=list(user.member_groups.values_list("name", flat=True)),
            sessions=[
                {
                    "ip": session.ip,
                    "user_agent": session.user_agent,
                    "created_at": session.created_at,
                    "last_seen_at": session.last_seen_at,
                    "is_current": session.session_key == self.request.session.session_key,
                }
                for session in UserSession.objects.purge_and_list(user)
            ],
            **kwargs,
        )
