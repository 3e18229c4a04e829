"""51 tokens of one person in every state, and a few tokens of other people. They were never signed."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.utils import timezone

from accounts.models import User
from opsera_portal.demo.many import names
from tokens.approval.asking import LAPSES_AFTER
from tokens.approval.models import ApprovalRequest
from tokens.models import Token
from tokens.names import name_key
from tokens.querysets import PENDING_LAPSES_AFTER

TOKENS, OF_OTHERS = 51, 80
# Of the one person's tokens. Of the live ones, the rest is active for a while; of the others, the rest has expired.
LIVE, WAITING, NOT_REVEALED, NOT_STARTED, BLOCKED, ENDING_SOON = 31, 1, 1, 1, 3, 6
NEVER_SHOWN, REVOKED = 2, 8
WHY = names.filled("The archive of the platform team copies both logs every night. ", 500)
REASONS = (
    "No longer needed",
    "تسرّب في سجل عام",
    names.filled("It was found in a log: https://ci.example.com/job/portal/lastBuild/consoleFull#", 200),
)


def add_tokens(owner: User) -> list[Token]:
    """If the owner has many live tokens already, fewer of the new ones are live: the policy's limit is kept."""
    policy = owner.own_organization
    in_use = list(Token.objects.owned_by(owner).live().values_list("name", flat=True))
    live = _live_tokens(owner)[: max(0, policy.max_live_tokens - len(in_use))]
    tokens = [*live, *_ended_tokens(owner, TOKENS - len(live))]
    wanted = [*names.TOKENS, *(f"script-{number:02}" for number in range(1, TOKENS))]
    for token, name in zip(tokens, names.unused(wanted[:TOKENS], in_use), strict=True):
        _give_name(token, name)
    created = Token.objects.bulk_create(tokens)
    ApprovalRequest.objects.bulk_create(
        ApprovalRequest(organization_id=token.organization_id, token=token, asked_by=owner, reason=WHY)
        for token in created
        if token.waits_until
    )
    return created


def add_tokens_of_others(people: Sequence[User]) -> list[Token]:
    """A live token for each of the first people, deactivated ones included; three for the very first one."""
    owners = [people[0], people[0], *(person for person in people if person.joined_at)][:OF_OTHERS]
    tokens = [_token(owner, number, used_up=(number + 1) / (OF_OTHERS + 1)) for number, owner in enumerate(owners)]
    for number, token in enumerate(tokens):
        _give_name(token, names.TOKENS[number % len(names.TOKENS)])
    return Token.objects.bulk_create(tokens)


def _live_tokens(owner: User) -> list[Token]:
    now = _now()
    pending = [_token(owner, number, used_up=0, is_shown=False) for number in range(NOT_REVEALED)]
    scheduled = [_token(owner, number, used_up=0.1) for number in range(NOT_STARTED)]
    for token in scheduled:
        token.not_before = now + timedelta(days=2)
    waiting = [_token(owner, number, used_up=0, is_shown=False) for number in range(WAITING)]
    for token in waiting:
        token.waits_until = token.created_at + LAPSES_AFTER
    blocked = [_token(owner, number, used_up=0.5) for number in range(BLOCKED)]
    for token in blocked:
        # Created before the policy became stricter.
        token.expires_at = now + timedelta(days=owner.own_organization.max_token_lifetime_days)
    ending = [_token(owner, number, used_up=0.985 - 0.015 * number) for number in range(ENDING_SOON)]
    left = LIVE - WAITING - NOT_REVEALED - NOT_STARTED - BLOCKED - ENDING_SOON
    return [
        *pending,
        *waiting,
        *scheduled,
        *blocked,
        *ending,
        *(_token(owner, number, used_up=0.03 * (number + 1)) for number in range(left)),
    ]


def _ended_tokens(owner: User, number_of_tokens: int) -> list[Token]:
    tokens = [_token(owner, number, used_up=1.1 + number / 20) for number in range(number_of_tokens)]
    for token in tokens[:NEVER_SHOWN]:
        token.created_at, token.revealed_at = _now() - 2 * PENDING_LAPSES_AFTER, None
        token.expires_at = token.created_at + _lifetime(owner)
    for number, token in enumerate(tokens[NEVER_SHOWN : NEVER_SHOWN + REVOKED]):
        token.revoked_at = token.created_at + timedelta(hours=1 + number)
        token.revoked_by, token.revoke_reason = owner, REASONS[number % len(REASONS)]
    return tokens


def _token(owner: User, number: int, *, used_up: float, is_shown: bool = True) -> Token:
    """``used_up``: the part of its lifetime that has passed; more than 1 if it has expired."""
    policy, lifetime = owner.own_organization, _lifetime(owner)
    allowed = policy.allowed_scopes.split()
    created_at = _now() - timedelta(seconds=int(lifetime.total_seconds() * used_up))
    return Token(
        owner=owner,
        organization=policy,
        scope=policy.allowed_scopes if number % 6 == 5 else allowed[number % len(allowed)],
        created_at=created_at,
        expires_at=created_at + lifetime,
        revealed_at=min(created_at + timedelta(seconds=3), timezone.now()) if is_shown else None,
    )


def _give_name(token: Token, name: str) -> None:
    token.name = name
    token.live_name_key = None if token.has_ended else name_key(name)


def _lifetime(owner: User) -> timedelta:
    return timedelta(days=min(60, owner.own_organization.max_token_lifetime_days))


def _now() -> datetime:
    return timezone.now().replace(microsecond=0)
