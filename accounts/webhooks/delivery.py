"""Sends what is in the outbox of webhooks. The worker does this in a separate thread.

An answer 2xx within 10 seconds means that the receiver has the event. Otherwise it is tried again for three days, with
growing pauses, then given up, and the Administrators are told. A webhook that has only failed for three days is paused.

Each event is sent at least once: if a worker is killed between the answer and its row, another one sends the event
again, with the same id.

A worker takes a webhook's events in order, one at a time, but an event that waits for its next attempt does not hold up
the others. Receivers must not rely on the order: an event that failed comes later, and two workers can send two events
of the same webhook at the same time.

A worker sends in sweeps: each webhook that has something due gets one call, up to `AT_ONCE` of them at a time, and then
the next sweep begins. So a webhook waits at most for one call of each of the others, however many events those have.
"""

import ipaddress
import logging
import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple
from uuid import UUID

import httpx
from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext

from accounts.models import User, Webhook, WebhookDelivery
from accounts.notifications.kinds import WEBHOOK_FAILED
from accounts.notifications.telling import News, tell
from accounts.roles import SiteRole
from accounts.webhooks import signatures
from accounts.webhooks.querysets import WebhookDeliveryQuerySet
from core.db.batches import batches_of, run_batches
from core.db.locks import lock_if_exists
from core.db.sqlite_turns import job_transaction
from core.encryption import SecretUnreadable
from core.http import fenced_call

logger = logging.getLogger(__name__)

EVERY = timedelta(seconds=2)
# Longer than one call can take.
LEASE = timedelta(minutes=2)
PAUSES = tuple(
    timedelta(seconds=seconds) for seconds in (5, 5 * 60, 30 * 60, *(hours * 3600 for hours in (2, 5, 10, 14, 20, 24)))
)
# Pauses are up to this much longer, so that the events of an outage don't come all at once.
JITTER = 0.2
PAUSED_AFTER = timedelta(days=3)
KEEP = timedelta(days=30)
# Webhooks to which a worker sends at the same time.
AT_ONCE = 8
# Rows that one transaction removes.
BATCH = 500
ANSWER_LIMIT_BYTES = 4 * 1024


class Answer(NamedTuple):
    """``status`` is ``None`` if there was no answer. ``error`` is empty if the receiver has the event."""

    status: int | None
    error: str


def check_url(url: str) -> None:
    """Raises ``ValueError`` with a sentence for the form.

    Without TLS, others could read the events. It is only accepted to an IP address that the operator allows.
    """
    fenced_call.check_url(url)
    parts = httpx.URL(url)
    if parts.scheme != "https" and not _is_allowed_address(parts.host):
        raise ValueError(gettext("The URL must start with https://."))


def _is_allowed_address(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in settings.HTTP_STEP_ALLOWED_NETWORKS)


def send_due(stopping: threading.Event) -> None:
    """Tries every delivery that is due, in sweeps. A webhook that fails gets no more calls until the next run."""
    failed: set[UUID] = set()
    served: set[UUID] = set()
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="webhook") as pool:
        while not stopping.is_set():
            claimed = list(_claim_each(failed | served))
            if not claimed and not served:
                return
            # If nothing else is due, the next sweep begins.
            served = served.union(row.webhook_id for row in claimed) if claimed else set()
            prepared = [(row, _prepared(row)) for row in claimed]
            calls = [(row, made if isinstance(made, Answer) else pool.submit(_send, made)) for row, made in prepared]
            for row, call in calls:
                answer = call if isinstance(call, Answer) else call.result()
                if answer.error:
                    failed.add(row.webhook_id)
                    _store_failure(row, answer)
                else:
                    _store_success(row, answer)


def pause_after(attempts: int) -> timedelta:
    """How long a delivery waits after its first, second, ... attempt, without jitter."""
    return PAUSES[min(attempts, len(PAUSES)) - 1]


def forget_old(stopping: threading.Event) -> None:
    """Removes deliveries after 30 days, also those that wait for a paused webhook."""
    remove(WebhookDelivery.objects.filter(created_at__lt=timezone.now() - KEEP), stopping=stopping)


def remove(rows: WebhookDeliveryQuerySet, *, stopping: threading.Event | None = None) -> None:
    """Removes these deliveries in short transactions, so that others can write in between."""
    found = list(rows.order_by("pk").values_list("pk", flat=True))
    for _ in run_batches((partial(_remove, batch) for batch in batches_of(found, BATCH)), stopping=stopping):
        pass


def _remove(ids: Sequence[int]) -> None:
    with job_transaction():
        WebhookDelivery.objects.filter(pk__in=ids).delete()


def _claim_each(excluded: set[UUID]) -> Iterator[WebhookDelivery]:
    """The next delivery of each webhook that is not excluded, up to ``AT_ONCE``."""
    taken = set(excluded)
    for _ in range(AT_ONCE):
        row = _claim_next(taken)
        if row is None:
            return
        taken.add(row.webhook_id)
        yield row


