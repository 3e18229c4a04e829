"""Entries of both logs: each reason and each action, from all kinds of addresses, programs and paths.

Entries are numbered in the order of their times, so all of these are later than those that exist: within the last
minutes.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import chain, cycle
from typing import Any

from django.db.models import Max
from django.utils import timezone

from accounts.models import Group, User
from auditlog.actions import Action, ActionType
from auditlog.models import Activity, TokenUse
from core.db.uuid7 import uuid7
from opsera_portal.demo.entries import use_of
from opsera_portal.demo.many import names
from opsera_portal.demo.many.pipelines import LONG_QUERY
from pipelines.models import Pipeline
from tokens.models import Token
from tokens.states import TokenState

SPREAD = timedelta(minutes=15)
USES_OF_EACH_REASON, USES = 9, 240
ADDRESSES = (
    "2001:db8:85a3:1234:5678:8a2e:1370:7334",
    "203.0.113.254",
    "2001:db8::1",
    "fe80::1ff:fe23:4567:890a",
    "::1",
    "198.51.100.7",
    None,
)
PROGRAMS = (
    "curl/8.5.0",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
    names.filled("deployment-robot-of-the-platform-team/", 256),
    names.filled("Mozilla/5.0 (compatible; a program that describes itself in every detail) ", 256),
    "",
    "سكربت/1.0 (بناء)",
)
CALLS = (
    ("GET", "/api/v1/pipelines"),
    ("POST", "/api/v1/pipeline/run"),
    ("GET", names.filled("/api/v1/organization/this-operation-does-not-exist", 512)),
    ("DELETE", "/api/v1/pipelines/1b4e28ba-2fa1-41d2-883f-0016d3cca427"),
    ("PATCH", "/api/v1/users/%D9%86%D9%88%D8%B1%D8%A9%20%D8%A8%D9%86%D8%AA/%3Cb%3E"),
)
STATUSES = {
    TokenUse.Reason.OK: 200,
    TokenUse.Reason.INSUFFICIENT_SCOPE: 403,
    TokenUse.Reason.FORBIDDEN: 403,
    TokenUse.Reason.EXPIRED: 401,
    TokenUse.Reason.REVOKED: 401,
    TokenUse.Reason.NOT_REVEALED: 401,
    TokenUse.Reason.OWNER_DEACTIVATED: 401,
    TokenUse.Reason.BLOCKED_BY_POLICY: 401,
    TokenUse.Reason.NETWORK_NOT_ALLOWED: 401,
    TokenUse.Reason.NETWORK_POLICY: 401,
    TokenUse.Reason.NOT_STARTED: 401,
    TokenUse.Reason.USED_UP: 401,
    TokenUse.Reason.TOKEN_REUSED: 409,
    TokenUse.Reason.WRONG_AUDIENCE: 401,
    TokenUse.Reason.SERVICE_DISABLED: 403,
    TokenUse.Reason.PATH_NOT_ALLOWED: 403,
    TokenUse.Reason.AMBIGUOUS_PATH: 403,
    TokenUse.Reason.THROTTLED: 429,
    TokenUse.Reason.INVALID_REQUEST: 400,
    TokenUse.Reason.CONFLICT: 409,
    TokenUse.Reason.NOT_FOUND: 404,
    TokenUse.Reason.ERROR: 500,
}
# The state of the token for these reasons; otherwise, it is active.
STATES = {
    TokenUse.Reason.EXPIRED: TokenState.EXPIRED,
    TokenUse.Reason.REVOKED: TokenState.REVOKED,
    TokenUse.Reason.NOT_REVEALED: TokenState.EXPIRED,
    TokenUse.Reason.OWNER_DEACTIVATED: TokenState.OWNER_DEACTIVATED,
    TokenUse.Reason.BLOCKED_BY_POLICY: TokenState.BLOCKED_BY_POLICY,
    TokenUse.Reason.NOT_STARTED: TokenState.SCHEDULED,
    TokenUse.Reason.USED_UP: TokenState.EXPIRED,
}
DETAILS: dict[ActionType, dict[str, Any]] = {
    ActionType.AUTHENTICATION: {"by": "password"},
    ActionType.TOKEN: {"reason": names.filled("It was found in the log of a build that everyone can read. ", 200)},
    ActionType.USER: {"from": "guest", "to": "power_user", "groups": list(names.GROUPS)},
    ActionType.SERVICE_ACCOUNT: {"responsible": [f"person-{number}@many.example" for number in range(1, 20)]},
    ActionType.GROUP: {"added": [f"person-{number}@many.example" for number in range(1, 60)], "to": names.GROUPS[2]},
    ActionType.POLICY: {"max_token_lifetime_days": {"from": 366, "to": 92}, "two_factor_roles": {"from": [], "to": []}},
    ActionType.REVIEW: {"waiting": 1_234, "confirmed": 18_000, "expired": 12},
    ActionType.WEBHOOK: {"url": "hooks.example.com", "events": ["leaked", "new_network", "activity"]},
    ActionType.SERVICE: {"name": {"from": "Grafana", "to": "Grafana of all teams"}},
    ActionType.PIPELINE: {"run_number": 12_345, "message": LONG_QUERY[:500], "gate": names.PIPELINES[0]},
}


def add_uses(tokens: Sequence[Token]) -> list[TokenUse]:
    """Also says when the tokens were last used."""
    wanted = list(_reasons_and_tokens(tokens))
    moments = _moments(len(wanted), TokenUse)
    uses = []
    for number, ((reason, token), at) in enumerate(zip(wanted, moments, strict=True)):
        method, target = CALLS[number % len(CALLS)]
        status = STATUSES[reason]
        use = use_of(
            token,
            request_id=uuid7(),
            at=at,
            method=method,
            target=target,
            status=status,
            reason=reason,
            ip=ADDRESSES[number % len(ADDRESSES)],
            user_agent=PROGRAMS[number % len(PROGRAMS)],
            duration_ms=1 + number**2,
        )
        if use.outcome == TokenUse.Outcome.ALLOWED:
            token.last_used_at, token.last_used_ip = at, use.ip
        uses.append(use)
    Token.objects.bulk_update([token for token in tokens if token.last_used_at], ["last_used_at", "last_used_ip"])
    return TokenUse.objects.bulk_create(uses, batch_size=100)


def add_activity(
    actor: User, people: Sequence[User], groups: Sequence[Group], pipelines: Sequence[Pipeline], tokens: Sequence[Token]
) -> list[Activity]:
    """First that all of these were created, then each action."""
    organization = actor.own_organization
    created = chain(
        ((actor, Action.USER_CREATED, person, {"site_role": person.site_role}) for person in people),
        ((actor, Action.GROUP_CREATED, group, {}) for group in groups),
        ((pipeline.owner, Action.PIPELINE_CREATED, pipeline, {}) for pipeline in pipelines),
    )
    targets: dict[ActionType, Any] = {
        ActionType.AUTHENTICATION: cycle(people),
        ActionType.TOKEN: cycle(tokens),
        ActionType.USER: cycle(people),
        ActionType.SERVICE_ACCOUNT: cycle(people),
        ActionType.GROUP: cycle(groups),
        ActionType.POLICY: cycle([organization]),
        ActionType.REVIEW: cycle([organization]),
        ActionType.WEBHOOK: cycle([organization]),
        ActionType.SERVICE: cycle([organization]),
        ActionType.PIPELINE: cycle(pipelines),
    }
    acted = (
        (people[number], action, next(targets[action.type]), DETAILS[action.type])
        for number, action in enumerate(Action)
    )
    done = [*created, *acted]
    entries = [
        Activity(
            at=at,
            actor=person,
            actor_email=person.email,
            organization=organization,
            account=organization.slug,
            type=action.type,
            action=action,
            target_id=str(target.pk),
            target_name=str(target)[:254],
            request_id=uuid7(),
            ip=ADDRESSES[number % len(ADDRESSES)],
            details=details,
        )
        for number, ((person, action, target, details), at) in enumerate(
            zip(done, _moments(len(done), Activity), strict=True)
        )
    ]
    return Activity.objects.bulk_create(entries, batch_size=100)


def _reasons_and_tokens(tokens: Sequence[Token]) -> Iterator[tuple[TokenUse.Reason, Token]]:
    by_state: dict[TokenState, list[Token]] = {}
    for token in tokens:
        by_state.setdefault(token.state, []).append(token)
    for number in range(USES):
        yield TokenUse.Reason.OK, by_state[TokenState.ACTIVE][number**2 % len(by_state[TokenState.ACTIVE])]
    for number in range(USES_OF_EACH_REASON):
        for reason in TokenUse.Reason:
            found = by_state.get(STATES.get(reason, TokenState.ACTIVE), [])
            was_shown = reason is not TokenUse.Reason.NOT_REVEALED
            fitting = [token for token in found if (token.revealed_at is not None) == was_shown]
            if fitting:
                yield reason, fitting[number % len(fitting)]


def _moments(number: int, model: type[TokenUse] | type[Activity]) -> Iterator[datetime]:
    now = timezone.now()
    newest = model.objects.aggregate(newest=Max("at"))["newest"] or now - SPREAD
    start = min(now, max(newest, now - SPREAD))
    return (start + (now - start) * (place / number) for place in range(1, number + 1))
