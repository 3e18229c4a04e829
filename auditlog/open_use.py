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
    """A request that has a token in its ``Authorization`` header or in its body, which may turn out to be genuine.

    The token check sets ``was_looked_at`` when it begins, ``token`` once the token is genuine, and ``was_accepted``
    when nothing about the token itself forbids its use. With ``service_id``, the request is one to this service, and
    ``method`` and ``target`` are those that its proxy says.

    ``is_told_by_service``: a service asks about a token that it was sent. Then the answer's headers say nothing about
    the token. ``is_from_client``: whether ``ip`` is the address that uses the token, and not that of the service.
    ``refusal``: the status and the code to log, if the status of the answer is another one: a service is told with
    200 that a token is not good (RFC 7662 section 2.2).
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
    is_told_by_service: bool = False
    is_from_client: bool = True
    refusal: tuple[int, str] | None = None
    _clock: float = field(default_factory=time.perf_counter)

    @property
    def client_ip(self) -> str | None:
        """The address that uses the token; ``None`` if it is not known."""
        return self.ip if self.is_from_client else None

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
