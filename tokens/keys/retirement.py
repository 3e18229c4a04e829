"""How long signing keys are needed, and how they go: by themselves, by hand, and in an emergency."""

import logging
import threading
from datetime import datetime, timedelta

from django.utils import timezone

from tokens.keys import signing_keys
from tokens.keys.signing_keys import KeyRing, SigningKey
from tokens.models import Token
from tokens.querysets import TokenQuerySet

logger = logging.getLogger(__name__)

EVERY = timedelta(hours=1)
# From the end of its last token on. For clocks that do not agree; and for a day, uses of tokens that ended last still
# reach their owners' logs.
GRACE = timedelta(days=1)


class KeyIsNeeded(Exception):
    """Live tokens were signed with this key, ``count`` of them."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.count = count


class KeySigns(Exception):
    """This is the key that signs new tokens."""


def live_tokens_of(key_id: str) -> TokenQuerySet:
    return signed_with(key_id).live()


def signed_with(key_id: str) -> TokenQuerySet:
    return Token.objects.filter(signing_key_id__in=signing_keys.ids_like(key_id))


def retires_at(ring: KeyRing, key: SigningKey) -> datetime | None:
    """When the key goes by itself, if nobody expires its tokens before. ``None``: it stays, because it signs or because
    whoever sets the environment must take it out there."""
    superseded_at = ring.superseded_at(key)
    if superseded_at is None:
        return None
    of_key = signed_with(key.id)
    by_time = of_key.filter(revoked_at__isnull=True).order_by("-expires_at").values_list("expires_at", flat=True)
    early = of_key.filter(revoked_at__isnull=False).order_by("-revoked_at").values_list("revoked_at", flat=True)
    ends = [superseded_at, by_time.first(), early.first()]
    return max(end for end in ends if end is not None) + GRACE


def look_after(stopping: threading.Event) -> None:
    """What each worker does once an hour."""
    retire_unused()


def retire_unused() -> list[str]:
    """Retires each key that was superseded, and whose last token ended, a day ago or longer; returns their ids."""
    retired = []
    with signing_keys.nobody_signs():
        ring, now = signing_keys.key_ring(), timezone.now()
        for key in ring.keys:
            end = retires_at(ring, key)
            if end is not None and end <= now:
                signing_keys.retire(key.id)
                retired.append(key.id)
                logger.info("Retired the signing key %s: its last token has ended", key.id)
    return retired


def retire(key_id: str) -> None:
    """Retires a key that no live token was signed with. Raises ``KeySigns``, ``KeyIsNeeded`` or ``KeysAreGiven``."""
    with signing_keys.nobody_signs():
        if key_id in signing_keys.key_ring().current.ids:
            raise KeySigns
        if count := live_tokens_of(key_id).count():
            raise KeyIsNeeded(count)
        signing_keys.retire(key_id)


def retire_at_once(key_id: str) -> SigningKey | None:
    """Retires a key that strangers may have, whatever needs it: nothing signed with it is genuine any more.

    If it is the one that signs, another one signs at once and is returned: the one that waits, or a new one. Its tokens
    are the caller's to end; when this has returned, all of them are on record. Raises ``KeysAreGiven``.
    """
    new = signing_keys.rotate() if key_id in signing_keys.key_ring().current.ids else None
    with signing_keys.nobody_signs():
        signing_keys.retire(key_id)
    return new
