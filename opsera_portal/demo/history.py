"""60 days of invented history for the demo, the same in each demo.

The tokens are only metadata: they were never signed. Their uses were never requests, so they don't pass through the
journal. They are added in the order of their times, before any other entry. The worker seals and counts them like all
others.
"""

import random
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise

from django.utils import timezone

from accounts.models import Organization, User
from auditlog.actions import Action
from auditlog.models import Activity, TokenUse
from gateway.models import Service
from opsera_portal.demo.entries import use_of
from pipelines.models import Pipeline, TokenPipeline
from tokens.models import Token
from tokens.names import name_key
from tokens.replacement import ROTATED

DAYS = 60
REVEALED_AFTER = timedelta(seconds=3)
Answer = tuple[int, TokenUse.Reason]
OK: Answer = (200, TokenUse.Reason.OK)


@dataclass(frozen=True)
class Habit:
    """A regular use of a token, on each day from ``since`` to ``until`` days ago.

    ``on_weekdays`` and ``at_weekends``: the maximum number of uses on such a day, within ``hours`` (UTC).
    """

    call: str
    ip: str
    program: str
    on_weekdays: int
    at_weekends: int = 0
    hours: tuple[int, int] = (8, 18)
    since: int = DAYS
    until: int = 0
    answer: Answer = OK


@dataclass(frozen=True)
class PastToken:
    """``created`` and ``revoked``: how many days ago. ``only``: the names of the pipelines of a limited token.

    ``replaces_after``: it replaces the token before it in `TOKENS`, which works on for so many hours. ``for_service``:
    it is for the demo's service, not for the portal's API.
    """

    owner: str
    name: str
    scope: str
    created: int
    lifetime: int
    habits: tuple[Habit, ...] = ()
    revoked: int | None = None
    revoked_by: str = ""
    reason: str = ""
    only: tuple[str, ...] = ()
    replaces_after: int | None = None
    for_service: bool = False


# The addresses from which people sign in.
PLACES = {
    "admin": "198.51.100.31",
    "power": "198.51.100.42",
    "user": "198.51.100.23",
    "guest": "198.51.100.55",
    "security": "198.51.100.60",
    "auditor": "198.51.100.71",
}

LIST_PIPELINES = "GET /api/v1/pipelines"
RUN = "POST /api/v1/pipeline/run"
STATUS = "POST /api/v1/pipeline/status"
TOKEN_LOG = "GET /api/v1/logs/user/tokens"  # noqa: S105  (an address)
ACTION_LOG = "GET /api/v1/logs/user/actions"
DASHBOARD = "GET /api/dashboards/7"

