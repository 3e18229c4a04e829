"""The use of a token while its request is being answered; `journal.py` then writes its log entry."""

import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime

from django.http import HttpRequest
from django.utils import timezone

from core.http import request_context
from core.types import AccessToken


@dataclass
class OpenUse:
    """A request with an ``Authorization`` header, which may turn out to use a genuine token.

    The token check sets ``was_looked_at`` when it begins, ``token`` once the token is genuine, and ``was_accepted``
    when nothing about the token itself forbids its use. With ``service_id``, the request is one to this service, and
    ``method`` and ``target`` are those that its proxy says.
    """

    request_id: uuid.UUID
    at: datetime
    method: str
    target: str
    ip: str | None
    user_agent: str
    token: AccessToken | None = None
    service_id: uuid.UUID | None = None
    was_looked_at: bool = False
    was_accepted: bool = False
    _clock: float = field(default_factory=time.perf_counter)

    def duration_ms(self) -> int:
        return round((time.perf_counter() - self._clock) * 1000)


def open_use(request: HttpRequest) -> OpenUse:
    """Starts the record of this request's token use."""
    use = OpenUse(
        request_id=request.request_id,  # type: ignore[attr-defined]
        at=timezone.now(),
        method=(request.method or "")[:10],
        target=request_context.target(request),
        ip=request.client_address,  # type: ignore[attr-defined]
        user_agent=request_context.user_agent(request),
    )
    request.token_use = use  # type: ignore[attr-defined]
    return use


def use_of(request: HttpRequest) -> OpenUse:
    """The use that the middleware opened for this request. Fails if there is none: no use may go unlogged."""
    use: OpenUse = request.token_use  # type: ignore[attr-defined]
    return use


def token_in_use(request: HttpRequest | None) -> AccessToken | None:
    """The genuine token that this request was made with; ``None`` in a browser session and outside of requests."""
    use: OpenUse | None = getattr(request, "token_use", None)
    return use.token if use else None
