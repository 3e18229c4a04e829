"""Retirement: how long a key is needed, and removing it by schedule, by hand or in an emergency."""

import logging
import threading
from datetime import datetime, timedelta

from django.utils import timezone

from tokens.keys import files
from tokens.keys.ring import KeyRing, KeysFromEnvironment, are_from_environment, key_ring, retirement_lock
from tokens.keys.rotation import rotate
from tokens.keys.signing_key import SigningKey, ids_like
from tokens.models import Token
from tokens.querysets import TokenQuerySet

logger = logging.getLogger(__name__)

EVERY = timedelta(hours=1)
# How long a key is kept after its last token has ended. It allows for clocks that differ, and for a day it lets uses of
# the ended tokens reach their owners' logs.
GRACE = timedelta(days=1)


class KeyNeeded(Exception):
    """``count`` live tokens were signed with this key."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.count = count


class KeySigns(Exception):
    """This key signs new tokens."""


def live_tokens_of(key_id: str) -> TokenQuerySet:
    return signed_with(key_id).live()


def signed_with(key_id: str) -> TokenQuerySet:
    return Token.objects.filter(signing_key_id__in=ids_like(key_id))


def retires_at(ring: KeyRing, key: SigningKey) -> datetime | None:
    """When the worker removes the key, unless its tokens are expired earlier.

    ``None``: the worker does not remove it, because it signs or comes from the environment.
    """
    superseded_at = ring.superseded_at(key)
    if superseded_at is None:
        return None
    of_key = signed_with(key.id)
    by_time = of_key.filter(revoked_at__isnull=True).order_by("-expires_at").values_list("expires_at", flat=True)
    early = of_key.filter(revoked_at__isnull=False).order_by("-revoked_at").values_list("revoked_at", flat=True)
    ends = [superseded_at, by_time.first(), early.first()]
    return max(end for end in ends if end is not None) + GRACE


def retire_unused_job(stopping: threading.Event) -> None:
    retire_unused()


def retire_unused() -> list[str]:
    """Removes each key that no longer signs and whose last token ended at least `GRACE` ago; returns their ids."""
    retired = []
    with retirement_lock():
        ring, now = key_ring(), timezone.now()
        for key in ring.keys:
            end = retires_at(ring, key)
            if end is not None and end <= now:
                remove(key.id)
                retired.append(key.id)
                logger.info("Retired the signing key %s: its last token has ended", key.id)
    return retired


def retire(key_id: str) -> None:
    """Removes a key with which no live token was signed. Raises ``KeySigns``, ``KeyNeeded`` or
    ``KeysFromEnvironment``."""
    with retirement_lock():
        if key_id in key_ring().current.ids:
            raise KeySigns
        if count := live_tokens_of(key_id).count():
            raise KeyNeeded(count)
        remove(key_id)


def retire_at_once(key_id: str) -> SigningKey | None:
    """Removes a key that someone else may have, even if tokens need it: nothing signed with it is genuine any more.

    If the key signs, the key that waits or a new one signs from now on and is returned. The caller expires the key's
    tokens; all of them are recorded when this returns. Raises ``KeysFromEnvironment``.
    """
    new = rotate() if key_id in key_ring().current.ids else None
    with retirement_lock():
        remove(key_id)
    return new


def remove(key_id: str) -> None:
    """Removes the key: nothing signed with it is genuine any more, in every process. Raises ``KeysFromEnvironment``.

    The caller holds `retirement_lock` and has checked that the key may go.
    """
    if are_from_environment():
        raise KeysFromEnvironment(
            "The keys come from TOKEN_SIGNING_KEYS. Remove this key there and restart all processes of all machines."
        )
    files.remove(key_id)
