"""Formats the details of an activity entry as text. They are JSON, and each action has its own structure."""

from typing import Any, NamedTuple

from django.conf import settings
from django.contrib.auth import get_user_model
from django.utils.translation import gettext, gettext_lazy, pgettext_lazy

from auditlog.actions import Action
from core.text import Text

CHANGE = ("from", "to")

# For each value that a detail can have, its label.
Words = dict[str, Any]

# Details whose values are site roles, and actions that record an old and a new role without a name.
_ROLES = frozenset({"site_role", "site_roles", "two_factor_roles", "sign_in_network_roles"})
_CHANGES_OF_ROLE = frozenset({Action.USER_ROLE_CHANGED, Action.SERVICE_ACCOUNT_CHANGED})

# What services record. Without a label here, a name is shown as it is.
_LABELS: dict[str, Text] = {
    "added": pgettext_lazy("activity detail", "Added"),
    "address": gettext_lazy("Address"),
    "allowed_scopes": gettext_lazy("Allowed scopes"),
    "allows_sessions": gettext_lazy("Opens in the browser"),
    "answer_days": gettext_lazy("Days to answer"),
    "approval_for_service_accounts": gettext_lazy("Approval for service accounts"),
    "approval_lifetime_days": gettext_lazy("Approval lifetime days"),
    "approval_scopes": gettext_lazy("Approval scopes"),
    "browser": gettext_lazy("Browser"),
    "by": pgettext_lazy("activity detail", "By"),
    "campaign": gettext_lazy("Review campaign"),
    "change": pgettext_lazy("activity detail", "Change"),
    "changes": gettext_lazy("Changes"),
    "check_by": gettext_lazy("How it checks tokens"),
    "claims": gettext_lazy("Claims"),
    "client_secret": gettext_lazy("Client secret"),
    "confirmed": pgettext_lazy("activity detail", "Confirmed"),
    "count": pgettext_lazy("activity detail", "Count"),
    "copy": pgettext_lazy("activity detail", "Copy"),
    "copy_of": gettext_lazy("Copy of"),
    "created_at": gettext_lazy("Created"),
    "description": gettext_lazy("Description"),
    "details": gettext_lazy("Details"),
    "digest": gettext_lazy("SHA-256 of the record"),
    "due_at": gettext_lazy("Answers until"),
    "ended": pgettext_lazy("activity detail", "Ended otherwise"),
    "events": gettext_lazy("Events"),
    "expired": pgettext_lazy("activity detail", "Expired by answer"),
    "expires_at": gettext_lazy("Expires at"),
    "fields": gettext_lazy("Fields"),
    "found_at": gettext_lazy("Found at"),
    "from": pgettext_lazy("activity detail", "From"),
    "gate": gettext_lazy("Gate"),
    "groups": gettext_lazy("Groups"),
    "groups_added": gettext_lazy("Groups added"),
    "groups_removed": gettext_lazy("Groups removed"),
    "id": gettext_lazy("ID"),
    "issuer": gettext_lazy("Issuer"),
    "kind": pgettext_lazy("activity detail", "Kind"),
    "kinds": pgettext_lazy("activity detail", "Kinds"),
    "language": gettext_lazy("Language"),
    "lapsed": pgettext_lazy("activity detail", "Expired without an answer"),
    "log_retention_days": gettext_lazy("Log retention days"),
    "max_live_tokens": gettext_lazy("Max live tokens"),
    "max_service_token_lifetime_days": gettext_lazy("Max lifetime days of service accounts' tokens"),
    "max_replacement_overlap_hours": gettext_lazy("Max replacement overlap hours"),
    "max_uses": gettext_lazy("Uses at most"),
    "max_token_lifetime_days": gettext_lazy("Max token lifetime days"),
    "members": gettext_lazy("Members"),
    "message": pgettext_lazy("activity detail", "Message"),
    "method": gettext_lazy("Method"),
    "methods": gettext_lazy("Methods"),
    "name": gettext_lazy("Name"),
    "needs_approval": gettext_lazy("New tokens need approval"),
    "networks": gettext_lazy("Networks"),
    "not_before": gettext_lazy("Works from"),
    "note": pgettext_lazy("activity detail", "Note"),
    "notifications": gettext_lazy("Notifications"),
    "notified_people": gettext_lazy("Notified people"),
    "orphaned_service_tokens_end_after_days": gettext_lazy("Orphaned service accounts' tokens end after days"),
    "owner": gettext_lazy("Owner"),
    "passkey": gettext_lazy("Passkey"),
    "path_rules": gettext_lazy("Path rules"),
    "pipelines": gettext_lazy("Pipelines"),
    "reason": gettext_lazy("Reason"),
    "removed": pgettext_lazy("activity detail", "Removed"),
    "repeat_months": gettext_lazy("Months between two campaigns"),
    "replaced_by": gettext_lazy("Replaced by"),
    "replaces": gettext_lazy("Replaces"),
    "reported": gettext_lazy("Reported token"),
    "reused": gettext_lazy("Reused token"),
    "responsible": gettext_lazy("Responsible"),
    "rule": gettext_lazy("Rule"),
    "run_number": gettext_lazy("Run number"),
    "runs": pgettext_lazy("activity detail", "Runs"),
    "scope": gettext_lazy("Scope"),
    "scopes": gettext_lazy("Scopes"),
    "secrets_copied": gettext_lazy("Secrets copied"),
    "service": gettext_lazy("Service"),
    "service_token_creators": gettext_lazy("Who creates service accounts' tokens"),
    "sessions": gettext_lazy("Sessions"),
    "short_name": gettext_lazy("Short name"),
    "sign_in_network_roles": gettext_lazy("Sign in network roles"),
    "sign_in_networks": gettext_lazy("Sign in networks"),
    "site_role": gettext_lazy("Site role"),
    "site_roles": gettext_lazy("Site roles"),
    "starts_at": gettext_lazy("Starts at"),
    "state": gettext_lazy("State"),
    "step": gettext_lazy("Step"),
    "subject": gettext_lazy("Subject"),
    "taken_back": gettext_lazy("Taken back"),
    "time_zone": gettext_lazy("Time zone"),
    "to": pgettext_lazy("activity detail", "To"),
    "token_networks": gettext_lazy("Token networks"),
    "tokens": gettext_lazy("Tokens"),
    "total": pgettext_lazy("activity detail", "Total"),
    "two_factor_roles": gettext_lazy("Two factor roles"),
    "unanswered": pgettext_lazy("activity detail", "Not answered"),
    "unused_tokens_end_after_days": gettext_lazy("Unused tokens end after days"),
    "url": "URL",
    "waiting": pgettext_lazy("activity detail", "Waiting"),
    "wants_expiry_mails": gettext_lazy("Wants expiry mails"),
    "with_token": gettext_lazy("With token"),
    "works_until": gettext_lazy("Works until"),
}


