"""What a token did lately, and the narrowest token that could have done the same: fewer scopes, fewer pipelines.

It reads the log of the token and of the tokens that it replaced in this time: a script is the same before and after a
rotation. Calls that name their pipeline in the body, such as `POST /pipeline/run`, are known from the
activity log if they acted on it. The logs don't say on which one they only read, so the pipelines are a proposal then.
"""

import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from itertools import chain, combinations
from typing import NamedTuple
from urllib.parse import unquote

from django.db.models import Count, Max
from django.urls import Resolver404, resolve
from django.utils import timezone

from accounts.models import User
from accounts.pipelines_for_tokens import NamedPipeline, pipelines_for_tokens
from accounts.services_for_tokens import TokenService
from auditlog.actions import Action, ActionType
from auditlog.models import Activity, TokenUse
from core import ids
from core.api.operations import Route
from core.api.scopes import ROTATE, SCOPES, Scope, as_string
from core.db.derived_tables import among
from core.text import Text
from tokens.allowed_operations import open_to_tokens, verdicts
from tokens.models import Token
from tokens.pipeline_choice import MOST_PIPELINES
from tokens.policy.rules import scopes_not_allowed
from tokens.replacement import tokens_replaced_since
from tokens.scope_cards import usable_by

# In days.
PERIODS = (90, 30)
# Of each log. The database reads so many in a few milliseconds.
MOST_ENTRIES = 10_000
# Of those that the token replaced.
MOST_PREDECESSORS = 100
# Of a service, on the page and in the API.
MOST_REQUESTS = 100
# Their addresses name the pipeline.
_OF_ONE_PIPELINE = "/api/v1/pipelines/<id:pk>"
_ABOUT_PIPELINES = ("/api/v1/pipeline", "/api/v1/runs")

# Ids and numbers in an address: which operation it belongs to doesn't depend on their values.
_VALUES = re.compile(rf"(?<=/)(?:{ids.FORM.pattern}|[0-9]+)(?=/|$)")
_ANY_ID, _ANY_NUMBER = str(uuid.UUID(int=0)), "0"

# Method and path, as in a `Route`.
Place = tuple[str, str]


class Call(NamedTuple):
    """All calls of one address with one method."""

    method: str
    target: str
    last_at: datetime
    number: int


@dataclass(frozen=True)
class UsedOperation:
    """An operation of the API; or for a token of a service, a request to that, without ``label``."""

    method: str
    path: str
    last_at: datetime
    label: Text = ""


@dataclass(frozen=True)
class Narrowing:
    """What a token did in the last ``days``, and what would have been enough for it.

    ``is_complete``: false if there are more uses than `MOST_ENTRIES` or more replaced tokens than `MOST_PREDECESSORS`,
    and the older ones are left out. ``replaced``: of how many tokens that it replaced the uses are included. ``used``:
    the operations, the last one first; of a service, at most `MOST_REQUESTS` different requests. ``allowed``: how many
    operations the token can do, none for a token of a service. ``pipelines``: those that it
    is known to have used and that its owner can see; ``knows_all_pipelines`` is false if it may have read others, too.
    ``started``: how many pipelines it started. ``visible``: how many its owner can see. ``scopes``: the fewest.
    """

    days: int
    is_complete: bool
    replaced: int
    used: list[UsedOperation]
    allowed: int
    pipelines: list[NamedPipeline]
    knows_all_pipelines: bool
    started: int
    visible: int
    scopes: list[Scope]

    @property
    def limit(self) -> list[uuid.UUID] | None:
        """The only pipelines for a new token; ``None`` if it needs no limit or can't have one."""
        return [pipeline.id for pipeline in self.pipelines] if 0 < len(self.pipelines) <= MOST_PIPELINES else None

    def is_less_than(self, token: Token) -> bool:
        """Whether a token with these scopes and this limit can do less than ``token``."""
        had = token.pipeline_ids
        fewer_pipelines = self.limit is not None and (had is None or len(self.limit) < len(had))
        return bool(self.used) and (self.scopes != list(token.scopes) or fewer_pipelines)


