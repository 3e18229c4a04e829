"""Replacing a token: a new one gets its name, scopes and limits, and the old one works on for a while.

So scripts can change to the new token one after the other. At most two tokens of such a family work at the same time:
replacing the new one ends the old one.

Its owner replaces a token, or a token with the scope `tokens:rotate` rotates: it replaces itself. If a token that was
replaced tries to rotate, two parties have it, and nobody knows which of them is the owner's script. So the portal ends
the whole family, as RFC 9700 section 4.14.2 describes it for refresh tokens.
"""

import uuid
from collections.abc import Collection
from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy, ngettext
from django.views.decorators.debug import sensitive_variables

from accounts.models import MOST_OVERLAP_HOURS, Organization, User
from accounts.notifications.kinds import REPLACED_TOKEN_REUSED
from accounts.privileges import Privilege, require_proof
from auditlog.actions import Action
from auditlog.record import record
from core.api import scopes
from core.db.locks import lock, lock_all, lock_if_exists
from core.errors import DomainError, NotAllowed, errors_of
from core.http.request_context import person_of
from core.text import Text, grouped
from tokens.approval.asking import needs_approval_first
from tokens.keys.ring import signing_lock
from tokens.lifetimes import longest_lifetime, now_in_seconds, same_lifetime
from tokens.mails import reuse_mail, tell_owners, tell_replaced
from tokens.models import Token
from tokens.pipeline_choice import pipelines_seen_by
from tokens.review.models import ReviewItem
from tokens.services import (
    AlreadyEnded,
    end_tokens,
    issue_successor,
    locked_policy,
    managed_account,
    require_proof_to_replace,
    reveal_token,
)

DEFAULT_OVERLAP_HOURS = 24
# The script that rotates has the new token a moment later, so nothing needs the old one, and a copy that leaked ends.
ROTATION_OVERLAP_HOURS = 0
REPLACED = gettext_lazy("Replaced by a new token.")
ROTATED = gettext_lazy("Replaced itself by a new token.")
REUSED = gettext_lazy("A replaced token of its family tried to replace itself again.")
REPLACED_AGAIN = gettext_lazy("The token that replaced it was replaced too.")


class AlreadyReplaced(DomainError):
    code = "already_replaced"
    message = gettext_lazy("This token was replaced before. Replace the new one.")


class TokenReused(AlreadyReplaced):
    """A replaced token tried to replace itself. The caller ends the family (`end_family`)."""

    code = "token_reused"
    message = gettext_lazy(
        "Another token replaced this one before, so someone may have a copy of it. All tokens that replaced it were "
        "expired, and their owner gets a mail. Create a new token in the portal."
    )


class NeverShown(DomainError):
    code = "not_revealed"
    message = gettext_lazy("This token was not shown yet, so no script uses it. Show it or expire it instead.")


class NotStarted(DomainError):
    code = "not_started"
    message = gettext_lazy(
        "This token has not started yet, so no script can use it. Create another one like it, and expire this one."
    )


class LimitedUses(DomainError):
    code = "limited_uses"
    message = gettext_lazy("This token can be used only a number of times. Create a new token instead.")


def can_be_replaced(token: Token) -> bool:
    """Whether its owner can replace it: it has started and not ended, was shown, was not replaced before, and its uses
    are not counted: two tokens could be used more often than one. A token like it must not need approval, unless this
    one was approved. For a token of a service, the owner must still be able to use that."""
    if token.max_uses is not None or token.replaced_at is not None:
        return False
    is_in_use = token.revealed_at is not None and token.has_started(timezone.now()) and not token.has_ended
    return is_in_use and token.opens_service and not needs_approval_first(token)


def overlap_by_default(policy: Organization) -> int:
    """In hours, for an owner who chooses nothing."""
    return min(DEFAULT_OVERLAP_HOURS, policy.max_replacement_overlap_hours)


def replace_token(
    *, actor: User, token: Token, overlap_hours: int | None = None, request: HttpRequest | None = None
) -> Token:
    """Creates a token in the place of one that the actor manages; `services.reveal_token` shows it.

    The new one lives as long as the old one was to live, or as long as the policy allows. The old one ends
    ``overlap_hours`` from now, or before if it would have ended before; with 0, it ends immediately. ``None``: as
    `overlap_by_default`. Raises what `services.issue_token` raises, ``ApprovalNeeded``, ``AlreadyEnded``,
    ``AlreadyReplaced``, ``NeverShown``, ``NotStarted`` or ``LimitedUses``, and ``ValidationError`` for a number of
    hours that the policy does not allow. If two requests come at once, one replaces the token.
    """
    require_proof(Privilege.REPLACE_TOKEN, request)
    return _replace(actor, token, overlap_hours, request, reason=REPLACED)


