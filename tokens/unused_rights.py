"""Which scopes and pipelines many tokens have and did not use, for lists.

`tokens.narrowing` says the same of one token in more detail. Here, a fixed number of queries reads the logs for all
tokens of a page, and of each token only its newest uses, so that a page costs about the same however busy they are.
"""

import csv
import io
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from accounts.models import User
from accounts.pipelines_for_tokens import NamedPipeline
from accounts.services_for_tokens import TokenService
from auditlog.actions import ActionType
from auditlog.exports import harmless_text
from auditlog.models import Activity, TokenUse
from core import ids
from core.api.scopes import Scope
from core.db.batches import batches_of
from tokens.allowed_operations import open_to_tokens
from tokens.models import Token
from tokens.narrowing import PERIODS, Call, by_operation, fewest_scopes, fewest_service_scopes, reads_unknown_pipelines
from tokens.querysets import TokenQuerySet

DEFAULT_DAYS = PERIODS[0]
# Of each token, of each log.
MOST_ENTRIES = 2_000
# Tokens that one query reads about. SQLite combines at most 500 queries.
TOKENS_AT_ONCE = 100
COLUMNS = (
    "owner_email",
    "id",
    "name",
    "scopes",
    "enough_scopes",
    "unused_scopes",
    "operations_used",
    "is_complete",
    "is_limited",
    "unused_pipelines",
    "knows_all_pipelines",
    "last_used_at",
)


@dataclass(frozen=True)
class UnusedRights:
    """What a token did not use in the last ``days``.

    ``enough``: the fewest scopes that open what it used; none if it was not used. ``is_complete``: false if some uses
    are left out, which may have needed more: of more than `MOST_ENTRIES` uses the older ones, if it is limited also of
    so many actions of its owner, and those of the token that it replaced in this time (``replaced_another``).
    ``pipelines``: those of its
    chosen pipelines that the reader can see and that it is not known to have used. ``None`` if it is not limited, and
    empty if it is not known to have used any: a limited token needs one. ``knows_all_pipelines``: false if it may have
    read others, too (`tokens.narrowing`).
    """

    token: Token
    days: int
    operations_used: int
    is_complete: bool
    replaced_another: bool
    enough: list[Scope]
    pipelines: list[NamedPipeline] | None
    knows_all_pipelines: bool

    @property
    def scopes(self) -> list[Scope]:
        return [scope for scope in self.token.scopes if scope not in self.enough]

    @property
    def is_narrower(self) -> bool:
        """Whether less would have been enough."""
        return bool(self.scopes or self.pipelines)


def shown_tokens(tokens: TokenQuerySet) -> TokenQuerySet:
    """Those that the lists are about: live ones that a script can have. Replaced ones end soon."""
    return tokens.live().not_replaced().filter(revealed_at__isnull=False)


def unused_rights(tokens: Sequence[Token], *, days: int) -> list[UnusedRights]:
    """For each token, in the same order. Read them with `for_token_table` and `with_pipelines(seen_by=...)`."""
    since = timezone.now() - timedelta(days=days)
    return [found for some in batches_of(list(tokens), TOKENS_AT_ONCE) for found in _of_some(some, days, since)]


def csv_lines(tokens: TokenQuerySet, *, days: int, reader: User) -> Iterator[bytes]:
    """The lines of all these tokens, by the owner's e-mail address and the token's name."""
    listed = list(tokens.order_by("owner__email", "owner_id", "name", "pk").values_list("pk", flat=True))
    for some in batches_of(listed, TOKENS_AT_ONCE):
        rows = tokens.filter(pk__in=some).for_token_table().with_pipelines(seen_by=reader)
        rows = rows.order_by("owner__email", "owner_id", "name", "pk")
        text = io.StringIO(newline="")
        csv.writer(text).writerows(map(_cells, unused_rights(list(rows), days=days)))
        yield text.getvalue().encode()


def _cells(found: UnusedRights) -> list[Any]:
    token = found.token
    values = {
        "owner_email": harmless_text(token.owner.email),
        "id": token.pk,
        "name": harmless_text(token.name),
        "scopes": " ".join(scope.id for scope in token.scopes),
        "enough_scopes": " ".join(scope.id for scope in found.enough),
        "unused_scopes": " ".join(scope.id for scope in found.scopes),
        "operations_used": found.operations_used,
        "is_complete": str(found.is_complete).lower(),
        "is_limited": str(token.is_limited).lower(),
        "unused_pipelines": " ".join(str(pipeline.id) for pipeline in found.pipelines or ()),
        "knows_all_pipelines": str(found.knows_all_pipelines).lower(),
        "last_used_at": token.last_used_at.isoformat() if token.last_used_at else "",
    }
    return [values[column] for column in COLUMNS]


