from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from accounts.models import User
from accounts.roles import Ability
from accounts.signin.last_person import session_has_ended


def navigation(request: HttpRequest) -> dict[str, Any]:
    """What the header shows this person, for templates/base.html."""
    user = getattr(request, "user", None)
    match = request.resolver_match
    return {
        "navigation": {
            "is_member": bool(user and user.is_authenticated and user.organization_id),
            "organization_url": organization_url(user) if isinstance(user, User) else None,
            "admin_url": reverse("admin:index") if user and user.is_authenticated and user.is_staff else None,
            "single_sign_on": settings.OPENID_PROVIDER.name if settings.OPENID_PROVIDER else None,
            "session_has_ended": bool(user and session_has_ended(request)),
            "section": section_of(match.view_name if match else ""),
        }
    }


def organization_url(user: User) -> str | None:
    """The first of the organization's pages that this person can open."""
    if user.may(Ability.READ_USERS):
        return reverse("accounts:organization_user_list")
    if user.may(Ability.READ_TOKENS):
        return reverse("tokens:organization_token_list")
    if user.may(Ability.READ_LOGS):
        return reverse("auditlog:organization_token_use_list")
    return None


def section_of(view_name: str) -> str:
    namespace, _, name = view_name.rpartition(":")
    if name.startswith("organization_") or view_name == "pipelines:http_steps":
        return "organization"
    if namespace == "pipelines":
        return "pipelines"
    if namespace in {"accounts", "tokens", "auditlog"}:
        return "profile"
    return "overview" if view_name == "overview" else ""
