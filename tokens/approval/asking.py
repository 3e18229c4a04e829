"""What happens to a new token that needs approval. `services.issue_token` calls `plan` before it creates the token, and
`ask` after that, in one transaction."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext, gettext_lazy

from accounts.models import Organization, User
from accounts.services_for_tokens import TokenService
from auditlog.actions import Action
from auditlog.record import record
from core.api import scopes
from core.errors import DomainError, errors_of
from tokens.approval.mails import tell_approvers
from tokens.approval.models import ApprovalRequest
from tokens.approval.rules import why_needed
from tokens.descriptions import clean_description
from tokens.models import Token

# How long a request waits for a decision.
LAPSES_AFTER = timedelta(days=7)


class ApprovalNeeded(DomainError):
    code = "approval_needed"
    message = gettext_lazy(
        "A token like this needs approval now, and this one has none. Create a new token instead, and say why you need "
        "it."
    )


@dataclass(frozen=True)
class Plan:
    """``columns``: of the new token. ``reason``: why the person asks for it; empty if nobody has to approve it."""

    columns: dict[str, Any] = field(default_factory=dict)
    reason: str = ""


def plan(
    *,
    policy: Organization,
    owner: User,
    chosen: list[scopes.Scope],
    created_at: datetime,
    expires_at: datetime,
    reason: str,
    service: TokenService | None = None,
    replaces: Token | None = None,
) -> Plan:
    """Whether a new token waits for approval. Ignores the ``reason`` if it doesn't.

    A token that takes the place of an approved one has the same scopes and at most the same lifetime, so it counts as
    approved. Raises ``ApprovalNeeded`` for one that takes the place of a token without approval, and
    ``ValidationError`` if the reason is missing or wrong.
    """
    if replaces is not None and replaces.approved_at is not None:
        return Plan({"approved_at": replaces.approved_at})
    why = why_needed(policy, chosen=chosen, lifetime=expires_at - created_at, owner=owner, service=service)
    if not why:
        return Plan()
    if replaces is not None:
        raise ApprovalNeeded
    with errors_of("approval_reason"):
        cleaned = clean_description(reason)
        if not cleaned:
            raise ValidationError(" ".join([*why, gettext("Say why you need it.")]))
    return Plan({"waits_until": min(created_at + LAPSES_AFTER, expires_at)}, cleaned)


def needs_approval_first(token: Token) -> bool:
    """Whether a token like this one needs approval now, and this one has none. Such a token can't be replaced."""
    return token.approved_at is None and new_one_waits(token)


def new_one_waits(token: Token) -> bool:
    """Whether a new token with the same scopes and the same lifetime would wait for approval now."""
    return bool(
        why_needed(
            token.organization,
            chosen=token.scopes,
            lifetime=token.lifetime,
            owner=token.owner,
            service=token.service,
        )
    )


def ask(plan: Plan, *, actor: User, token: Token, request: HttpRequest | None) -> None:
    """Writes the request for a token that waits, and tells the people who can decide. ``actor`` created the token."""
    if not plan.reason:
        return
    approval = ApprovalRequest.objects.create(
        organization_id=token.organization_id,
        token=token,
        asked_by=actor,
        reason=plan.reason,
    )
    record(actor=actor, action=Action.TOKEN_APPROVAL_REQUESTED, target=token, request=request, reason=plan.reason)
    tell_approvers(approval)