@sensitive_variables()
def rotate_token(
    *, token: Token, overlap_hours: int = ROTATION_OVERLAP_HOURS, request: HttpRequest
) -> tuple[Token, str]:
    """Creates the successor of the token in use, and shows it. Only for a token with the scope for it.

    Raises what `replace_token` raises, and ``TokenReused`` if the token was replaced before: of two requests at once,
    the database makes one the second.
    """
    require_proof_to_replace(token, request)
    actor = person_of(request)
    try:
        with signing_lock(), transaction.atomic():
            new = _replace(actor, token, overlap_hours, request, reason=ROTATED)
            shown = reveal_token(actor=actor, token=new, request=request)
    except AlreadyReplaced:
        raise TokenReused from None
    # The answer's headers tell when the old token ends, and which one replaces it.
    token.refresh_from_db(fields=["expires_at", "revoked_at", "replaced_at", "replaced_by"])
    return shown


def end_family(token: Token, *, request: HttpRequest) -> list[Token]:
    """Ends all live tokens that replaced this one, directly or later, and this one; returns them. Tells the owner.

    Replacing a token of the family takes the same lock, so no token can be created meanwhile and escape.
    """
    if not family_from(token):
        # A person with an old token can send it often. The others of the organization don't wait for that.
        return []
    with transaction.atomic():
        lock(Organization.objects.all(), token.organization_id)
        ended = end_tokens(
            family_from(token),
            action=Action.TOKEN_ENDED_BY_REUSE,
            reason=str(REUSED),
            request=request,
            reused=str(token.pk),
        )
        if ended:
            tell_owners(REPLACED_TOKEN_REUSED, reuse_mail, ended)
    for each in ended:
        if each.pk == token.pk:
            token.revoked_at = each.revoked_at
    return ended


def lock_rotating_families(token_ids: Collection[uuid.UUID]) -> list[Token]:
    """Those of the tokens that can replace themselves and whose family has live tokens. These families can't grow until
    the transaction ends, because replacing a token takes the same locks."""
    some = Token.objects.filter(pk__in=token_ids, scope__contains=scopes.ROTATE.id)
    found = [token for token in some if token.rotates and family_from(token)]
    for organization_id in sorted({token.organization_id for token in found}):
        lock(Organization.objects.all(), organization_id)
    return found


def tokens_replaced_since(token: Token, since: datetime, *, most: int) -> list[uuid.UUID]:
    """The ids of the tokens that this one replaced, directly or earlier, and that were in use after ``since``: the
    newest first, at most so many. In one query, as `family_from`."""
    if token.created_at <= since:
        return []
    table = connection.ops.quote_name(Token._meta.db_table)
    own = Token._meta.pk.get_db_prep_value(token.pk, connection)
    found = Token.objects.raw(
        f"WITH RECURSIVE family(id, created_at, place) AS ("  # noqa: S608
        f"SELECT id, created_at, 0 FROM {table} WHERE id = %s UNION ALL "
        f"SELECT t.id, t.created_at, f.place + 1 FROM {table} t JOIN family f ON t.replaced_by_id = f.id "
        f"WHERE f.created_at > %s AND f.place < %s) SELECT id FROM family WHERE place > 0 ORDER BY place",
        [own, connection.ops.adapt_datetimefield_value(since), most],
    )
    return [row.pk for row in found]


def family_from(token: Token) -> list[uuid.UUID]:
    """The ids of the token and of all that replaced it, without those that have ended for certain. Those before it have
    ended: `_end_predecessor`.

    In one query, because a token that rotates every hour has thousands of successors in a year.
    """
    table = connection.ops.quote_name(Token._meta.db_table)
    own = Token._meta.pk.get_db_prep_value(token.pk, connection)
    found = Token.objects.raw(
        f"WITH RECURSIVE family(id, successor) AS ("  # noqa: S608
        f"SELECT id, replaced_by_id FROM {table} WHERE id = %s UNION "
        f"SELECT t.id, t.replaced_by_id FROM {table} t JOIN family f ON t.id = f.successor) "
        f"SELECT t.id FROM {table} t JOIN family f ON t.id = f.id WHERE t.revoked_at IS NULL AND t.expires_at > %s",
        [own, connection.ops.adapt_datetimefield_value(timezone.now())],
    )
    return [row.pk for row in found]


