"""The durable writer of the authentication log.

``OpenUse`` is a use of a token while its request is being answered; ``commit`` makes it an entry and returns when the
entry is on disk, or raises what the database raised. `docs/authentication-log.md` tells the whole path.
"""

import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from auditlog.models import TokenUse
from opsera_portal import request_context

if TYPE_CHECKING:
    from tokens.models import Token

# Reasons that a status stands for where nothing more exact is known.
_REASONS_BY_STATUS = {
    401: TokenUse.Reason.FORBIDDEN,
    403: TokenUse.Reason.FORBIDDEN,
    404: TokenUse.Reason.NOT_FOUND,
    429: TokenUse.Reason.THROTTLED,
}


@dataclass
class OpenUse:
    """A request that may turn out to use a token. The check of the token fills ``token`` in, once it is genuine."""

    request_id: uuid.UUID
    at: datetime
    method: str
    target: str
    ip: str | None
    user_agent: str
    token: "Token | None" = None
    was_looked_at: bool = False
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


def commit(use: OpenUse, *, status: int, code: str | None) -> TokenUse:
    """Writes the entry of a finished use; durable when this returns outside of a transaction.

    ``code`` is the problem code of the answer, which is also the reason where the two lists share it.
    """
    token = use.token
    if token is None:
        raise ValueError("Only the use of a genuine token is logged.")
    entry = TokenUse(
        request_id=use.request_id,
        at=use.at,
        token=token,
        token_name=token.name,
        scope=token.scope,
        owner=token.owner,
        owner_email=token.owner.email,
        organization_id=token.organization_id,
        account=token.organization.slug,
        method=use.method,
        target=use.target,
        status=status,
        outcome=TokenUse.Outcome.ALLOWED if status < 400 else TokenUse.Outcome.REFUSED,
        reason=_reason(status, code),
        ip=use.ip,
        user_agent=use.user_agent,
        duration_ms=use.duration_ms(),
    )
    if not token.last_use_is_stale(use.at):
        entry.save(force_insert=True)
        return entry
    with transaction.atomic():
        entry.save(force_insert=True)
        token.mark_used(at=use.at, ip=use.ip)
    return entry


def _reason(status: int, code: str | None) -> TokenUse.Reason:
    if status < 400:
        return TokenUse.Reason.OK
    if code in TokenUse.Reason.values:
        return TokenUse.Reason(code)
    if status >= 500:
        return TokenUse.Reason.ERROR
    return _REASONS_BY_STATUS.get(status, TokenUse.Reason.INVALID_REQUEST)
