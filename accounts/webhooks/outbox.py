"""Puts what happened into the outbox of webhooks.

The worker does it, from the activity log and from the notifications, and remembers how far it has read them. Writing
the rows in the transaction of each event would make people wait for them: every action would read the organization's
webhooks, and a change of 500 tokens would write 500 rows for each webhook. Nothing is lost, because a place is only
moved in the transaction that writes the rows, and entries that are not committed yet are waited for.
"""

import threading
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Model
from django.utils import timezone

from accounts.models import Notification, Webhook, WebhookDelivery
from accounts.webhooks.events import ACTIVITY, payload_of, type_of
from auditlog import log_places
from auditlog.final_entries import StillWriting, final_until
from auditlog.models import Activity
from core.db.sqlite_turns import job_transaction

EVERY = timedelta(seconds=2)
# Entries that one transaction handles.
BATCH = 100
# After this time, a delivery is given up.
LASTS = timedelta(days=3)

READERS: tuple[tuple[str, type[Model]], ...] = (
    ("webhooks: activity", Activity),
    ("webhooks: notifications", Notification),
)


def fill(stopping: threading.Event | None = None) -> None:
    """Reads what is there now."""
    for reader, log in READERS:
        try:
            place = log_places.place_of(reader, log)
            until = final_until(log, patience=log_places.WAIT_FOR_WRITERS_SECONDS)
        except StillWriting:
            continue
        while place.last_id < until and not (stopping and stopping.is_set()):
            webhooks = _active_webhooks()
            rows = _next_rows(log, place.last_id, until) if webhooks else []
            with job_transaction():
                if not log_places.advance(place, rows[-1].pk if len(rows) == BATCH else until):
                    break
                _put(rows, webhooks)


def _active_webhooks() -> dict[UUID | None, list[Webhook]]:
    found: defaultdict[UUID | None, list[Webhook]] = defaultdict(list)
    for webhook in Webhook.objects.active():
        found[webhook.organization_id].append(webhook)
    return found


def _next_rows(log: type[Model], after: int, until: int) -> list[Activity | Notification]:
    rows: Any = log._default_manager.filter(pk__gt=after, pk__lte=until).order_by("pk")
    return list((rows.select_related("person") if log is Notification else rows)[:BATCH])


def _put(rows: Sequence[Activity | Notification], webhooks: dict[UUID | None, list[Webhook]]) -> None:
    new = []
    for row in rows:
        if getattr(row, "unreadable", ()):
            # Somebody has changed the stored entry. Verifying the log reports it.
            continue
        is_entry = isinstance(row, Activity)
        organization_id = row.organization_id if isinstance(row, Activity) else row.person.organization_id
        event = ACTIVITY if is_entry else row.kind  # type: ignore[union-attr]
        wanted = [
            webhook
            for webhook in webhooks.get(organization_id, [])
            if event in webhook.event_ids and webhook.created_at <= row.at
        ]
        if wanted:
            payload = payload_of(row)
            new += [delivery(webhook, row.public_id, type_of(row), payload) for webhook in wanted]
    WebhookDelivery.objects.bulk_create(new, ignore_conflicts=True)


def delivery(webhook: Webhook, event_id: UUID, event_type: str, payload: str) -> WebhookDelivery:
    now = timezone.now()
    return WebhookDelivery(
        webhook=webhook,
        event_id=event_id,
        type=event_type,
        payload=payload,
        created_at=now,
        next_attempt_at=now,
        expires_at=now + LASTS,
    )
