"""The installation's signing keys as a ring: one of them signs, all of them verify.

The keys are files in a directory outside of the database (`tokens/keys/files.py`) or come from the environment
(``TOKEN_SIGNING_KEYS``, PEM texts one after the other, the first one signs). They are never ``SECRET_KEY``. A key's id
is its RFC 7638 thumbprint, so nobody can choose it and it reveals nothing.

`key_ring` checks at each call whether the directory has changed, so that every process follows a rotation at once.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from tokens.keys import files
from tokens.keys.signing_key import SigningKey, describe, generate_key, read_pem

_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.+?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)


class KeysFromEnvironment(Exception):
    """The keys come from the environment and are changed there. The message says how."""


@dataclass(frozen=True)
class KeyRing:
    """``keys`` in this order: those that wait to sign, the one that signs, older ones."""

    keys: tuple[SigningKey, ...]

    @property
    def current(self) -> SigningKey:
        """The key that signs now. If all of them wait, because the clock was set back, the oldest one."""
        return next((key for key in self.keys if not key.is_waiting), self.keys[-1])

    @property
    def waiting(self) -> SigningKey | None:
        """The key that signs next."""
        position = self.keys.index(self.current)
        return self.keys[position - 1] if position else None

    def find(self, key_id: object) -> SigningKey | None:
        return next((key for key in self.keys if key_id in (key.id, key.thumbprint)), None)

    def superseded_at(self, key: SigningKey) -> datetime | None:
        """When another key starts or started to sign in its place; ``None`` if none does, or if that is not known."""
        position = self.keys.index(key)
        return self.keys[position - 1].signs_from if position else None

    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """The public halves as a JWK set (RFC 7517 section 5), with the key that signs first."""
        keys = sorted(self.keys, key=lambda key: key != self.current)
        return {"keys": [{**key.public_jwk, "kid": key_id} for key in keys for key_id in sorted(key.ids, reverse=True)]}


_lock = threading.Lock()
_cached: tuple[object, KeyRing] | None = None


def key_ring() -> KeyRing:
    """The keys as they are now. Creates the first one if there is none."""
    global _cached
    if _cached is None or _cached[0] != _state():
        with _lock:
            _cached = _load_unchanged()
    return _cached[1]


def are_from_environment() -> bool:
    return bool(settings.TOKEN_SIGNING_KEYS)


@contextmanager
def signing_lock() -> Iterator[None]:
    """Hold it while a token is signed and recorded. Many can hold it at once; meanwhile no key is retired.

    Put it around the transaction that records the token. Otherwise a command that retires a key would not see that the
    new token needs it.
    """
    with _locked(exclusive=False):
        yield


@contextmanager
def retirement_lock() -> Iterator[None]:
    """Waits until every token that was signed is recorded, and lets nobody sign while it is held."""
    with _locked(exclusive=True):
        yield


@contextmanager
def _locked(*, exclusive: bool) -> Iterator[None]:
    """Keys from the environment need no lock: no process retires them."""
    if are_from_environment():
        yield
        return
    # Creates the directory.
    key_ring()
    with files.locked(exclusive=exclusive):
        yield


def _load_unchanged() -> tuple[object, KeyRing]:
    """The state of the directory and its keys. Reads again if a key is added or retired meanwhile: the old keys must
    not be remembered with the new state. Reading may itself create the first key."""
    while True:
        state = _state()
        try:
            ring = _load()
        except FileNotFoundError as error:
            # Retired after it was listed and before it was read; or a link that leads nowhere.
            if _state() == state:
                raise ImproperlyConfigured(f"The signing key {error.filename} cannot be read.") from None
            continue
        if _state() == state:
            return state, ring


def _state() -> object:
    return hash(settings.TOKEN_SIGNING_KEYS) if are_from_environment() else files.state()


@sensitive_variables()
def _load() -> KeyRing:
    if are_from_environment():
        text = settings.TOKEN_SIGNING_KEYS.replace("\\n", "\n")
        found = _PEM.findall(text)
        if not found or len(found) != text.count("-----BEGIN"):
            raise ImproperlyConfigured("TOKEN_SIGNING_KEYS must hold private keys in PEM form, each of them whole.")
        return KeyRing(tuple(describe(read_pem(pem.encode(), "TOKEN_SIGNING_KEYS")) for pem in found))
    if not files.key_files():
        # The first key signs at once: nobody has fetched a set of published keys that lacks it.
        files.write(generate_key(settings.TOKEN_SIGNING_ALGORITHM), signs_from=timezone.now())
    return KeyRing(tuple(files.read(path) for path in files.key_files()))
