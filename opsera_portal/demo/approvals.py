"""Requests for tokens in the demo: one waits, one was rejected."""

from collections.abc import Mapping
from datetime import timedelta

from accounts.models import User
from core.api.scopes import SECURITY_LOGS
from tokens.approval.deciding import reject
from tokens.approval.models import ApprovalRequest
from tokens.lifetimes import now_in_seconds
from tokens.models import Token
from tokens.services import issue_token


def create_approvals(people: Mapping[str, User]) -> None:
    """From now on, tokens that read the organization's logs need approval."""
    organization = people["admin"].own_organization
    organization.approval_scopes = SECURITY_LOGS.id
    organization.save(update_fields=["approval_scopes"])
    rejected = _request(people["user"], "Try the logs", "I want to see what is in there.")
    reason = "You can read your own log without this scope."
    reject(actor=people["security"], approval=ApprovalRequest.objects.get(token=rejected), reason=reason)
    _request(people["power"], "Log archive", "The archive server copies both logs every night. Ticket OPS-214.")


def _request(owner: User, name: str, why: str) -> Token:
    return issue_token(
        actor=owner,
        name=name,
        chosen=[SECURITY_LOGS],
        expires_at=now_in_seconds() + timedelta(days=60),
        approval_reason=why,
    )