class Detail(NamedTuple):
    """The value is ``text``, or ``lines`` if it needs several."""

    label: str
    text: str
    lines: list[str]


def in_words(details: Any, action: str = "") -> list[Detail]:
    """All details that are not empty, in their order. They are an object, unless someone changed the stored entry."""
    if not isinstance(details, dict):
        return [] if _is_empty(details) else [_detail("details", details, {})]
    return [_detail(name, value, _words_for(name, action)) for name, value in details.items() if not _is_empty(value)]


def _detail(name: str, value: Any, words: Words) -> Detail:
    if isinstance(value, dict):
        # A change shows both values, the old one first, even if one of them is empty.
        parts = [(side, value[side]) for side in CHANGE] if value.keys() == set(CHANGE) else _filled(value)
        lines = [
            f"{_label(key)}: {gettext('nothing') if _is_empty(part) else _text(part, words)}" for key, part in parts
        ]
        return Detail(_label(name), "", lines)
    if isinstance(value, list) and any(isinstance(part, dict | list) for part in value):
        return Detail(_label(name), "", [_text(part, words) for part in value if not _is_empty(part)])
    return Detail(_label(name), _text(value, words), [])


def _words_for(name: str, action: str) -> Words:
    """The labels of the values that the detail can have; empty if they are shown as they are."""
    if name in _ROLES or (name in CHANGE and action in _CHANGES_OF_ROLE):
        return dict(get_user_model()._meta.get_field("site_role").flatchoices)
    return dict(settings.LANGUAGES) if name == "language" else {}


def _text(value: Any, words: Words) -> str:
    if isinstance(value, bool):
        return gettext("Yes") if value else gettext("No")
    if isinstance(value, list):
        return ", ".join(_text(part, words) for part in value if not _is_empty(part))
    if isinstance(value, dict):
        return ", ".join(f"{_label(key)}: {_text(part, words)}" for key, part in _filled(value))
    if words and isinstance(value, str):
        # Several roles are stored in one string, with spaces between them.
        return ", ".join(str(words.get(word, word)) for word in value.split())
    return str(value)


def _filled(value: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(key, part) for key, part in value.items() if not _is_empty(part)]


def _label(name: str) -> str:
    if name in _LABELS:
        return str(_LABELS[name])
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", [], {})
