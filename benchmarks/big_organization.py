"""Fills the demo's organization until it is big: people, tokens, pipelines, groups, runs, and millions of log entries.

Rows are written in large transactions (SQLite) or with COPY (PostgreSQL). Entries are sealed as a worker seals them.
"""

import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from accounts.models import Group, User
from auditlog.models import Activity, Seal, TokenUse
from auditlog.seals import sealing
from core.db import statistics
from core.db.prepared_statements import uuid_as_stored
from pipelines.access import ItemRole
from pipelines.models import AccessRule, Pipeline, Run
from tokens.models import Token

PEOPLE, TOKENS, PIPELINES, GROUPS = 5_000, 20_000, 2_000, 1_000
MEMBERS_EACH, GROUP_RULES_EACH, RUNS_EACH = 20, 3, 10
# The log covers this time. In each period, a few tokens are used again and again, as scripts use them.
LOG = timedelta(days=390)
ENTRIES_IN_A_PERIOD, TOKENS_IN_A_PERIOD, ENDED_IN_USE = 500, 20, 100
# Each tenth entry is an action.
USES_FOR_AN_ACTION = 10
BATCH = 100_000

Row = tuple[Any, ...]


def fill(administrator: User, *, entries: int) -> list[User]:
    """Fills the Administrator's organization. Returns its people with the site role User, with tokens and groups."""
    people = _add_people(administrator)
    tokens = _add_tokens([administrator, *people])
    pipelines = _add_pipelines(administrator, people)
    _add_groups(administrator, people, pipelines)
    _add_runs(pipelines, people)
    _write_quickly()
    _insert(TokenUse, _uses(tokens, entries), entries)
    _insert(Activity, _actions(tokens, entries // USES_FOR_AN_ACTION), entries // USES_FOR_AN_ACTION)
    return people


def seal() -> None:
    """Seals and counts the entries of both logs that a worker would have sealed by now."""
    _write_quickly()
    for log, model in ((Seal.Log.AUTHENTICATION, TokenUse), (Seal.Log.ACTIVITY, Activity)):
        progress = Progress(f"{log.label.lower()}: sealed", model.objects.count())
        while block := sealing.seal_next(log):
            progress.add(block.count)


def settle() -> None:
    """Leaves the database as if it had been running for a day: with statistics, and without a long write-ahead log."""
    statistics.refresh(threading.Event())
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM")
    # The next connection has the portal's own settings.
    connection.close()
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _add_people(administrator: User) -> list[User]:
    now = timezone.now()
    people = [
        User(
            email=f"p{n}@demo.example",
            name=f"Person {n}",
            site_role="user",
            organization=administrator.organization,
            joined_at=now,
            last_login=now - timedelta(hours=n),
        )
        for n in range(PEOPLE)
    ]
    User.objects.bulk_create(people, batch_size=500)
    return people


def _add_tokens(owners: Sequence[User]) -> list[Token]:
    """A fifth of the tokens have ended; two thirds are in use."""
    now = timezone.now()
    tokens = []
    for n in range(TOKENS):
        owner, has_ended = owners[n % len(owners)], n % 5 == 4
        created_at = now - timedelta(days=80 if has_ended else 20, seconds=n)
        tokens.append(
            Token(
                owner=owner,
                organization=owner.own_organization,
                name=f"token {n}",
                live_name_key=None if has_ended else f"token {n}",
                scope="api" if n % 2 else "pipeline",
                created_at=created_at,
                expires_at=created_at + timedelta(days=60) if has_ended else now + timedelta(days=1 + n % 60),
                revealed_at=created_at,
                last_used_at=now - timedelta(minutes=n) if n % 3 else None,
            )
        )
    return Token.objects.bulk_create(tokens, batch_size=500)


def _add_pipelines(administrator: User, people: Sequence[User]) -> list[Pipeline]:
    pipelines = [
        Pipeline(
            organization=administrator.organization,
            owner=people[n % 50],
            name=f"Pipeline {n}",
            tags=[f"team-{n % 40}"],
            run_count=RUNS_EACH,
        )
        for n in range(PIPELINES)
    ]
    return Pipeline.objects.bulk_create(pipelines, batch_size=500)


def _add_groups(administrator: User, people: Sequence[User], pipelines: Sequence[Pipeline]) -> None:
    """Each person is in a few groups. Most pipelines have access rules for groups."""
    groups = Group.objects.bulk_create(
        [Group(organization=administrator.organization, name=f"Group {n}") for n in range(GROUPS)]
    )
    members = Group.members.through
    members.objects.bulk_create(
        [
            members(group_id=group.pk, user_id=people[(MEMBERS_EACH * number + n) % PEOPLE].pk)
            for number, group in enumerate(groups)
            for n in range(MEMBERS_EACH)
        ],
        batch_size=5_000,
    )
    AccessRule.objects.bulk_create(
        [
            AccessRule(pipeline=pipeline, group=groups[(number * GROUP_RULES_EACH + n) % GROUPS], role=ItemRole.USER)
            for number, pipeline in enumerate(pipelines)
            if number % 4
            for n in range(GROUP_RULES_EACH)
        ],
        batch_size=1_000,
    )


def _add_runs(pipelines: Sequence[Pipeline], people: Sequence[User]) -> None:
    now = timezone.now()
    Run.objects.bulk_create(
        [
            Run(
                pipeline=pipeline,
                pipeline_public_id=pipeline.pk,
                pipeline_name=pipeline.name,
                organization_id=pipeline.organization_id,
                number=number,
                state=Run.State.FINISHED,
                outcome=Run.Outcome.SUCCESS,
                started_by=people[number],
                started_by_email=people[number].email,
                requested_at=now - timedelta(hours=RUNS_EACH - number),
                finished_at=now,
            )
            for pipeline in pipelines
            for number in range(1, RUNS_EACH + 1)
        ],
        batch_size=1_000,
    )


def _uses(tokens: Sequence[Token], entries: int) -> Iterator[Row]:
    """A fifth is for the first token, a hundredth for tokens that have ended."""
    live = [_stored(token) for token in tokens if token.live_name_key]
    ended = [_stored(token) for token in tokens if not token.live_name_key][:ENDED_IN_USE]
    for number, (identifier, at) in enumerate(_moments(entries)):
        is_refused = number % 100 == 0
        if is_refused:
            token = ended[number // 100 % len(ended)]
        elif number % 5 == 1:
            token = live[0]
        else:
            period = number // ENTRIES_IN_A_PERIOD
            token = live[(period * TOKENS_IN_A_PERIOD + number % TOKENS_IN_A_PERIOD) % len(live)]
        token_id, name, scope, owner_id, email, organization_id, ip = token
        yield (
            identifier,
            at,
            token_id,
            name,
            scope,
            owner_id,
            email,
            organization_id,
            "demo",
            "GET",
            f"/api/v1/pipelines/{number % 1000}",
            401 if is_refused else 200,
            "refused" if is_refused else "allowed",
            "expired" if is_refused else "ok",
            ip,
            "python-httpx/0.28",
            7,
        )


def _actions(tokens: Sequence[Token], actions: int) -> Iterator[Row]:
    """A twentieth is of the Administrator, who owns the first token."""
    people = [_stored(token) for token in tokens[:PEOPLE]]
    for number, (identifier, at) in enumerate(_moments(actions)):
        token_id, name, _, owner_id, email, organization_id, ip = people[number % PEOPLE if number % 20 else 0]
        yield (
            identifier,
            at,
            organization_id,
            "demo",
            ip,
            owner_id,
            email,
            "token",
            "token.issued",
            token_id,
            name,
            identifier,
            "{}",
        )


def _stored(token: Token) -> Row:
    """What an entry copies, as the database stores it. A token is always used from the same address."""
    as_stored = uuid_as_stored(connection)
    return (
        as_stored(token.pk),
        token.name,
        token.scope,
        as_stored(token.owner_id),
        token.owner.email,
        as_stored(token.organization_id),
        f"203.0.113.{token.pk.int % 250}",
    )


def _moments(entries: int) -> Iterator[tuple[Any, str]]:
    """The id and the time of each entry, as the database stores them, evenly distributed over the period."""
    as_stored, on_postgresql = uuid_as_stored(connection), connection.vendor == "postgresql"
    start, step = datetime.now(UTC) - LOG, LOG / max(entries, 1)
    base = int(start.timestamp() * 1000)
    for number in range(entries):
        at = start + step * number
        identifier = uuid.UUID(int=(base + number) << 80 | 0x7 << 76 | 0b10 << 62 | number)
        yield as_stored(identifier), at.isoformat() if on_postgresql else f"{at:%Y-%m-%d %H:%M:%S.%f}"


_COLUMNS = {
    TokenUse: "request_id, at, token_id, token_name, scope, owner_id, owner_email, organization_id, account, method, "
    "target, status, outcome, reason, ip, user_agent, duration_ms",
    Activity: "public_id, at, organization_id, account, ip, actor_id, actor_email, type, action, target_id, "
    "target_name, request_id, details",
}
# Columns of `Activity` without a value for each row.
_CONSTANT = {TokenUse: {}, Activity: {"token_name": ""}}


def _write_quickly() -> None:
    """For filling only: `settle` ends it."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET synchronous_commit = off")
        else:
            cursor.execute("PRAGMA synchronous=OFF")
            cursor.execute("PRAGMA cache_size=-500000")


def _insert(model: type[TokenUse] | type[Activity], rows: Iterator[Row], total: int) -> None:
    columns = ", ".join([_COLUMNS[model], *_CONSTANT[model]])
    constants = tuple(_CONSTANT[model].values())
    progress = Progress(f"{model._meta.verbose_name_plural}: filled", total)
    while batch := [(*row, *constants) for row in islice(rows, BATCH)]:
        with transaction.atomic():
            _insert_batch(model._meta.db_table, columns, batch)
        progress.add(len(batch))


def _insert_batch(table: str, columns: str, batch: Sequence[Row]) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
            for row in batch:
                copy.write_row(row)
        return
    marks = ", ".join("?" * len(batch[0]))
    connection.connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", batch)  # noqa: S608


class Progress:
    """Shows on the standard error how far a long task is."""

    def __init__(self, label: str, total: int) -> None:
        self._label, self._total = label, total
        self._done, self._shown, self._started = 0, 0, time.monotonic()

    def add(self, number: int) -> None:
        self._done += number
        # Steps of a hundredth that rewrite the line, or of a tenth in a file.
        steps = 100 if sys.stderr.isatty() else 10
        step = self._done * steps // self._total
        if step == self._shown:
            return
        self._shown, seconds = step, time.monotonic() - self._started
        end = "\r" if sys.stderr.isatty() and step < steps else "\n"
        print(f"{self._label} {self._done:,} of {self._total:,}, {seconds:.0f} s", end=end, file=sys.stderr, flush=True)
