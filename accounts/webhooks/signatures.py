"""Secrets and signatures as Standard Webhooks says (https://www.standardwebhooks.com/)."""

import base64
import hashlib
import hmac
import os
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from django.views.decorators.debug import sensitive_variables

from accounts.models import Webhook
from core.encryption import Box, Context

BOX = Box(setting="WEBHOOK_SECRETS_KEYS", file_name="webhook-secrets.key")
PREFIX = "whsec_"
SECRET_BYTES = 32
# How long both secrets sign after one was replaced.
OVERLAP = timedelta(days=1)


def new_secret() -> str:
    return PREFIX + base64.b64encode(os.urandom(SECRET_BYTES)).decode()


@sensitive_variables()
def seal(secret: str, webhook_id: UUID) -> str:
    return BOX.encrypt(secret, _context(webhook_id))


def seal_again(sealed: str, webhook_id: UUID) -> str:
    """Encrypts with the first key. Raises ``SecretUnreadable``."""
    return BOX.encrypt_again(sealed, _context(webhook_id))


@sensitive_variables()
def signature(secret: str, message_id: str, timestamp: int, payload: str) -> str:
    """``v1,`` and the HMAC-SHA256 of ``id.timestamp.payload`` in base64. Raises ``ValueError`` for another secret."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        raise ValueError("Not a secret of a webhook") from None
    digest = hmac.new(key, f"{message_id}.{timestamp}.{payload}".encode(), hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


@sensitive_variables()
def headers_for(webhook: Webhook, *, event_id: UUID, payload: str, at: datetime) -> dict[str, str]:
    """The headers of a request: with two signatures on the day after the secret was replaced.

    Raises ``SecretUnreadable``.
    """
    message_id, timestamp = f"evt_{event_id}", int(at.timestamp())
    signed = (signature(secret, message_id, timestamp, payload) for secret in _secrets(webhook, at))
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signed),
    }


def _secrets(webhook: Webhook, at: datetime) -> Iterable[str]:
    yield BOX.decrypt(webhook.secret, _context(webhook.pk))
    if webhook.previous_secret and webhook.previous_secret_until and at < webhook.previous_secret_until:
        yield BOX.decrypt(webhook.previous_secret, _context(webhook.pk))


def _context(webhook_id: UUID) -> Context:
    return ("webhook", str(webhook_id))
