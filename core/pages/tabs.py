"""The tabs of the Profile and Organization pages. They name views by URL name, because core imports no app."""

from typing import Any

from core.pages.views import Tab


def _reads_users(user: Any) -> bool:
    return bool(user.may_read_organization_users)


def _reads_tokens(user: Any) -> bool:
    return bool(user.may_read_organization_tokens)


def _manages(user: Any) -> bool:
    return bool(user.may_manage_organization)


def _reads_logs(user: Any) -> bool:
    return bool(user.may_read_organization_logs)


PROFILE_TABS = [
    Tab("Profile", "accounts:profile"),
    Tab("Security", "accounts:security"),
    Tab("Access tokens", "tokens:token_list"),
    Tab("Authentication log", "auditlog:token_use_list"),
    Tab("Activity log", "auditlog:activity_list"),
]

ORGANIZATION_TABS = [
    Tab("Users", "accounts:organization_user_list", _reads_users),
    Tab("Groups", "accounts:organization_group_list", _reads_users),
    Tab("Access tokens", "tokens:organization_token_list", _reads_tokens),
    Tab("Authentication log", "auditlog:organization_token_use_list", _reads_logs),
    Tab("Activity log", "auditlog:organization_activity_list", _reads_logs),
    Tab("Policy", "tokens:organization_policy", _reads_tokens),
    Tab("HTTP steps", "pipelines:http_steps", _reads_users),
    Tab("Mail", "accounts:organization_mail_list", _manages),
]
