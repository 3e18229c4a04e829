"""What can be done with a token: make it, show it once, end it. Every door leads here."""

from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from accounts.models import User
from accounts.roles import Ability
from auditlog.actions import Action, record
from opsera_portal.api import scopes
from opsera_portal.request_context import without_tokens
from tokens import jwt
from tokens.lifetimes import check_expiry, now_in_seconds
from tokens.models import Token
from tokens.names import clean_name, name_key
from tokens.querysets import PENDING_LAPSES_AFTER, not_ended

REASON_MAX_LENGTH = Token._meta.get_field("revoke_reason").max_length or 0


class TokenNameTaken(Exception):
    """Another live token of this owner has this name, in whatever case or Unicode form."""


class CannotBeRevealed(Exception):
    """The token was shown before, has ended, or belongs to someone else."""


class AlreadyEnded(Exception):
    """The token had expired, or was expired early, before."""


class NotAllowed(Exception):
    """The actor may not do this."""


def issue_token(
    *,
    actor: User,
    name: str,
    chosen: list[scopes.Scope],
    expires_at: datetime,
    request: HttpRequest | None = None,
) -> Token:
    """Makes the metadata of a token for ``actor``; `reveal_token` makes the token itself.

    Raises ``TokenNameTaken``, ``InvalidName`` or ``InvalidExpiry``. The database's constraint decides between two
    requests at once.
    """
    if not actor.may(Ability.OWN_TOKENS):
        raise NotAllowed
    name = clean_name(name)
    created_at = now_in_seconds()
    check_expiry(expires_at, start=created_at, longest=longest_lifetime(actor))
    key = name_key(name)
    try:
        with transaction.atomic():
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
    signed_jwt, key_id = jwt.encode(token)
    with transaction.atomic():
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
    with transaction.atomic():
        token = issue_token(actor=actor, name=name, chosen=chosen, expires_at=expires_at, request=request)
        return reveal_token(actor=actor, token=token, request=request)


def revoke_token(*, actor: User, token: Token, reason: str = "", request: HttpRequest | None = None) -> Token:
    """Ends a token now, for good. A request that starts after this has returned is refused.

    Raises ``NotAllowed`` when it is someone else's and the actor's role does not reach it, ``AlreadyEnded`` when there
    is nothing to end: of two at once one ends it, and the first reason stays.
    """
    if not Token.objects.revocable_by(actor).filter(pk=token.pk).exists():
        raise NotAllowed
    now = timezone.now()
    reason = without_tokens(reason.strip())
    with transaction.atomic():
        ended = Token.objects.filter(not_ended(now), pk=token.pk).update(
            revoked_at=now, revoked_by=actor, revoke_reason=reason, live_name_key=None
        )
        if not ended:
            raise AlreadyEnded
        record(actor=actor, action=Action.TOKEN_REVOKED, target=token, request=request, reason=reason)
    token.refresh_from_db()
    return token


def longest_lifetime(owner: User) -> timedelta:
    return timedelta(days=owner.own_organization.max_token_lifetime_days)


def _free_name_of_ended_token(owner: User, key: str) -> None:
    """A token that ended by time still holds its name until someone wants it."""
    Token.objects.owned_by(owner).ended().filter(live_name_key=key).update(live_name_key=None)
