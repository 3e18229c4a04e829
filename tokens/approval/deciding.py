"""Approving, rejecting and withdrawing a request for a token. Pages, API and Django admin call these functions.

The row of the token decides between several at once: each locks it, and finds it waiting or not.
"""

from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy

from accounts.models import User
from accounts.notifications.kinds import APPROVED, REJECTED
from accounts.notifications.telling import name_of
from accounts.privileges import Privilege, require_proof
from accounts.roles import Ability
from accounts.services.guard import allowed
from auditlog.actions import Action
from auditlog.record import record
from core.db.locks import lock_if_exists
from core.errors import DomainError, NotAllowed, errors_of
from core.pages.templatetags.portal import exact
from tokens.approval.mails import tell_maker
from tokens.approval.models import DECISION_REASON_MAX_LENGTH, ApprovalRequest, Decision, RequestState
from tokens.descriptions import clean_description
from tokens.models import Token
from tokens.services import end_tokens

WITHDRAWN = gettext_lazy("The request was withdrawn.")


class OwnRequest(NotAllowed):
    code = "own_request"
    message = gettext_lazy("Somebody else must approve or reject what you requested.")


class AlreadyDecided(DomainError):
    """Says who decided."""

    code = "already_decided"

    def __init__(self, approval: ApprovalRequest) -> None:
        super().__init__(outcome_in_words(approval))


def approve(
    *, actor: User, approval: ApprovalRequest, reason: str = "", request: HttpRequest | None = None
) -> ApprovalRequest:
    """Lets the owner see the token, once, within `tokens.querysets.APPROVED_LAPSES_AFTER`. Its end stays as it is.

    Raises ``NotAllowed``, ``OwnRequest``, ``AlreadyDecided``, or ``ValidationError``.
    """
    require_proof(Privilege.DECIDE_APPROVAL, request)
    reason = _clean(reason)
    with transaction.atomic():
        found, token = _undecided(actor, approval)
        token.waits_until, token.approved_at = None, timezone.now()
        token.save(update_fields=["waits_until", "approved_at"])
        _decide(found, Decision.APPROVED, actor, reason)
        record(actor=actor, action=Action.TOKEN_APPROVED, target=token, request=request, reason=reason)
        tell_maker(found, APPROVED, actor=name_of(actor), reason=reason)
    return found


def reject(
    *, actor: User, approval: ApprovalRequest, reason: str, request: HttpRequest | None = None
) -> ApprovalRequest:
    """Ends the token. Raises what `approve` raises, and ``ValidationError`` without a ``reason``."""
    require_proof(Privilege.DECIDE_APPROVAL, request)
    reason = _clean(reason)
    if not reason:
        raise ValidationError({"reason": gettext("Give a reason: the person who requested the token is told.")})
    with transaction.atomic():
        found, token = _undecided(actor, approval)
        end_tokens([token.pk], action=Action.TOKEN_REJECTED, ended_by=actor, reason=reason, request=request)
        _decide(found, Decision.REJECTED, actor, reason)
        tell_maker(found, REJECTED, actor=name_of(actor), comment=reason)
    return found


def withdraw(*, actor: User, approval: ApprovalRequest, request: HttpRequest | None = None) -> ApprovalRequest:
    """Ends a token that one requested. Raises ``NotAllowed`` or ``AlreadyDecided``."""
    with transaction.atomic():
        found = ApprovalRequest.objects.withdrawable_by(actor).filter(pk=approval.pk).first()
        if found is None:
            raise NotAllowed
        token = _locked(found)
        text = str(WITHDRAWN)
        end_tokens([token.pk], action=Action.TOKEN_REQUEST_WITHDRAWN, ended_by=actor, reason=text, request=request)
        _decide(found, Decision.WITHDRAWN, actor, "")
    return found


def outcome_in_words(approval: ApprovalRequest) -> str:
    """Who decided and when, in one sentence; empty while the request waits."""
    state = approval.state
    if state is RequestState.WAITING:
        return ""
    if state is RequestState.LAPSED:
        return gettext("Nobody decided in time, so this request has lapsed.")
    if state is RequestState.ENDED:
        return gettext("The token has expired early, so this request needs no decision.")
    sentence = {
        RequestState.APPROVED: gettext("%(person)s approved this request on %(time)s."),
        RequestState.REJECTED: gettext("%(person)s rejected this request on %(time)s."),
        RequestState.WITHDRAWN: gettext("%(person)s withdrew this request on %(time)s."),
    }[state]
    by, at = approval.decided_by, approval.decided_at
    return sentence % {"person": f"{by.name} ({by.email})" if by else "", "time": exact(at) if at else ""}


def _undecided(actor: User, approval: ApprovalRequest) -> tuple[ApprovalRequest, Token]:
    person = allowed(actor, Ability.APPROVE_TOKENS)
    found = ApprovalRequest.objects.in_organization(person).filter(pk=approval.pk).first()
    if found is None:
        raise NotAllowed
    if not ApprovalRequest.objects.decidable_by(person).filter(pk=approval.pk).exists():
        raise OwnRequest
    return found, _locked(found)


def _locked(approval: ApprovalRequest) -> Token:
    # Its name, which a rejection frees, is in a unique constraint.
    token = lock_if_exists(Token.objects.waiting(), approval.token_id, blocks_references=True)
    if token is None:
        raise AlreadyDecided(ApprovalRequest.objects.for_approval_page().get(pk=approval.pk))
    return token


def _decide(approval: ApprovalRequest, decision: Decision, actor: User, reason: str) -> None:
    approval.decision, approval.decided_by = decision, actor
    approval.decided_at, approval.decision_reason = timezone.now(), reason
    approval.save(update_fields=["decision", "decided_by", "decided_at", "decision_reason"])


def _clean(raw: str) -> str:
    with errors_of("reason"):
        return clean_description(raw, most=DECISION_REASON_MAX_LENGTH)
