"""The events that a webhook can have, and what is sent about each: never a token or a secret."""

import json
from datetime import datetime
from typing import Any

from django.utils.translation import gettext_lazy

from accounts.models import Notification
from accounts.notifications.kinds import KINDS, WEBHOOK_FAILED
from auditlog.api.serializers import ActivitySerializer
from auditlog.models import Activity
from core.http.request_context import without_tokens
from core.text import Text

ACTIVITY = "activity"
TEST = "test"

# What a webhook can be told, each with its label. Not that it failed itself.
EVENTS: dict[str, Text] = {kind.id: kind.label for kind in KINDS if kind is not WEBHOOK_FAILED} | {
    ACTIVITY: gettext_lazy("Every entry of the activity log")
}
CHOICES = list(EVENTS.items())


def type_of(row: Activity | Notification) -> str:
    """`notification.new_network`, `activity.token.issued`."""
    return f"activity.{row.action}" if isinstance(row, Activity) else f"notification.{row.kind}"


def payload_of(row: Activity | Notification) -> str:
    if isinstance(row, Activity):
        data = {name: value for name, value in ActivitySerializer(row).data.items() if name not in _REPEATED}
        return payload(type_of(row), row.at, data)
    data = {
        "id": str(row.public_id),
        "kind": row.kind,
        "user_id": str(row.person_id),
        "user_email": row.person.email,
        "token_id": str(row.token_id) if row.token_id else None,
        "token_name": row.token_name,
        "details": row.details,
    }
    return payload(type_of(row), row.at, data)


# Published names of the log routes that say the same again.
_REPEATED = {"_id", "createdAt", "updatedAt"}


def payload(event_type: str, at: datetime, data: dict[str, Any]) -> str:
    """JSON in one line. Texts of people can contain a token by mistake, so anything like one is removed."""
    text = json.dumps({"type": event_type, "timestamp": at.isoformat(), "data": data}, default=str)
    return without_tokens(text)