TOKENS = (
    PastToken(
        "user",
        "Nightly trigger",
        "pipeline",
        created=58,
        lifetime=62,
        habits=(
            Habit(RUN, "203.0.113.17", "curl/8.5.0", 1, 1, hours=(2, 3)),
            Habit(STATUS, "203.0.113.17", "curl/8.5.0", 7, 7, hours=(2, 4)),
            # A script that polled in a loop.
            Habit(STATUS, "203.0.113.17", "curl/8.5.0", 70, 70, hours=(13, 14), since=12, until=12),
        ),
        only=("Nightly build",),
    ),
    PastToken(
        "user",
        "Status dashboard",
        "api-readonly",
        created=40,
        lifetime=62,
        habits=(
            Habit(LIST_PIPELINES, "198.51.100.4", "python-httpx/0.28", 16, 1, hours=(7, 19)),
            Habit(
                RUN,
                "198.51.100.4",
                "python-httpx/0.28",
                24,
                24,
                hours=(9, 11),
                since=17,
                until=17,
                answer=(403, TokenUse.Reason.INSUFFICIENT_SCOPE),
            ),
            # From a new address.
            Habit(LIST_PIPELINES, "192.0.2.200", "Go-http-client/2.0", 4, 4, hours=(1, 5), since=2, until=1),
        ),
    ),
    PastToken(
        "user",
        "Old laptop",
        "api",
        created=55,
        lifetime=31,
        habits=(
            Habit(LIST_PIPELINES, "198.51.100.23", "curl/7.88.1", 3, 1),
            Habit(LIST_PIPELINES, "192.0.2.99", "PostmanRuntime/7.43", 2, 2, hours=(20, 23), since=6),
        ),
    ),
    PastToken(
        "user",
        "Lost on the train",
        "pipeline",
        created=9,
        lifetime=31,
        habits=(Habit(STATUS, "198.51.100.23", "curl/7.88.1", 3, 3, until=8),),
        revoked=7,
        revoked_by="user",
        reason="Left the laptop on the train",
    ),
    PastToken(
        "admin",
        "Copy of the logs",
        "security-logs",
        created=52,
        lifetime=92,
        habits=(
            Habit(TOKEN_LOG, "203.0.113.40", "rsyslog-http/1.2", 2, 2, hours=(3, 4)),
            Habit(ACTION_LOG, "203.0.113.40", "rsyslog-http/1.2", 2, 2, hours=(3, 4)),
        ),
    ),
    PastToken(
        "admin",
        "Quarterly report",
        "api-readonly",
        created=45,
        lifetime=31,
        habits=(
            Habit("GET /api/v1/organization/tokens", "198.51.100.31", "python-requests/2.32", 4, since=45, until=15),
        ),
    ),
    PastToken(
        "power",
        "Release automation",
        "pipeline",
        created=50,
        lifetime=62,
        habits=(
            Habit(RUN, "203.0.113.80", "GitHub-Hookshot/44", 6, 0, hours=(7, 17)),
            Habit(STATUS, "203.0.113.80", "GitHub-Hookshot/44", 24, 2, hours=(7, 18)),
            # The day of the release.
            Habit(STATUS, "203.0.113.80", "GitHub-Hookshot/44", 90, 90, hours=(6, 20), since=9, until=9),
            # Someone had removed the permission that it needs, and one call was wrong.
            Habit(
                RUN,
                "203.0.113.80",
                "GitHub-Hookshot/44",
                30,
                30,
                since=20,
                until=20,
                answer=(403, TokenUse.Reason.FORBIDDEN),
            ),
            Habit(
                RUN,
                "203.0.113.80",
                "GitHub-Hookshot/44",
                9,
                9,
                since=20,
                until=19,
                answer=(400, TokenUse.Reason.INVALID_REQUEST),
            ),
        ),
        only=("Deploy to staging", "Deploy to production"),
    ),
    PastToken(
        "power",
        "Staging trigger",
        "pipeline",
        created=48,
        lifetime=62,
        habits=(
            Habit(RUN, "203.0.113.81", "Jenkins/2.479", 4, 1, hours=(6, 20)),
            Habit(RUN, "192.0.2.146", "python-requests/2.32", 6, 6, hours=(0, 24), since=9),
        ),
        revoked=10,
        revoked_by="security",
        reason="Found in a public repository",
    ),
    PastToken(
        "security",
        "Audit export",
        "security-logs",
        created=57,
        lifetime=92,
        habits=(Habit(TOKEN_LOG, "203.0.113.60", "vector/0.43", 12, 12, hours=(0, 24)),),
    ),
    # Being replaced: one of its two scripts has the new token already.
    PastToken(
        "power",
        "Build monitor",
        "pipeline-readonly",
        created=30,
        lifetime=62,
        habits=(Habit(STATUS, "203.0.113.82", "python-httpx/0.28", 9, 3),),
    ),
    PastToken(
        "power",
        "Build monitor",
        "pipeline-readonly",
        created=2,
        lifetime=62,
        habits=(Habit(STATUS, "203.0.113.83", "python-httpx/0.28", 9, 3),),
        replaces_after=168,
    ),
    # Replaces itself once a week.
    PastToken(
        "security",
        "Weekly report",
        "security-logs tokens:rotate",
        created=11,
        lifetime=31,
        habits=(Habit(ACTION_LOG, "203.0.113.61", "rotate-token", 2, 2, hours=(3, 4), until=5),),
    ),
    PastToken(
        "security",
        "Weekly report",
        "security-logs tokens:rotate",
        created=4,
        lifetime=31,
        habits=(Habit(ACTION_LOG, "203.0.113.61", "rotate-token", 2, 2, hours=(10, 11)),),
        replaces_after=0,
    ),
    PastToken(
        "user",
        "Dashboard export",
        "service:dashboards:read",
        created=18,
        lifetime=92,
        habits=(
            Habit(DASHBOARD, "203.0.113.24", "curl/8.5.0", 5, 2, hours=(6, 20)),
            Habit(
                "DELETE /api/dashboards/7",
                "203.0.113.24",
                "curl/8.5.0",
                2,
                2,
                hours=(10, 11),
                since=3,
                until=3,
                answer=(403, TokenUse.Reason.INSUFFICIENT_SCOPE),
            ),
            Habit(
                "GET /api/admin/users",
                "203.0.113.24",
                "curl/8.5.0",
                1,
                1,
                hours=(11, 12),
                since=3,
                until=3,
                answer=(403, TokenUse.Reason.PATH_NOT_ALLOWED),
            ),
        ),
        for_service=True,
    ),
)


