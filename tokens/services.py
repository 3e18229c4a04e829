"""What can be done with a token: make it, show it once, end it. Every door leads here."""

import time
import uuid
from collections import defaultdict
from collections.abc import Collection, Generator, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from accounts.models import Organization, User
from accounts.privileges import Privilege, require_proof
from accounts.roles import Ability
from auditlog.actions import Action
from auditlog.record import record, record_each
from core.api import scopes
from core.http.request_context import without_tokens
from core.text import counted
from tokens import jwt
from tokens.keys.ring import signing_lock
from tokens.lifetimes import check_expiry, now_in_seconds
from tokens.mails import EarlyEndMails
from tokens.models import Token
from tokens.names import clean_name, name_key, numbered
from tokens.policy.rules import scopes_not_allowed
from tokens.querysets import PENDING_LAPSES_AFTER, TokenQuerySet, not_ended

REASON_MAX_LENGTH = Token._meta.get_field("revoke_reason").max_length or 0
# Tokens that are ended in one transaction. SQLite has one writer at a time, and each answered request is a write.
BATCH = 500


class TokenNameTaken(Exception):
    """Another live token of this owner has this name, in whatever case or Unicode form."""


class ScopesNotAllowed(Exception):
    """The organization's policy does not allow tokens with these scopes; the message names them."""

    def __init__(self, refused: list[scopes.Scope]) -> None:
        super().__init__(
            f"Your organization does not allow tokens with this scope: {', '.join(scope.label for scope in refused)}."
        )


class TooManyTokens(Exception):
    """The owner has as many live tokens as the organization's policy allows a person."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"You have {counted(limit, 'live token', 'live tokens')} or more, as many as your organization allows a "
            "person. Expire one that you no longer need, then make this one."
        )


class CannotBeRevealed(Exception):
    """The token was shown before, has ended, or belongs to someone else."""


class AlreadyEnded(Exception):
    """The token had expired, or was expired early, before."""


class NotAllowed(Exception):
    """The actor may not do this."""


class ReasonMissing(Exception):
    """Whoever ends someone else's token says why: its owner is told."""