def _claim_next(taken: set[UUID]) -> WebhookDelivery | None:
    """Takes a delivery with a conditional update, so that only one of two workers gets it."""
    while True:
        now = timezone.now()
        found = WebhookDelivery.objects.due(now).exclude(webhook_id__in=taken).select_related("webhook").first()
        if found is None:
            return None
        if _taken(found).update(attempts=F("attempts") + 1, next_attempt_at=now + LEASE):
            found.attempts += 1
            return found


def _taken(row: WebhookDelivery) -> WebhookDeliveryQuerySet:
    """The row, if no other worker has taken it since."""
    waiting = WebhookDelivery.objects.filter(pk=row.pk, state=WebhookDelivery.State.WAITING)
    return waiting.filter(attempts=row.attempts)


def _prepared(row: WebhookDelivery) -> httpx.Request | Answer:
    """The signed request, or why there can be none."""
    try:
        check_url(row.webhook.url)
        signed = signatures.headers_for(row.webhook, event_id=row.event_id, payload=row.payload, at=timezone.now())
    except ValueError as error:
        return Answer(None, str(error))
    except SecretUnreadable:
        logger.error("The secret of webhook %s cannot be read. Was a key changed?", row.webhook_id)
        return Answer(None, gettext("The portal can't read the secret. Replace it."))
    headers = {"Content-Type": "application/json", "User-Agent": "Opsera-Portal", "Connection": "close", **signed}
    return httpx.Request("POST", row.webhook.url, headers=headers, content=row.payload.encode())


def _send(request: httpx.Request) -> Answer:
    try:
        response, _ = fenced_call.send(request, limit=ANSWER_LIMIT_BYTES, caller="webhooks")
    except fenced_call.CallFailed as error:
        return Answer(None, str(error)[:300])
    except Exception:
        logger.exception("An event could not be sent to a webhook")
        return Answer(None, gettext("The portal could not send this. The reason is in the server's log."))
    if 200 <= response.status_code < 300:
        return Answer(response.status_code, "")
    if 300 <= response.status_code < 400:
        return Answer(response.status_code, gettext("The receiver redirects, and the portal follows no redirects."))
    return Answer(response.status_code, gettext("The receiver did not accept it."))


def _store_success(row: WebhookDelivery, answer: Answer) -> None:
    waiting = WebhookDelivery.objects.filter(pk=row.pk, state=WebhookDelivery.State.WAITING)
    state = WebhookDelivery.State.DELIVERED
    waiting.update(state=state, last_status=answer.status, last_error="", ended_at=timezone.now())
    Webhook.objects.filter(pk=row.webhook_id, failing_since__isnull=False).update(failing_since=None)


def _store_failure(row: WebhookDelivery, answer: Answer) -> None:
    now = timezone.now()
    is_last = now >= row.expires_at
    changes: dict[str, object] = {"last_status": answer.status, "last_error": answer.error[:300]}
    if is_last:
        changes |= {"state": WebhookDelivery.State.FAILED, "ended_at": now}
    else:
        pause = pause_after(row.attempts) * (1 + JITTER * random.random())
        changes["next_attempt_at"] = min(now + pause, row.expires_at)
    with transaction.atomic():
        if not _taken(row).update(**changes):
            return
        webhook = lock_if_exists(Webhook.objects.all(), row.webhook_id)
        if webhook is None:
            return
        is_paused = _note_failure(webhook, now)
        if is_last and not is_paused:
            _tell_administrators(webhook, "given_up", once=f"{webhook.pk} {now:%Y-%m-%d}")


def _note_failure(webhook: Webhook, now: datetime) -> bool:
    """Remembers since when it fails, and pauses it after three days. Returns whether it did that."""
    if webhook.failing_since is None:
        Webhook.objects.filter(pk=webhook.pk).update(failing_since=now)
        return False
    if webhook.is_paused or now - webhook.failing_since < PAUSED_AFTER:
        return False
    Webhook.objects.filter(pk=webhook.pk).update(paused_at=now)
    _tell_administrators(webhook, "paused", once=f"{webhook.pk} {webhook.failing_since.isoformat()}")
    logger.warning("Webhook %s failed for three days and is paused", webhook.pk)
    return True


def _tell_administrators(webhook: Webhook, outcome: str, *, once: str) -> None:
    administrators = User.objects.active().filter(
        organization_id=webhook.organization_id, site_role=SiteRole.ADMINISTRATOR
    )
    details = {"host": webhook.host, "webhook_id": str(webhook.pk), "outcome": outcome}
    tell(
        News(WEBHOOK_FAILED, person_id, once, details=details)
        for person_id in administrators.values_list("pk", flat=True)
    )