def create_history(people: Mapping[str, User], pipelines: Mapping[str, Pipeline], service: Service) -> None:
    """``pipelines``: by name."""
    rng = random.Random("the demo")
    now = timezone.now().replace(microsecond=0)
    tokens = [(past, _token(past, people, service, now, rng)) for past in TOKENS]
    replacements = list(_replaced(tokens))
    uses = [use for past, token in tokens for use in _uses(past, token, now, rng)]
    uses.sort(key=lambda use: use.at)
    last = {use.token_id: use for use in uses}
    for _, token in tokens:
        if token.pk in last:
            token.last_used_at, token.last_used_ip = last[token.pk].at, last[token.pk].ip
    # Successors first: the old tokens refer to them.
    Token.objects.bulk_create([token for _, token in reversed(tokens)])
    TokenPipeline.objects.bulk_create(
        TokenPipeline(token=token, pipeline=pipelines[name]) for past, token in tokens for name in past.only
    )
    TokenUse.objects.bulk_create(uses)
    activity = [
        *_activity_of(tokens, people, pipelines),
        *replacements,
        *_policy(people["admin"], now),
        *_sign_ins(people, now, rng),
    ]
    Activity.objects.bulk_create(sorted((entry for entry in activity if entry.at < now), key=lambda entry: entry.at))


def _token(past: PastToken, people: Mapping[str, User], service: Service, now: datetime, rng: random.Random) -> Token:
    owner = people[past.owner]
    made_at = _moment(now, past.created, rng, (8, 9))
    revoked_at = None if past.revoked is None else _moment(now, past.revoked, rng, (15, 17))
    expires_at = made_at + timedelta(days=past.lifetime)
    return Token(
        id=_uuid(rng),
        owner=owner,
        organization=owner.own_organization,
        name=past.name,
        live_name_key=None if revoked_at or expires_at <= now else name_key(past.name),
        scope=past.scope,
        service=service if past.for_service else None,
        is_limited=bool(past.only),
        created_at=made_at,
        expires_at=expires_at,
        revealed_at=made_at + REVEALED_AFTER,
        revoked_at=revoked_at,
        revoked_by=people[past.revoked_by] if past.revoked_by else None,
        revoke_reason=past.reason,
    )


def _replaced(tokens: list[tuple[PastToken, Token]]) -> Iterator[Activity]:
    """Ends the tokens that others replace, and tells the activity log."""
    for (_, old), (past, new) in pairwise(tokens):
        if past.replaces_after is None:
            continue
        old.replaced_at, old.replaced_by, old.live_name_key = new.created_at, new, None
        works_until = ""
        if past.replaces_after:
            old.expires_at = min(old.expires_at, new.created_at + timedelta(hours=past.replaces_after))
            works_until = old.expires_at.isoformat()
        else:
            old.revoked_at, old.revoked_by, old.revoke_reason = new.created_at, old.owner, str(ROTATED)
        details = {"replaced_by": str(new.pk), "works_until": works_until}
        yield _activity(old.owner, Action.TOKEN_REPLACED, old, new.created_at, details)
        if old.revoked_at:
            yield _activity(old.owner, Action.TOKEN_REVOKED, old, old.revoked_at, {"reason": old.revoke_reason})


