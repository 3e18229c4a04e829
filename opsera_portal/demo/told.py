"""What the people of the demo were told, and a webhook to the echo endpoint."""

import uuid
from collections.abc import Mapping
from datetime import timedelta

from django.utils import timezone

from accounts.models import Notification, User, Webhook, WebhookDelivery
from accounts.notifications.kinds import ENDED_IN_USE, FIRST_USE, MANY_REFUSALS, NEW_NETWORK
from accounts.webhooks import outbox, signatures
from accounts.webhooks.events import EVENTS, TEST, payload, payload_of, type_of
from opsera_portal.demo import echo
from tokens.models import Token

# Kind, the token's name, how many days ago, whether it was read, and the details.
TOLD = (
    (FIRST_USE, "Status dashboard", 39, True, {"ip": "198.51.100.4"}),
    (MANY_REFUSALS, "Status dashboard", 17, True, {"ip": "198.51.100.4", "count": 20}),
    (ENDED_IN_USE, "Old laptop", 6, False, {"ip": "192.0.2.99"}),
    (NEW_NETWORK, "Status dashboard", 2, False, {"ip": "192.0.2.200", "network": "192.0.2.0/24"}),
)


def tell(people: Mapping[str, User]) -> None:
    for kind, name, days, is_read, details in TOLD:
        at = timezone.now() - timedelta(days=days)
        token = Token.objects.get(owner=people["user"], name=name)
        Notification.objects.create(
            person=people["user"],
            kind=kind.id,
            once=str(token.pk),
            at=at,
            token_id=token.pk,
            token_name=name,
            details=details,
            read_at=at + timedelta(hours=2) if is_read else None,
        )


def add_webhook(administrator: User, echo_port: int) -> None:
    """With what it was sent already."""
    webhook = Webhook(
        organization=administrator.own_organization,
        url=f"http://{echo.ADDRESS}:{echo_port}/webhook",
        description="Echo",
        events=" ".join(EVENTS),
        created_at=timezone.now() - timedelta(days=20),
    )
    webhook.secret = signatures.seal(signatures.new_secret(), webhook.pk)
    webhook.save()
    sent = {"webhook_id": str(webhook.pk), "requested_by": administrator.email}
    _delivered(webhook, uuid.uuid4(), TEST, payload(TEST, webhook.created_at, sent), days=20)
    for row in Notification.objects.filter(at__gte=webhook.created_at).select_related("person").order_by("at"):
        _delivered(webhook, row.public_id, type_of(row), payload_of(row), days=(timezone.now() - row.at).days)


def _delivered(webhook: Webhook, event_id: uuid.UUID, event_type: str, text: str, *, days: int) -> None:
    row = outbox.delivery(webhook, event_id, event_type, text)
    row.created_at = timezone.now() - timedelta(days=days)
    row.state, row.attempts, row.last_status = WebhookDelivery.State.DELIVERED, 1, 200
    row.ended_at = row.created_at + timedelta(seconds=1)
    row.save(force_insert=True)


def set_port(echo_port: int) -> None:
    Webhook.objects.filter(url__startswith=f"http://{echo.ADDRESS}:").update(
        url=f"http://{echo.ADDRESS}:{echo_port}/webhook"
    )
