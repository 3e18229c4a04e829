"""The header of every page, and the tabs of the sections Profile and Organization.

Here because it names pages of every app.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from accounts.notifications.reading import COUNTED_UP_TO
from accounts.roles import Ability
from accounts.signin.last_person import session_has_ended
from accounts.signin.single_sign_on.provider import has_organizations
from core.text import Text


@dataclass(frozen=True)
class Tab:
    """A page of a section. People see its tab if their site role has ``ability``."""

    label: Text
    view_name: str
    ability: Ability | None = None


@dataclass(frozen=True)
class TabGroup:
    """Pages of a section behind one tab. People see it if they see one of its pages; its link leads to the first."""

    label: Text
    tabs: tuple[Tab, ...]


PROFILE_TABS = [
    Tab(_("Profile"), "accounts:profile"),
    Tab(_("Notifications"), "accounts:notification_list"),
    Tab(_("Security"), "accounts:security"),
    Tab(_("Access tokens"), "tokens:token_list"),
    Tab(_("Authentication log"), "auditlog:token_use_list"),
    Tab(_("Activity log"), "auditlog:activity_list"),
]
PROFILE = [TabGroup(tab.label, (tab,)) for tab in PROFILE_TABS]

# Few enough for one line, also on phones. "Organization" in the header leads to the first tab that a person sees.
ORGANIZATION = [
    TabGroup(
        _("People"),
        (
            Tab(_("Users"), "accounts:organization_user_list", Ability.READ_USERS),
            Tab(_("Groups"), "accounts:organization_group_list", Ability.READ_USERS),
            Tab(_("Service accounts"), "accounts:organization_service_account_list", Ability.READ_USERS),
        ),
    ),
    TabGroup(
        _("Tokens"),
        (
            Tab(_("Access tokens"), "tokens:organization_token_list", Ability.READ_TOKENS),
            Tab(_("Approvals"), "tokens:organization_approval_list", Ability.READ_TOKENS),
            Tab(_("Services"), "gateway:organization_service_list", Ability.READ_TOKENS),
            Tab(_("Trust"), "tokens:organization_trust", Ability.MANAGE_ORGANIZATION),
        ),
    ),
    TabGroup(
        _("Logs"),
        (
            Tab(_("Authentication log"), "auditlog:organization_token_use_list", Ability.READ_LOGS),
            Tab(_("Activity log"), "auditlog:organization_activity_list", Ability.READ_LOGS),
        ),
    ),
    TabGroup(
        _("Settings"),
        (
            Tab(_("Policy"), "tokens:organization_policy", Ability.READ_TOKENS),
            Tab(_("Single sign-on"), "accounts:organization_single_sign_on", Ability.MANAGE_ORGANIZATION),
            Tab(_("HTTP steps"), "pipelines:http_steps", Ability.READ_USERS),
            Tab(_("Webhooks"), "accounts:organization_webhook_list", Ability.MANAGE_ORGANIZATION),
            Tab(_("Mail"), "accounts:organization_mail_list", Ability.MANAGE_ORGANIZATION),
        ),
    ),
]
ORGANIZATION_TABS = [tab for group in ORGANIZATION for tab in group.tabs]


def navigation(request: HttpRequest) -> dict[str, Any]:
    """Context processor: what templates/base.html and its header show this person."""
    user = getattr(request, "user", None)
    signed_in = user if isinstance(user, User) else None
    match = request.resolver_match
    return {
        "navigation": {
            "is_member": bool(signed_in and signed_in.organization_id),
            "unread": _unread_of(signed_in),
            "main": partial(main_links, signed_in),
            "profile_tabs": partial(tabs_of, signed_in, PROFILE),
            "organization_tabs": partial(tabs_of, signed_in, ORGANIZATION),
            "admin_url": reverse("admin:index") if signed_in and signed_in.is_staff else None,
            "single_sign_on": settings.OPENID_PROVIDER.name if settings.OPENID_PROVIDER else None,
            "organization_sign_on": has_organizations(),
            "session_has_ended": bool(user and session_has_ended(request)),
            "section": section_of(match.view_name if match else ""),
        }
    }


def _unread_of(user: User | None) -> str:
    """The number beside the bell, which was read together with the person. Empty if there are none."""
    count: int = getattr(user, "unread_notifications", 0)
    return f"{COUNTED_UP_TO}+" if count > COUNTED_UP_TO else str(count or "")


def main_links(user: User | None) -> list[dict[str, Text]]:
    """The links of the header, each with ``label``, ``url`` and ``section``. None outside an organization."""
    if user is None or not user.organization_id:
        return []
    found: list[dict[str, Text]] = [
        {"label": _("Access tokens"), "url": reverse("tokens:token_list"), "section": "tokens"},
        {"label": _("Log"), "url": reverse("auditlog:token_use_list"), "section": "log"},
        {"label": _("Pipelines"), "url": reverse("pipelines:pipeline_list"), "section": "pipelines"},
    ]
    if url := organization_url(user):
        found.append({"label": _("Organization"), "url": url, "section": "organization"})
    return found


def tabs_of(user: User | None, groups: list[TabGroup]) -> list[dict[str, Any]]:
    """The tabs that this person sees, each with ``label``, ``url`` and ``pages``. A group with only one page is named
    like the page. None outside an organization."""
    seen = [(group, list(_seen_by(user, group.tabs))) for group in groups]
    return [_tab_of(group.label if len(tabs) > 1 else tabs[0].label, tabs) for group, tabs in seen if tabs]


def _tab_of(label: Text, tabs: list[Tab]) -> dict[str, Any]:
    pages = [{"label": tab.label, "url": reverse(tab.view_name), "view_name": tab.view_name} for tab in tabs]
    return {"label": label, "url": pages[0]["url"], "pages": pages, "view_names": [tab.view_name for tab in tabs]}


def organization_url(user: User | None) -> str | None:
    """The first of the organization's pages that this person can open."""
    first = next(_seen_by(user, ORGANIZATION_TABS), None)
    return reverse(first.view_name) if first else None


def _seen_by(user: User | None, tabs: Iterable[Tab]) -> Iterator[Tab]:
    if user is not None and user.organization_id:
        yield from (tab for tab in tabs if tab.ability is None or user.may(tab.ability))


def section_of(view_name: str) -> str:
    """The part of the header that is marked as current."""
    namespace, _colon, name = view_name.rpartition(":")
    if view_name in {tab.view_name for tab in ORGANIZATION_TABS} or name.startswith("organization_"):
        return "organization"
    if view_name == "overview":
        return "overview"
    return {"tokens": "tokens", "auditlog": "log", "pipelines": "pipelines"}.get(namespace, "")