def _of_some(tokens: Sequence[Token], days: int, since: datetime) -> Iterator[UnusedRights]:
    calls, read = _newest_calls(tokens, since)
    acted_on, actions_read = _acted_on([token for token in tokens if token.is_limited], since)
    replaced_another = _replaced_another(tokens, since)
    known = {(route.method, route.path): route for route in open_to_tokens()}
    enough: dict[tuple[Any, ...], list[Scope]] = {}
    for token in tokens:
        if service := token.known_service:
            yield _of_service(token, service, calls[token.pk], days, read[token.pk], token.pk in replaced_another)
            continue
        last_at, pipeline_ids = by_operation(calls[token.pk], known)
        # Few kinds of tokens do the same few things, and finding the fewest scopes takes a millisecond.
        owner = token.owner
        key = (token.scope, token.rotates, token.organization_id, owner.site_role, owner.is_active, frozenset(last_at))
        if key not in enough:
            enough[key] = fewest_scopes(token, [known[place] for place in last_at]) if last_at else []
        used = pipeline_ids | acted_on[token.pk]
        yield UnusedRights(
            token=token,
            days=days,
            operations_used=len(last_at),
            is_complete=max(read[token.pk], actions_read[token.pk]) < MOST_ENTRIES and token.pk not in replaced_another,
            replaced_another=token.pk in replaced_another,
            enough=enough[key],
            pipelines=_unused_pipelines(token, used),
            knows_all_pipelines=not any(reads_unknown_pipelines(known[place]) for place in last_at),
        )


def _of_service(
    token: Token, service: TokenService, calls: list[Call], days: int, read: int, replaced_another: bool
) -> UnusedRights:
    return UnusedRights(
        token=token,
        days=days,
        operations_used=len(calls),
        is_complete=read < MOST_ENTRIES and not replaced_another,
        replaced_another=replaced_another,
        enough=fewest_service_scopes(token, service, calls) if calls else [],
        pipelines=None,
        knows_all_pipelines=True,
    )


def _unused_pipelines(token: Token, used: set[uuid.UUID]) -> list[NamedPipeline] | None:
    if token.pipeline_ids is None:
        return None
    if used.isdisjoint(token.pipeline_ids):
        return []
    return [each for each in token.seen_pipelines if each.id not in used]


def _newest_calls(tokens: Sequence[Token], since: datetime) -> tuple[dict[uuid.UUID, list[Call]], dict[uuid.UUID, int]]:
    """The different calls that were allowed, among the newest uses of each token, and how many uses were read.

    The limit is inside of the condition on the outcome: otherwise, the database would search all refused uses, too.
    """
    table = TokenUse._meta.db_table
    part = (
        f"SELECT {{place}}, method, target, outcome, COUNT(*), MAX(at) FROM ("  # noqa: S608
        f"SELECT method, target, outcome, at FROM {table} WHERE token_id = %s AND at >= %s "
        f"ORDER BY at DESC, id DESC LIMIT {MOST_ENTRIES}) newest GROUP BY method, target, outcome"
    )
    calls: defaultdict[uuid.UUID, list[Call]] = defaultdict(list)
    read: defaultdict[uuid.UUID, int] = defaultdict(int)
    for token, (method, target, outcome, number, at) in _rows(part, tokens, since):
        read[token.pk] += number
        if outcome == TokenUse.Outcome.ALLOWED:
            calls[token.pk].append(Call(method, target, at, number))
    return calls, read


def _acted_on(tokens: Sequence[Token], since: datetime) -> tuple[dict[uuid.UUID, set[uuid.UUID]], dict[uuid.UUID, int]]:
    """The pipelines that each token acted on, among the newest actions of its owner, and how many of these were read.

    The log has no index of tokens, so the actions of the owner's other tokens and sessions count for the limit.
    """
    table = Activity._meta.db_table
    part = (
        f"SELECT {{place}}, target, COUNT(*) FROM ("  # noqa: S608
        f"SELECT CASE WHEN token_id = %s AND type = '{ActionType.PIPELINE.value}' THEN target_id END AS target "
        f"FROM {table} WHERE actor_id = %s AND at >= %s ORDER BY at DESC, id DESC LIMIT {MOST_ENTRIES}) newest "
        f"GROUP BY target"
    )
    found: defaultdict[uuid.UUID, set[uuid.UUID]] = defaultdict(set)
    read: defaultdict[uuid.UUID, int] = defaultdict(int)
    for token, (target_id, number) in _rows(part, tokens, since, of_owner=True):
        read[token.pk] += number
        if target_id is not None and ids.FORM.fullmatch(target_id):
            found[token.pk].add(uuid.UUID(target_id))
    return found, read


def _replaced_another(tokens: Sequence[Token], since: datetime) -> set[uuid.UUID]:
    """Those that replaced another token in this time. The uses of that one are not read: a token that rotates often has
    many predecessors, and `tokens.narrowing` reads them."""
    young = [token.pk for token in tokens if token.created_at > since]
    replaced = Token.objects.filter(replaced_by__in=young)
    return set(replaced.order_by().values_list("replaced_by_id", flat=True)) if young else set()


def _rows(
    part: str, tokens: Sequence[Token], since: datetime, *, of_owner: bool = False
) -> Iterator[tuple[Token, tuple[Any, ...]]]:
    """One query for all tokens: ``part`` for each. The index of token or owner and time serves each part."""
    if not tokens:
        return
    stored = Token._meta.pk.get_db_prep_value
    at = connection.ops.adapt_datetimefield_value(since)
    values: list[Any] = []
    for token in tokens:
        own = stored(token.pk, connection)
        values += [own, stored(token.owner_id, connection), at] if of_owner else [own, at]
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(part.format(place=place) for place in range(len(tokens))), values)
        for place, *row in cursor.fetchall():
            yield tokens[place], tuple(row)
