"""Replacing a token: a new one gets its name, scopes and limits, and the old one works on for a while.

So scripts can change to the new token one after the other. At most two tokens of such a family work at the same time:
replacing the new one ends the old one.
"""

import uuid
from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy, ngettext
from django.views.decorators.debug import sensitive_variables

from accounts.models import Organization, User
from accounts.privileges import Privilege, require_proof
from auditlog.actions import Action
from auditlog.record import record
from core.db.locks import lock_if_exists
from core.errors import DomainError, NotAllowed, errors_of
from core.http.request_context import person_of
from tokens.approval.asking import needs_approval_first
from tokens.keys.ring import signing_lock
from tokens.lifetimes import now_in_seconds, same_lifetime
from tokens.models import Token
from tokens.pipeline_choice import pipelines_seen_by
from tokens.services import AlreadyEnded, end_tokens, issue_token, locked_policy, longest_lifetime, reveal_token

MOST_OVERLAP_HOURS = 7 * 24
DEFAULT_OVERLAP_HOURS = 24
REPLACED = gettext_lazy("Replaced by a new token.")
REPLACED_AGAIN = gettext_lazy("The token that replaced it was replaced too.")


class AlreadyReplaced(DomainError):
    code = "already_replaced"
    message = gettext_lazy("This token was replaced before. Replace the new one.")


class NeverShown(DomainError):
    code = "not_revealed"
    message = gettext_lazy("This token was not shown yet, so no script uses it. Show it or expire it instead.")


class LimitedUses(DomainError):
    code = "limited_uses"
    message = gettext_lazy("This token can be used only a number of times. Create a new token instead.")


def can_be_replaced(token: Token) -> bool:
    """Whether its owner can replace it: it has not ended, was shown, was not replaced before, and its uses are not
    counted: two tokens could be used more often than one. A token like it must not need approval, unless this one was
    approved."""
    if token.max_uses is not None or needs_approval_first(token):
        return False
    return token.revealed_at is not None and token.replaced_at is None and not token.has_ended


def replace_token(
    *, actor: User, token: Token, overlap_hours: int = DEFAULT_OVERLAP_HOURS, request: HttpRequest | None = None
) -> Token:
    """Creates a token in the place of one of the actor's own; `services.reveal_token` shows it.

    The new one lives as long as the old one was to live, or as long as the policy allows. The old one ends
    ``overlap_hours`` from now, or before if it would have ended before; with 0, it ends immediately. Raises what
    `services.issue_token` raises, ``ApprovalNeeded``, ``AlreadyEnded``, ``AlreadyReplaced``, ``NeverShown`` or
    ``LimitedUses``, and ``ValidationError`` for a number of hours that is out of range. If two requests come at once,
    one replaces the token.
    """
    require_proof(Privilege.REPLACE_TOKEN, request)
    _check_overlap(overlap_hours)
    with transaction.atomic():
        policy = locked_policy(actor)
        old = _locked(actor, token)
        wanted_end, pipelines = _end_of_new(old, policy), _pipelines(actor, old)
        _end_predecessor(old, actor, request)
        _give_way(old, overlap_hours)
        new = issue_token(
            actor=actor,
            name=old.name,
            description=old.description,
            chosen=old.scopes,
            expires_at=wanted_end,
            pipelines=pipelines,
            networks=old.networks.split(),
            replaces=old,
            request=request,
        )
        old.replaced_by = new
        old.save(update_fields=["replaced_by"])
        works_until = old.expires_at.isoformat() if overlap_hours else ""
        record(
            actor=actor,
            action=Action.TOKEN_REPLACED,
            target=old,
            request=request,
            replaced_by=str(new.pk),
            works_until=works_until,
        )
        if not overlap_hours:
            end_tokens([old.pk], action=Action.TOKEN_REVOKED, ended_by=actor, reason=str(REPLACED), request=request)
    return new


@sensitive_variables()
def replace_and_reveal_token(*, token: Token, overlap_hours: int, request: HttpRequest) -> tuple[Token, str]:
    """Both in one transaction, for an answer that shows the new token. Raises what `replace_token` raises."""
    actor = person_of(request)
    with signing_lock(), transaction.atomic():
        new = replace_token(actor=actor, token=token, overlap_hours=overlap_hours, request=request)
        return reveal_token(actor=actor, token=new, request=request)


def end_of_replacement(token: Token) -> datetime:
    """When a token that replaces this one now would end."""
    return _end_of_new(token, token.organization)


def _check_overlap(hours: int) -> None:
    if not 0 <= hours <= MOST_OVERLAP_HOURS:
        raise ValidationError(
            {
                "overlap_hours": ngettext(
                    "Choose 0 to %(count)s hour.", "Choose 0 to %(count)s hours.", MOST_OVERLAP_HOURS
                )
                % {"count": MOST_OVERLAP_HOURS}
            }
        )


def _locked(actor: User, token: Token) -> Token:
    # Its name is in a unique constraint.
    old = lock_if_exists(Token.objects.owned_by(actor), token.pk, blocks_references=True)
    if old is None:
        raise NotAllowed
    if old.has_ended:
        raise AlreadyEnded
    if old.replaced_at is not None:
        raise AlreadyReplaced
    if old.revealed_at is None:
        raise NeverShown
    if old.max_uses is not None:
        raise LimitedUses
    return old


def _end_of_new(old: Token, policy: Organization) -> datetime:
    longest = longest_lifetime(policy)
    return same_lifetime(old.created_at, old.expires_at, start=now_in_seconds(), longest=longest)


def _pipelines(actor: User, old: Token) -> list[uuid.UUID] | None:
    """Those that the new token reaches: the chosen ones that still exist and that the actor can see."""
    if not old.is_limited:
        return None
    pipelines = [pipeline.id for pipeline in pipelines_seen_by(actor, old)]
    with errors_of("pipelines"):
        if not pipelines:
            raise ValidationError(gettext("The token reaches no pipeline any more. Create a new token instead."))
    return pipelines


def _end_predecessor(old: Token, actor: User, request: HttpRequest | None) -> None:
    ids = list(Token.objects.filter(replaced_by=old).live().values_list("pk", flat=True))
    if ids:
        end_tokens(ids, action=Action.TOKEN_REVOKED, ended_by=actor, reason=str(REPLACED_AGAIN), request=request)


def _give_way(old: Token, overlap_hours: int) -> None:
    """Leaves its name to the new token, and ends when the overlap ends."""
    old.replaced_at = timezone.now()
    old.live_name_key = None
    if overlap_hours:
        old.expires_at = min(old.expires_at, now_in_seconds() + timedelta(hours=overlap_hours))
    old.save(update_fields=["replaced_at", "live_name_key", "expires_at"])