class CountChanged(Exception):
    """There are other tokens to end than the actor was shown. ``count``: how many there are now."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.count = count


def issue_token(
    *,
    actor: User,
    name: str,
    chosen: list[scopes.Scope],
    expires_at: datetime,
    request: HttpRequest | None = None,
) -> Token:
    """Makes the metadata of a token for ``actor``; `reveal_token` makes the token itself.

    Raises ``TokenNameTaken``, ``InvalidName``, and what the organization's policy says against it: ``InvalidExpiry``,
    ``ScopesNotAllowed`` or ``TooManyTokens``. Of two requests at once the second sees what the first has made.
    """
    require_proof(Privilege.CREATE_TOKEN, request)
    if not actor.may(Ability.OWN_TOKENS):
        raise NotAllowed
    name = clean_name(name)
    key = name_key(name)
    try:
        with transaction.atomic():
            policy = _locked_policy(actor)
            created_at = now_in_seconds()
            check_expiry(expires_at, start=created_at, longest=longest_lifetime(policy))
            check_scopes(chosen, policy)
            _check_number(actor, policy)
            _free_name_of_ended_token(actor, key)
            token = Token.objects.create(
                owner=actor,
                organization=actor.own_organization,
                name=name,
                live_name_key=key,
                scope=scopes.as_string(chosen),
                created_at=created_at,
                expires_at=expires_at,
            )
            record(
                actor=actor,
                action=Action.TOKEN_ISSUED,
                target=token,
                request=request,
                scope=token.scope,
                expires_at=token.expires_at.isoformat(),
            )
    except IntegrityError:
        if Token.objects.owned_by(actor).filter(live_name_key=key).exists():
            raise TokenNameTaken from None
        raise
    return token


@sensitive_variables()
def reveal_token(*, actor: User, token: Token, request: HttpRequest | None = None) -> tuple[Token, str]:
    """Signs the token and marks it shown, in one conditional update: of any number of requests one succeeds.

    Returns the row and the signed JWT. The JWT exists in this answer only. Raises ``CannotBeRevealed``.
    """
    now = timezone.now()
    with signing_lock(), transaction.atomic():
        signed_jwt, key_id = jwt.encode(token)
        won = Token.objects.filter(
            pk=token.pk,
            owner=actor,
            revealed_at__isnull=True,
            revoked_at__isnull=True,
            created_at__gt=now - PENDING_LAPSES_AFTER,
            expires_at__gt=now,
        ).update(revealed_at=now, signing_key_id=key_id)
        if not won:
            raise CannotBeRevealed
        record(actor=actor, action=Action.TOKEN_REVEALED, target=token, request=request)
    token.revealed_at = now
    token.signing_key_id = key_id
    return token, signed_jwt


@sensitive_variables()
def issue_and_reveal_token(
    *, actor: User, name: str, chosen: list[scopes.Scope], expires_at: datetime, request: HttpRequest | None = None
) -> tuple[Token, str]:
    """Both in one transaction, for an answer that shows the token at once. Raises what the two raise."""
    with signing_lock(), transaction.atomic():
        token = issue_token(actor=actor, name=name, chosen=chosen, expires_at=expires_at, request=request)
        return reveal_token(actor=actor, token=token, request=request)


def revoke_token(*, actor: User, token: Token, reason: str = "", request: HttpRequest | None = None) -> Token:
    """Ends a token now, for good. A request that starts after this has returned is refused.

    Raises what `revoke_tokens` raises, and ``AlreadyEnded`` when there is nothing to end: of two at once one ends it,
    and the first reason stays.
    """
    if not revoke_tokens(actor=actor, token_ids=[token.pk], reason=reason, request=request):
        raise AlreadyEnded
    token.refresh_from_db()
    return token


def revoke_tokens(
    *, actor: User, token_ids: Collection[uuid.UUID], reason: str = "", request: HttpRequest | None = None
) -> list[Token]:
    """Ends those of the tokens that have not ended, in one transaction; returns them.

    Raises ``NotAllowed`` when one of them does not exist or is not the actor's to end, ``ReasonMissing`` when one is
    someone else's and no reason is given; nothing is ended then.
    """
    with transaction.atomic():
        tokens = Token.objects.revocable_by(actor).filter(pk__in=token_ids)
        if tokens.count() != len(set(token_ids)):
            raise NotAllowed
        _check_reason(actor, tokens, reason)
        ended = end_tokens(token_ids, action=Action.TOKEN_REVOKED, ended_by=actor, reason=reason, request=request)
        tell_owners(ended, EarlyEndMails(), but=actor)
    return ended


def revoke_all(
    *,
    actor: User,
    tokens: TokenQuerySet,
    expected: int | None = None,
    reason: str = "",
    request: HttpRequest | None = None,
) -> int:
    """Ends whichever of ``tokens`` are live and the actor's to end, however many; returns how many these were.

    In batches, so that the portal goes on answering: whatever interrupts it leaves the rest alive, and doing it again
    ends them. Raises ``CountChanged`` when there are not as many as ``expected``, ``ReasonMissing`` as `revoke_tokens`
    does; nothing is ended then.
    """
    live = tokens.revocable_by(actor).live()
    _check_reason(actor, live, reason)
    ids = _ids_by_owner(live)
    if expected is not None and len(ids) != expected:
        raise CountChanged(len(ids))
    count, mails = 0, EarlyEndMails()
    for batch in _batches(ids):
        with transaction.atomic():
            done = end_tokens(batch, action=Action.TOKEN_REVOKED, ended_by=actor, reason=reason, request=request)
            tell_owners(done, mails, but=actor)
        count += len(done)
    return count


def revoke_own(*, actor: User, reason: str, request: HttpRequest | None = None) -> int:
    """Ends all live tokens of the actor; returns how many these were."""
    return revoke_all(actor=actor, tokens=Token.objects.owned_by(actor), reason=reason, request=request)


def end_by_operator(tokens: TokenQuerySet, *, reason: str) -> Generator[int]:
    """Ends whichever of ``tokens`` are live, for whoever operates the installation; those made meanwhile as well.

    In batches; after each comes how many it ended.
    """
    mails = EarlyEndMails()
    while ids := _ids_by_owner(tokens.live()):
        for batch in _batches(ids):
            started_at = time.perf_counter()
            with transaction.atomic():
                done = end_tokens(batch, action=Action.TOKEN_ENDED_BY_OPERATOR, reason=reason, by="operator")
                tell_owners(done, mails)
            yield len(done)
            # As long as others had to wait, they may write now.
            time.sleep(time.perf_counter() - started_at)


def end_tokens(
    token_ids: Collection[uuid.UUID],
    *,
    action: Action,
    ended_by: User | None = None,
    reason: str = "",
    request: HttpRequest | None = None,
    **details: Any,
) -> list[Token]:
    """Ends those of the tokens that have not ended and records each, in one transaction; returns them as they are now.

    For a caller that has made sure that this may be done, and that tells the owners. ``ended_by`` is the person who
    ends them; where it is none, the entry bears the owner's name, as that of a failed sign-in does.
    """
    now = timezone.now()
    reason = without_tokens(reason.strip())[:REASON_MAX_LENGTH]
    end = {"revoked_at": now, "revoked_by": ended_by, "revoke_reason": reason, "live_name_key": None}
    with transaction.atomic():
        # Locked in one order: two who end the same tokens wait for each other, and not both.
        found = Token.objects.filter(not_ended(now), pk__in=token_ids).select_for_update(of=("self",)).order_by("pk")
        tokens = list(found.select_related("owner", "organization"))
        Token.objects.filter(pk__in=[token.pk for token in tokens]).update(**end)
        record_each(
            [(ended_by or token.owner, token) for token in tokens],
            action=action,
            request=request,
            reason=reason,
            **details,
        )
    for token in tokens:
        for name, value in end.items():
            setattr(token, name, value)
    return tokens


def needs_reason(*, actor: User, token: Token) -> bool:
    """Whether this actor must say why they end this token."""
    return token.owner_id != actor.pk


def tell_owners(ended: Sequence[Token], mails: EarlyEndMails, *, but: User | None = None) -> None:
    """Puts one mail to each owner about all tokens of theirs that were ended; ``but`` ended them and knows.

    Call it in the transaction that ended them.
    """
    by_owner: dict[uuid.UUID, list[uuid.UUID]] = defaultdict(list)
    for token in ended:
        if but is None or token.owner_id != but.pk:
            by_owner[token.owner_id].append(token.pk)
    mails.add(by_owner)


def _check_reason(actor: User, tokens: TokenQuerySet, reason: str) -> None:
    if not reason.strip() and tokens.exclude(owner=actor).exists():
        raise ReasonMissing


def _ids_by_owner(tokens: TokenQuerySet) -> list[uuid.UUID]:
    return list(tokens.order_by("owner_id", "pk").values_list("pk", flat=True))


def _batches(ids: Sequence[uuid.UUID]) -> Iterator[Sequence[uuid.UUID]]:
    for start in range(0, len(ids), BATCH):
        yield ids[start : start + BATCH]


def longest_lifetime(organization: Organization) -> timedelta:
    return timedelta(days=organization.max_token_lifetime_days)


def check_scopes(chosen: list[scopes.Scope], organization: Organization) -> None:
    """Raises ``ScopesNotAllowed``."""
    if refused := scopes_not_allowed(scopes.as_string(chosen), organization):
        raise ScopesNotAllowed(refused)


def _locked_policy(owner: User) -> Organization:
    """The organization as it is now, locked until the transaction ends.

    Tokens of an organization are made one after the other, and not while its policy changes: so many live ones are
    counted as there are, and whoever changes the policy was shown all that there are (`tokens.policy.preview`).
    """
    return Organization.objects.select_for_update(no_key=True).get(pk=owner.own_organization.pk)


def _check_number(owner: User, policy: Organization) -> None:
    if Token.objects.owned_by(owner).live().count() >= policy.max_live_tokens:
        raise TooManyTokens(policy.max_live_tokens)


def free_name_like(*, owner: User, name: str) -> str:
    """The name if no live token of the owner has it, else the same with the next number that is free."""
    taken = set(Token.objects.owned_by(owner).live().values_list("live_name_key", flat=True))
    return next(candidate for candidate in numbered(name) if name_key(candidate) not in taken)


def _free_name_of_ended_token(owner: User, key: str) -> None:
    """A token that ended by time still holds its name until someone wants it."""
    Token.objects.owned_by(owner).ended().filter(live_name_key=key).update(live_name_key=None)