def _replace(
    actor: User, token: Token, overlap_hours: int | None, request: HttpRequest | None, *, reason: Text
) -> Token:
    """``reason``: why the old token ended, if it ends immediately."""
    with transaction.atomic():
        policy = locked_policy(actor)
        if overlap_hours is None:
            overlap_hours = overlap_by_default(policy)
        _check_overlap(overlap_hours, policy)
        waiting = _locked_items(token)
        old = _locked(actor, token)
        is_own = old.owner_id == actor.pk
        owner = actor if is_own else managed_account(actor, old.owner, policy)
        start = now_in_seconds()
        wanted_end, pipelines = _end_of_new(old, policy, start), _pipelines(owner, old)
        _end_predecessor(old, actor, request)
        _give_way(old, overlap_hours)
        new = issue_successor(
            old=old,
            actor=actor,
            owner=None if is_own else owner,
            created_at=start,
            expires_at=wanted_end,
            pipelines=pipelines,
            request=request,
        )
        old.replaced_by = new
        old.save(update_fields=["replaced_by"])
        ReviewItem.objects.filter(pk__in=[item.pk for item in waiting]).update(token=new)
        works_until = old.expires_at.isoformat() if overlap_hours else ""
        record(
            actor=actor,
            action=Action.TOKEN_REPLACED,
            target=old,
            request=request,
            replaced_by=str(new.pk),
            works_until=works_until,
        )
        if reason is not ROTATED:
            # A script can do it every hour. The activity log has each time.
            tell_replaced(old)
        if not overlap_hours:
            end_tokens([old.pk], action=Action.TOKEN_REVOKED, ended_by=actor, reason=str(reason), request=request)
    return new


@sensitive_variables()
def replace_and_reveal_token(
    *, token: Token, overlap_hours: int | None = None, request: HttpRequest
) -> tuple[Token, str]:
    """Both in one transaction, for an answer that shows the new token. Raises what `replace_token` raises."""
    actor = person_of(request)
    with signing_lock(), transaction.atomic():
        new = replace_token(actor=actor, token=token, overlap_hours=overlap_hours, request=request)
        return reveal_token(actor=actor, token=new, request=request)


def with_replaced(items: Collection[ReviewItem]) -> list[uuid.UUID]:
    """The ids of the tokens of these items, and of those that they replaced during the campaign and that still work."""
    ids = [item.token_id for item in items]
    replaced = Token.objects.filter(replaced_by__in=ids).live()
    # A token that was replaced before the campaign has an item and an answer of its own.
    gave_way = replaced.exclude(review_items__campaign__in={item.campaign_id for item in items})
    return [*ids, *gave_way.values_list("pk", flat=True)]


def end_of_replacement(token: Token) -> datetime:
    """When a token that replaces this one now would end."""
    return _end_of_new(token, token.organization, now_in_seconds())


def _check_overlap(hours: int, policy: Organization) -> None:
    most = policy.max_replacement_overlap_hours
    if 0 <= hours <= most:
        return
    if most == 0:
        raise ValidationError(
            {
                "overlap_hours": gettext(
                    "Your organization allows no overlap: choose 0, and the old token expires at once."
                )
            }
        )
    if most == MOST_OVERLAP_HOURS:
        text = ngettext("Choose 0 to %(count)s hour.", "Choose 0 to %(count)s hours.", most)
    else:
        text = ngettext(
            "Your organization allows %(count)s hour at most: choose 0 to %(count)s.",
            "Your organization allows %(count)s hours at most: choose 0 to %(count)s.",
            most,
        )
    raise ValidationError({"overlap_hours": text % {"count": grouped(most)}})


def _locked_items(token: Token) -> list[ReviewItem]:
    """The items of review campaigns in which this token waits for an answer. The new token takes its place there, or it
    could replace itself to escape from the campaign.

    Call it before the token is locked, and with the policy locked: the answers and the end of a campaign lock the items
    first, and its start locks the organization.
    """
    # The token is in a unique constraint.
    return lock_all(ReviewItem.objects.unanswered().filter(token=token.pk), blocks_references=True)


def _locked(actor: User, token: Token) -> Token:
    # Its name is in a unique constraint.
    old = lock_if_exists(Token.objects.managed_by(actor), token.pk, blocks_references=True)
    if old is None:
        raise NotAllowed
    if old.replaced_at is not None:
        raise AlreadyReplaced
    if old.has_ended:
        raise AlreadyEnded
    if old.revealed_at is None:
        raise NeverShown
    if not old.has_started(timezone.now()):
        raise NotStarted
    if old.max_uses is not None:
        raise LimitedUses
    return old


def _end_of_new(old: Token, policy: Organization, start: datetime) -> datetime:
    return same_lifetime(old.created_at, old.expires_at, start=start, longest=longest_lifetime(policy, old.owner))


def _pipelines(owner: User, old: Token) -> list[uuid.UUID] | None:
    """Those that the new token reaches: the chosen ones that still exist and that the owner can see."""
    if not old.is_limited:
        return None
    pipelines = [pipeline.id for pipeline in pipelines_seen_by(owner, old)]
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
