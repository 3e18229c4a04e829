"""Replaces the name and the addresses of an erased person in webhooks and what they send (`accounts/erasure.py`)."""

import json
from collections.abc import Iterator
from functools import partial

from accounts.erasure import Erased, replace_in_rows
from accounts.models import Webhook, WebhookDelivery
from accounts.notifications.erasure import in_details


def erase(erased: Erased) -> Iterator[int]:
    rows = Webhook.objects.filter(organization=erased.person.organization)
    yield from replace_in_rows(erased, rows, ["description"])


def erase_deliveries(erased: Erased) -> Iterator[int]:
    """Also those that wait: the receiver gets the pseudonym. Each attempt signs what it sends."""
    rows = WebhookDelivery.objects.filter(webhook__organization=erased.person.organization)
    yield from replace_in_rows(erased, rows, ["payload"], replace=partial(_in_payload, erased))


def _in_payload(erased: Erased, payload: str) -> str:
    """Reads the JSON, because it has other letters than those of English in another form."""
    before = json.loads(payload)
    after = erased.value(before)
    data = before["data"]
    # Those of notifications have a kind, and the address of the person who is told.
    if "kind" not in data and "details" in data:
        after["data"]["details"] = erased.details(data["details"], actor_email=data.get("user_email", ""))
    if after == before:
        return payload
    if "kind" in data and isinstance(data.get("details"), dict):
        after["data"]["details"] = in_details(erased, data["details"])
    return json.dumps(after)
