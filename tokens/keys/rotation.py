"""Rotation: a new key signs, older keys continue to verify."""

from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from tokens.keys import files
from tokens.keys.ring import KeysFromEnvironment, are_from_environment, key_ring, retirement_lock
from tokens.keys.signing_key import SigningKey, generate_key

# How long services that verify tokens may keep the published keys.
JWKS_MAX_AGE = timedelta(minutes=5)
# How long a new key is published before it signs, so that services know it by then. A cache may
# hand out its copy just before that is too old, and the next cache keeps it as long again. Five minutes more are for
# clocks that differ.
PUBLISHED_BEFORE = 2 * JWKS_MAX_AGE + timedelta(minutes=5)


class RotationUnfinished(Exception):
    """The last rotation's ``key`` is published and does not sign yet."""

    def __init__(self, key: SigningKey) -> None:
        super().__init__(key)
        self.key = key


def plan_rotation() -> SigningKey:
    """Creates and publishes a new key, which signs after `PUBLISHED_BEFORE` in every process.

    Raises ``KeysFromEnvironment`` or ``RotationUnfinished``.
    """
    _refuse_keys_from_environment()
    # Without a lock, two at once would both find that no key waits.
    with retirement_lock():
        waiting = key_ring().waiting
        if waiting is not None:
            raise RotationUnfinished(waiting)
        return files.write(_new_key(), signs_from=timezone.now() + PUBLISHED_BEFORE)


def rotate() -> SigningKey:
    """Lets another key sign from now on, in every process: the one that waits, or a new one.

    Raises ``KeysFromEnvironment``.
    """
    _refuse_keys_from_environment()
    waiting = key_ring().waiting
    if waiting is None:
        return files.write(_new_key(), signs_from=timezone.now())
    return files.set_signs_from(waiting, timezone.now())


def _new_key() -> SigningKey:
    return generate_key(settings.TOKEN_SIGNING_ALGORITHM)


def _refuse_keys_from_environment() -> None:
    if are_from_environment():
        minutes = PUBLISHED_BEFORE // timedelta(minutes=1)
        raise KeysFromEnvironment(
            "The keys come from TOKEN_SIGNING_KEYS. Add a new key there after the others and restart every process, "
            f"so that all of them know and publish it. Wait {minutes} minutes, because other services may keep the "
            "published keys for that long. Then move the new key to the first place and restart again: it signs from "
            "then on."
        )
