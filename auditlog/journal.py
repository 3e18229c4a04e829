"""Writes the authentication log durably, and is the only module that adds entries to it.

``commit`` returns when the entry is on disk, or raises what the database raised. The statement is written by hand: the
ORM takes longer to build it than the database to store it. `docs/authentication-log.md` describes the whole path.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import chain
from operator import attrgetter, itemgetter

from django.db import DatabaseError, InterfaceError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from auditlog.group_commit import MAX_ROWS, GroupCommit, Row
from auditlog.models import TokenUse
from auditlog.open_use import OpenUse
from auditlog.signals import token_use_logged
from core.db.batches import batches_of
from core.db.prepared_statements import execute, execute_for_each, own_connection, uuid_as_stored
from core.db.sqlite_turns import turn_to_write
from core.types import AccessToken

logger = logging.getLogger(__name__)

_ALLOWED, _REFUSED, _OK = (
    value.value for value in (TokenUse.Outcome.ALLOWED, TokenUse.Outcome.REFUSED, TokenUse.Reason.OK)
)
# The reason for a refusal with this status if the problem code gives none.
_REASONS_BY_STATUS = {
    401: TokenUse.Reason.FORBIDDEN,
    403: TokenUse.Reason.FORBIDDEN,
    404: TokenUse.Reason.NOT_FOUND,
    409: TokenUse.Reason.CONFLICT,
    412: TokenUse.Reason.CONFLICT,
    429: TokenUse.Reason.THROTTLED,
}


def commit(use: OpenUse, *, status: int, code: str | None) -> None:
    """Writes the entry of a finished use. Outside of a transaction it is on disk when this returns; in a transaction
    it is committed together with the change that the request made.

    ``code`` is the problem code of the answer. Where it is also one of the log's reasons, it becomes the reason.
    """
    token = use.token
    if token is None:
        raise ValueError("Only the use of a genuine token is logged.")
    connection = own_connection()
    row = _row(connection, use, token, status, code)
    if connection.in_atomic_block:
        _insert(connection, [row])
    else:
        _group_commit.commit(row)
    _tell(connection, use, token)


def commit_reported(uses: Sequence[tuple[OpenUse, int]], *, reported_at: datetime) -> int:
    """Writes the entries of uses that a service reports, each with its status, and returns how many are new. They are
    on disk when this returns, all or none. An id that is in the log already is left out, whatever its entry says.
    """
    connection = own_connection()
    at = connection.ops.adapt_datetimefield_value(reported_at)
    rows = [(*_row(connection, use, use.token, status, None, 0), at) for use, status in uses if use.token is not None]
    # In the order of their ids: two batches with the same ones can't wait for each other.
    rows.sort(key=itemgetter(0))
    with turn_to_write(connection), transaction.atomic():
        stored = sum(_insert_new(connection, some) for some in batches_of(rows, MAX_ROWS))
    for use in _last_accepted(use for use, _ in uses):
        if use.token is not None:
            _tell(connection, use, use.token)
    return stored


def _last_accepted(uses: Iterable[OpenUse]) -> Iterable[OpenUse]:
    """The last accepted use of each token."""
    in_order = sorted((use for use in uses if use.token and use.was_accepted), key=attrgetter("at"))
    return {use.token.pk: use for use in in_order if use.token}.values()


def _tell(connection: BaseDatabaseWrapper, use: OpenUse, token: AccessToken) -> None:
    try:
        token_use_logged.send(sender=TokenUse, use=use)
    except (DatabaseError, InterfaceError) as error:
        # An entry that is committed is answered for. In a transaction, entry and change go together.
        if connection.in_atomic_block:
            raise
        logger.warning("The use of token %s was logged, but what depends on it could not be saved: %s", token.pk, error)


def _row(
    connection: BaseDatabaseWrapper,
    use: OpenUse,
    token: AccessToken,
    status: int,
    code: str | None,
    duration_ms: int | None = None,
) -> Row:
    """The entry's values in the order of `_COLUMNS`, adapted to the database. ``duration_ms``: ``None`` for a use that
    ends now."""
    as_stored = uuid_as_stored(connection)
    return (
        as_stored(use.request_id),
        connection.ops.adapt_datetimefield_value(use.at),
        as_stored(token.pk),
        token.name,
        token.scope,
        as_stored(token.owner_id),
        token.owner.email,
        as_stored(token.organization_id),
        token.organization.slug,
        use.method,
        use.target,
        status,
        _ALLOWED if status < 400 else _REFUSED,
        _OK if status < 400 else _reason(status, code).value,
        use.ip,
        use.user_agent,
        use.duration_ms() if duration_ms is None else duration_ms,
        as_stored(use.service_id) if use.service_id else None,
    )


_COLUMNS = (
    "request_id, at, token_id, token_name, scope, owner_id, owner_email, organization_id, account, method, target, "
    "status, outcome, reason, ip, user_agent, duration_ms, service_id"
)


@lru_cache(maxsize=MAX_ROWS)
def _statement(rows: int) -> str:
    one = f"({', '.join(['%s'] * len(_COLUMNS.split(', ')))})"
    return f'INSERT INTO "{TokenUse._meta.db_table}" ({_COLUMNS}) VALUES {", ".join([one] * rows)}'  # noqa: S608


@lru_cache(maxsize=MAX_ROWS)
def _statement_of_reported(rows: int) -> str:
    columns = f"{_COLUMNS}, reported_at"
    one = f"({', '.join(['%s'] * len(columns.split(', ')))})"
    return (
        f'INSERT INTO "{TokenUse._meta.db_table}" ({columns}) VALUES {", ".join([one] * rows)} '  # noqa: S608
        "ON CONFLICT (request_id) DO NOTHING"
    )


def _insert_new(connection: BaseDatabaseWrapper, rows: Sequence[Row]) -> int:
    """Writes those rows whose ids are new, and returns how many these are."""
    with connection.cursor() as cursor:
        cursor.execute(_statement_of_reported(len(rows)), list(chain.from_iterable(rows)))  # type: ignore[arg-type]
        count: int = cursor.rowcount
    return count


def _insert(connection: BaseDatabaseWrapper, rows: list[Row]) -> None:
    """Writes the rows in one statement; outside of a transaction it is committed by itself."""
    execute(connection, _statement(len(rows)), [value for row in rows for value in row])


def _insert_in_turn(rows: list[Row]) -> None:
    connection = own_connection()
    with turn_to_write(connection):
        if connection.vendor == "sqlite" and len(rows) > 1:
            execute_for_each(connection, _statement(1), rows)
        else:
            _insert(connection, rows)


_group_commit = GroupCommit(_insert_in_turn)


def _reason(status: int, code: str | None) -> TokenUse.Reason:
    if code in TokenUse.Reason.values:
        return TokenUse.Reason(code)
    if status >= 500:
        return TokenUse.Reason.ERROR
    return _REASONS_BY_STATUS.get(status, TokenUse.Reason.INVALID_REQUEST)
