"""Which new tokens need approval by the policy of their organization. Existing tokens never do."""

from collections.abc import Collection
from datetime import timedelta

from django.utils.translation import gettext, ngettext

from accounts.models import Organization, User
from accounts.services_for_tokens import TokenService
from core.api import scopes
from core.text import grouped
from tokens.lifetimes import longest_lifetime


def why_needed(
    policy: Organization,
    *,
    chosen: Collection[scopes.Scope],
    lifetime: timedelta,
    owner: User,
    service: TokenService | None = None,
) -> list[str]:
    """Why a token like this needs approval, one sentence for each rule; empty if it needs none. ``service``: the one
    that the token is for; ``None`` for the portal."""
    return [
        reason
        for reason, applies in (
            (_about_scopes(_scopes_in(policy, chosen)), bool(_scopes_in(policy, chosen))),
            (_about_lifetime(policy), _is_too_long(policy, lifetime)),
            (_about_service_accounts(), policy.approval_for_service_accounts and owner.is_service_account),
        )
        if applies
    ] + _about_service(service)


def rules_in_words(
    policy: Organization,
    owner: User,
    *,
    among: Collection[scopes.Scope] = scopes.SCOPES,
    service: TokenService | None = None,
) -> list[str]:
    """The rules that can apply to a token of this owner. ``among``: the scopes that it can have. ``service``: as in
    `why_needed`."""
    sensitive = _scopes_in(policy, among)
    found = []
    if sensitive:
        found.append(_about_scopes(sensitive))
    limit = policy.approval_lifetime_days
    if limit is not None and timedelta(days=limit) < longest_lifetime(policy, owner):
        found.append(_about_lifetime(policy))
    if policy.approval_for_service_accounts and owner.is_service_account:
        found.append(_about_service_accounts())
    return found + _about_service(service)


def _scopes_in(policy: Organization, chosen: Collection[scopes.Scope]) -> list[scopes.Scope]:
    sensitive = scopes.parse(policy.approval_scopes)
    return [scope for scope in scopes.SCOPES if scope in sensitive and scope in chosen]


def _is_too_long(policy: Organization, lifetime: timedelta) -> bool:
    limit = policy.approval_lifetime_days
    return limit is not None and lifetime > timedelta(days=limit)


def _about_scopes(found: Collection[scopes.Scope]) -> str:
    labels = ", ".join(str(scope.label) for scope in found)
    return ngettext(
        "Tokens with this scope need approval: %(scopes)s.",
        "Tokens with these scopes need approval: %(scopes)s.",
        len(found),
    ) % {"scopes": labels}


def _about_lifetime(policy: Organization) -> str:
    limit = policy.approval_lifetime_days or 0
    return ngettext(
        "Tokens that live longer than %(count)s day need approval.",
        "Tokens that live longer than %(count)s days need approval.",
        limit,
    ) % {"count": grouped(limit)}


def _about_service_accounts() -> str:
    return gettext("Tokens of service accounts need approval.")


def _about_service(service: TokenService | None) -> list[str]:
    if service is None or not service.needs_approval:
        return []
    return [gettext("Tokens for %(service)s need approval.") % {"service": service.name}]
