"""The durable writer of the authentication log: the narrow door of the write path.

``OpenUse`` is a use of a token while its request is being answered; ``commit`` makes it an entry and returns when the
entry is on disk, or raises what the database raised. The statement is written by hand, since the ORM needs longer to
write it than the database to keep it. `docs/authentication-log.md` tells the whole path.
"""

import logging
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.http import HttpRequest
from django.utils import timezone

from auditlog.group_commit import MAX_ROWS, GroupCommit, Row
from auditlog.models import TokenUse
from core.db.prepared_statements import own_connection, prepared_cursor, uuid_as_stored
from core.http import request_context

if TYPE_CHECKING:
    from tokens.models import Token

logger = logging.getLogger(__name__)

# Reasons that a status stands for where nothing more exact is known.
_REASONS_BY_STATUS = {
    401: TokenUse.Reason.FORBIDDEN,
    403: TokenUse.Reason.FORBIDDEN,
    404: TokenUse.Reason.NOT_FOUND,
    429: TokenUse.Reason.THROTTLED,
}


@dataclass
class OpenUse:
    """A request that may turn out to use a token.

    The check of the token fills ``token`` in, once it is genuine, and says ``was_accepted`` when nothing of the token
    itself stands against its use.
    """

    request_id: uuid.UUID
    at: datetime
    method: str
    target: str
    ip: str | None
    user_agent: str
    token: "Token | None" = None
    was_looked_at: bool = False
    was_accepted: bool = False
    _clock: float = field(default_factory=time.perf_counter)
    # What `begin_change` opens: a transaction for change and entry, and inside of it one for the change alone.
    whole: ExitStack = field(default_factory=ExitStack)
    view: ExitStack = field(default_factory=ExitStack)
    may_change: bool = False

    @classmethod
    def begin(cls, request: HttpRequest) -> "OpenUse":
        return cls(
            request_id=request.request_id,  # type: ignore[attr-defined]
            at=timezone.now(),
            method=(request.method or "")[:10],
            target=request_context.target(request),
            ip=request.client_address,  # type: ignore[attr-defined]
            user_agent=request_context.user_agent(request),
        )

    def begin_change(self) -> None:
        """From here on, what is changed is committed together with the entry of this use, or not at all.

        Called when the token is checked and the body is there: on SQLite the transaction holds the one write lock, for
        which neither strangers nor slow callers may make anyone wait.
        """
        self.whole.enter_context(transaction.atomic())
        self.view.enter_context(transaction.atomic())
        self.may_change = True

    def end_change(self, *, keep: bool) -> None:
        """Ends the change. The entry that tells of a refusal stays although what the view began goes."""
        if self.may_change and not keep:
            transaction.set_rollback(True)
        self.view.close()

    def duration_ms(self) -> int:
        return round((time.perf_counter() - self._clock) * 1000)


def commit(use: OpenUse, *, status: int, code: str | None) -> None:
    """Writes the entry of a finished use. Outside of a transaction it is on disk when this returns; inside of one it
    is committed with the change that it tells of.

    ``code`` is the problem code of the answer, which is also the reason where the two lists share it.
    """
    token = use.token
    if token is None:
        raise ValueError("Only the use of a genuine token is logged.")
    connection = own_connection()
    row = _row(connection, use, token, status, code)
    if connection.in_atomic_block:
        _insert([row])
    else:
        _group_commit.commit(row)
    # Not of a token that was refused: one that is blocked for lack of use must not come alive by being tried.
    if use.was_accepted and token.last_use_is_stale(use.at):
        _note_last_use(token, use, may_fail=not connection.in_atomic_block)


def _note_last_use(token: "Token", use: OpenUse, *, may_fail: bool) -> None:
    """A comfort, and no part of the promise: when the entry is committed, the answer is not held back for it."""
    try:
        token.mark_used(at=use.at, ip=use.ip)
    except (DatabaseError, InterfaceError) as error:
        if not may_fail:
            raise
        logger.warning("The last use of token %s could not be noted: %s", token.pk, error)


def _row(connection: BaseDatabaseWrapper, use: OpenUse, token: "Token", status: int, code: str | None) -> Row:
    """The entry's values in the order of `_COLUMNS`, as the database takes them."""
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
        (TokenUse.Outcome.ALLOWED if status < 400 else TokenUse.Outcome.REFUSED).value,
        _reason(status, code).value,
        use.ip,
        use.user_agent,
        use.duration_ms(),
    )


_COLUMNS = (
    "request_id, at, token_id, token_name, scope, owner_id, owner_email, organization_id, account, method, target, "
    "status, outcome, reason, ip, user_agent, duration_ms"
)


@lru_cache(maxsize=MAX_ROWS)
def _statement(rows: int) -> str:
    one = f"({', '.join(['%s'] * len(_COLUMNS.split(', ')))})"
    return f'INSERT INTO "{TokenUse._meta.db_table}" ({_COLUMNS}) VALUES {", ".join([one] * rows)}'  # noqa: S608


def _insert(rows: list[Row]) -> None:
    """One statement, which outside of a transaction is a transaction of its own."""
    with prepared_cursor(own_connection()) as cursor:
        cursor.execute(_statement(len(rows)), [value for row in rows for value in row])


_group_commit = GroupCommit(_insert)


def _reason(status: int, code: str | None) -> TokenUse.Reason:
    if status < 400:
        return TokenUse.Reason.OK
    if code in TokenUse.Reason.values:
        return TokenUse.Reason(code)
    if status >= 500:
        return TokenUse.Reason.ERROR
    return _REASONS_BY_STATUS.get(status, TokenUse.Reason.INVALID_REQUEST)
