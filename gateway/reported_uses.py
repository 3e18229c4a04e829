"""Uses of tokens that a service reports, because it checks tokens itself and the portal doesn't see its requests."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts.access_tokens import access_tokens
from auditlog import journal
from auditlog.models import TokenUse
from auditlog.open_use import OpenUse
from core.http.request_context import clean_agent
from core.types import AccessToken
from gateway.asked_requests import AskedRequest
from gateway.models import Service

MOST_AT_ONCE = 1000
# The clocks of two machines differ by some seconds.
MOST_AHEAD = timedelta(minutes=1)
# Older ones could be from before what was already sealed, counted and removed.
OLDEST = timedelta(days=7)


@dataclass(frozen=True)
class ReportedUse:
    """``id`` is chosen by the service, and becomes the id of the entry. ``path`` is percent-encoded."""

    id: uuid.UUID
    token_id: uuid.UUID
    at: datetime
    method: str
    path: str
    status: int
    ip: str | None = None
    user_agent: str = ""


@dataclass(frozen=True)
class Counts:
    """``duplicates``: their ids are in the log already. ``unknown``: their tokens are not for this service."""

    stored: int
    duplicates: int
    unknown: int


def report_uses(service: Service, uses: Sequence[ReportedUse]) -> Counts:
    """Writes them to the log of the tokens' owners. When this returns, the new ones are on disk.

    The same id is written once, so a batch can be sent again. Raises ``ValidationError`` by field for impossible times,
    and writes nothing then.
    """
    now = timezone.now()
    places = {use.id: place for place, use in reversed([*enumerate(uses)])}
    logged = _logged(places)
    new = {use_id: uses[place] for use_id, place in places.items() if use_id not in logged}
    tokens = access_tokens().of_service(service.pk, {use.token_id for use in new.values()})
    _check_times({places[use.id]: use for use in new.values()}, tokens, now)
    known = [use for use in new.values() if use.token_id in tokens]
    stored = journal.commit_reported(
        [(_open(use, tokens[use.token_id], service), use.status) for use in known], reported_at=now
    )
    unknown = len(new) - len(known)
    return Counts(stored=stored, duplicates=len(uses) - unknown - stored, unknown=unknown)


def _logged(ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    return set(TokenUse.objects.filter(request_id__in=list(ids)).order_by().values_list("request_id", flat=True))


def _check_times(by_place: Mapping[int, ReportedUse], tokens: Mapping[uuid.UUID, AccessToken], now: datetime) -> None:
    errors = {
        f"uses.{place}.at": why
        for place, use in sorted(by_place.items())
        if (why := _wrong_time(use, tokens.get(use.token_id), now))
    }
    if errors:
        raise ValidationError(errors)


def _wrong_time(use: ReportedUse, token: AccessToken | None, now: datetime) -> str:
    if use.at > now + MOST_AHEAD:
        return "This time is in the future."
    if use.at < now - OLDEST:
        return f"Uses can be reported for {OLDEST.days} days."
    if token is not None and use.at < token.created_at:
        return "The token was created later."
    return ""


def _open(use: ReportedUse, token: AccessToken, service: Service) -> OpenUse:
    """As the portal would have seen it. A refused use doesn't count as one when the policy looks for unused tokens."""
    asked = AskedRequest(use.method, use.path)
    return OpenUse(
        request_id=use.id,
        at=use.at,
        method=asked.method_to_log,
        target=asked.target_to_log,
        ip=use.ip,
        user_agent=clean_agent(use.user_agent),
        token=token,
        service_id=service.pk,
        was_accepted=use.status < 400,
    )