def _uses(past: PastToken, token: Token, now: datetime, rng: random.Random) -> Iterator[TokenUse]:
    for habit in past.habits:
        for days_ago in range(min(habit.since, past.created - 1), habit.until - 1, -1):
            is_weekend = (now - timedelta(days=days_ago)).weekday() >= 5
            most = habit.at_weekends if is_weekend else habit.on_weekdays
            for _ in range(rng.randint((most + 1) // 2, most)):
                at = _moment(now, days_ago, rng, habit.hours)
                if at < now:
                    yield _use(token, at, habit, rng)


def _use(token: Token, at: datetime, habit: Habit, rng: random.Random) -> TokenUse:
    status, reason = habit.answer
    if token.revoked_at and at >= token.revoked_at:
        status, reason = 401, TokenUse.Reason.REVOKED
    elif at >= token.expires_at:
        status, reason = 401, TokenUse.Reason.EXPIRED
    method, _, target = habit.call.partition(" ")
    return use_of(
        token,
        request_id=_uuid(rng),
        at=at,
        method=method,
        target=target,
        status=status,
        reason=reason,
        ip=habit.ip,
        user_agent=habit.program,
        duration_ms=rng.randint(4, 40),
    )


def _activity_of(
    tokens: list[tuple[PastToken, Token]], people: Mapping[str, User], pipelines: Mapping[str, Pipeline]
) -> Iterator[Activity]:
    for past, token in tokens:
        planned_end = token.created_at + timedelta(days=past.lifetime)
        details: dict[str, object] = {"scope": token.scope, "expires_at": planned_end.isoformat()}
        if past.only:
            details["pipelines"] = [{"name": name, "id": str(pipelines[name].pk)} for name in sorted(past.only)]
        if past.replaces_after is not None:
            details["replaces"] = str(token.replaces.pk)
        yield _activity(token.owner, Action.TOKEN_ISSUED, token, token.created_at, details)
        yield _activity(token.owner, Action.TOKEN_REVEALED, token, token.created_at + REVEALED_AFTER)
        if token.revoked_at and past.revoked_by:
            actor = people[past.revoked_by]
            yield _activity(actor, Action.TOKEN_REVOKED, token, token.revoked_at, {"reason": past.reason})


def _policy(administrator: User, now: datetime) -> Iterator[Activity]:
    organization = administrator.own_organization
    details = {"max_token_lifetime_days": {"from": 366, "to": organization.max_token_lifetime_days}}
    at = (now - timedelta(days=DAYS - 1)).replace(hour=10, minute=12)
    yield _activity(administrator, Action.POLICY_CHANGED, organization, at, details)


def _sign_ins(people: Mapping[str, User], now: datetime, rng: random.Random) -> Iterator[Activity]:
    for person in people.values():
        for days_ago in range(DAYS, 0, -1):
            if (now - timedelta(days=days_ago)).weekday() >= 5 or rng.random() < 0.6:
                continue
            at = _moment(now, days_ago, rng, (7, 10))
            if rng.random() < 0.1:
                yield _activity(person, Action.SIGN_IN_FAILED, person, at - timedelta(seconds=20))
            yield _activity(person, Action.SIGNED_IN, person, at)
            yield _activity(person, Action.SIGNED_OUT, person, at + timedelta(hours=rng.randint(1, 8)))


def _activity(
    actor: User,
    action: Action,
    target: Token | User | Organization,
    at: datetime,
    details: Mapping[str, object] | None = None,
) -> Activity:
    organization = actor.own_organization
    return Activity(
        at=at,
        actor=actor,
        actor_email=actor.email,
        organization=organization,
        account=organization.slug,
        type=action.type,
        action=action,
        target_id=str(target.pk),
        target_name=str(target),
        ip=PLACES[actor.email.partition("@")[0]],
        details=dict(details or {}),
    )


def _moment(now: datetime, days_ago: int, rng: random.Random, hours: tuple[int, int]) -> datetime:
    """A random time on that day, within the hours."""
    start, end = hours
    day = (now - timedelta(days=days_ago)).astimezone(UTC).date()
    return datetime.combine(day, time(), UTC) + timedelta(seconds=rng.randrange(start * 3600, end * 3600))


def _uuid(rng: random.Random) -> uuid.UUID:
    return uuid.UUID(int=rng.getrandbits(128), version=4)