def narrowing(token: Token, *, days: int, reader: User) -> Narrowing:
    """``reader``: the owner as they act now. A token for chosen pipelines doesn't learn of any others."""
    since = timezone.now() - timedelta(days=days)
    predecessors = tokens_replaced_since(token, since, most=MOST_PREDECESSORS + 1)
    family = [token.pk, *predecessors[:MOST_PREDECESSORS]]
    calls = _newest_calls(family, since)
    is_complete = sum(call.number for call in calls) < MOST_ENTRIES and len(predecessors) <= MOST_PREDECESSORS
    if service := token.known_service:
        return _of_service(token, service, calls, days=days, is_complete=is_complete, replaced=len(family) - 1)
    open_routes = {(route.method, route.path): route for route in open_to_tokens()}
    last_at, pipeline_ids = by_operation(calls, open_routes)
    actions = _actions_on_pipelines(token.owner, family, since)
    seen = pipelines_for_tokens().seen_by(reader, pipeline_ids | {pipeline_id for _, pipeline_id in actions})
    started_ids = {pipeline_id for action, pipeline_id in actions if action == Action.PIPELINE_STARTED}
    return Narrowing(
        days=days,
        is_complete=is_complete,
        replaced=len(family) - 1,
        used=[
            UsedOperation(*place, at, open_routes[place].operation.label)
            for place, at in sorted(last_at.items(), key=_last_first)
        ],
        allowed=sum(verdict.allows for verdict in verdicts(token, open_to_tokens())),
        pipelines=seen,
        knows_all_pipelines=not any(reads_unknown_pipelines(open_routes[place]) for place in last_at),
        started=sum(pipeline.id in started_ids for pipeline in seen),
        visible=pipelines_for_tokens().count_seen_by(reader),
        scopes=fewest_scopes(token, [open_routes[place] for place in last_at]),
    )


def _of_service(
    token: Token, service: TokenService, calls: list[Call], *, days: int, is_complete: bool, replaced: int
) -> Narrowing:
    newest = sorted(requests_in(calls).items(), key=_last_first)
    return Narrowing(
        days=days,
        is_complete=is_complete,
        replaced=replaced,
        used=[UsedOperation(*request, at) for request, at in newest[:MOST_REQUESTS]],
        allowed=0,
        pipelines=[],
        knows_all_pipelines=True,
        started=0,
        visible=0,
        scopes=fewest_service_scopes(token, service, calls),
    )


def requests_in(calls: Iterable[Call]) -> dict[Place, datetime]:
    """When each method and path was last used. The tokens of a family can have used the same."""
    last_at: dict[Place, datetime] = {}
    for call in calls:
        place = call.method, call.target
        last_at[place] = max(call.last_at, last_at.get(place, call.last_at))
    return last_at


def fewest_service_scopes(token: Token, service: TokenService, calls: Iterable[Call]) -> list[Scope]:
    """Those of the token's scopes that its requests needed, by the rules of the service as they are now. A token needs
    at least one: if the requests needed none, the first one that only reads."""
    needed = {service.scope_for(method, target) for method, target in requests_in(calls)}
    own = list(token.scopes)
    return [scope for scope in own if scope in needed] or sorted(own, key=lambda scope: not scope.only_reads)[:1]


def _newest_calls(family: list[uuid.UUID], since: datetime) -> list[Call]:
    """The newest uses that were allowed. The database groups them, because reading 10,000 rows takes longer.

    One token after the other, the newest first, because the index is of one token and its times.
    """
    calls: list[Call] = []
    left = MOST_ENTRIES
    for token_id in family:
        log = TokenUse.objects.filter(token_id=token_id, at__gte=since, outcome=TokenUse.Outcome.ALLOWED)
        newest = among(log.order_by("-at", "-id").values("id", "method", "target", "at")[:left])
        found = [Call(*row) for row in newest.values_list("method", "target").annotate(Max("at"), Count("id"))]
        calls += found
        left -= sum(call.number for call in found)
        if left <= 0:
            break
    return calls


def by_operation(calls: Iterable[Call], known: dict[Place, Route]) -> tuple[dict[Place, datetime], set[uuid.UUID]]:
    """When each operation was last called, and the pipelines that addresses name."""
    last_at: dict[Place, datetime] = {}
    pipeline_ids = set()
    path_of = cache(_path_of)
    for method, target, at, _ in calls:
        address = unquote(target)
        path = path_of(_VALUES.sub(_any_value, address))
        place = "GET" if method == "HEAD" else method, path
        if place in known:
            last_at[place] = max(at, last_at.get(place, at))
            if path.startswith(_OF_ONE_PIPELINE) and (found := ids.FORM.search(address)):
                pipeline_ids.add(uuid.UUID(found[0]))
    return last_at, pipeline_ids


def _any_value(value: re.Match[str]) -> str:
    return _ANY_ID if "-" in value[0] else _ANY_NUMBER


def _path_of(address: str) -> str:
    """The path of a `Route`; empty if there is no such operation any more."""
    try:
        return f"/{resolve(address).route}"
    except Resolver404:
        return ""


def _last_first(call: tuple[Place, datetime]) -> tuple[float, Place]:
    return -call[1].timestamp(), call[0]


def _actions_on_pipelines(owner: User, family: list[uuid.UUID], since: datetime) -> list[tuple[str, uuid.UUID]]:
    log = Activity.objects.of(owner).filter(token_id__in=family, type=ActionType.PIPELINE, at__gte=since)
    newest = among(log.order_by("-at", "-id").values("action", "target_id")[:MOST_ENTRIES])
    rows = newest.values_list("action", "target_id").distinct()
    return [(action, uuid.UUID(target_id)) for action, target_id in rows if ids.FORM.fullmatch(target_id)]


def reads_unknown_pipelines(route: Route) -> bool:
    is_known = route.path.startswith(_OF_ONE_PIPELINE) or not route.operation.only_reads
    return route.path.startswith(_ABOUT_PIPELINES) and not is_known


def fewest_scopes(token: Token, used: list[Route]) -> list[Scope]:
    """Of all choices of scopes that open what was used and nothing that the token can't do, the one that opens the
    least. The token's own scopes are always one of them.

    A token that replaces itself keeps the scope for it: only its predecessors have used it, once each.
    """
    opened = {scope: _opened(scope) for scope in SCOPES}
    own: set[Place] = set().union(*(opened[scope] for scope in token.scopes))
    needed = {(route.method, route.path) for route in used if route.operation.scopes}
    if token.rotates and not scopes_not_allowed(ROTATE.id, token.organization):
        needed |= opened[ROTATE]
    choices = [
        (len(opened_together), len(choice), choice)
        for choice in chain.from_iterable(combinations(SCOPES, size) for size in range(1, len(SCOPES) + 1))
        if needed <= (opened_together := set[Place]().union(*(opened[scope] for scope in choice))) <= own
        and _is_allowed(choice, token)
    ]
    return list(min(choices, key=lambda found: found[:2])[2]) if choices else list(token.scopes)


def _is_allowed(choice: tuple[Scope, ...], token: Token) -> bool:
    """By the policy, and by the form: it offers no scope that opens nothing to the owner."""
    if list(choice) == token.scopes:
        return True
    is_open = all(usable_by(token.owner, scope) for scope in choice)
    return is_open and not scopes_not_allowed(as_string(choice), token.organization)


def _opened(scope: Scope) -> set[Place]:
    """The operations that need a scope and that this one opens."""
    return {(route.method, route.path) for route in open_to_tokens() if scope in route.operation.scopes}
