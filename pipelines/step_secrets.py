"""Secret values of steps: encrypted at rest, decrypted only for the call.

Each value is bound to its pipeline, step, server (scheme, host and port of the step's URL), place (the field that holds
it) and name. A value that was moved in the database, or whose step's URL was changed there, does not decrypt.
"""

import contextlib
from collections.abc import Mapping
from typing import Protocol

import httpx

from core.encryption import Box, Context, SecretUnreadable

__all__ = ["BOX", "PLACES", "SecretHolder", "SecretMissing", "SecretUnreadable", "decrypt", "encrypt", "encrypt_again"]

BOX = Box(setting="STEP_SECRETS_KEYS", file_name="step-secrets.key")

# The fields of a step that hold encrypted values by name. An empty value is required but not entered yet.
PLACES = ("secret_headers", "secret_query", "secret_body")
MISSING = ""
DEFAULT_PORTS = {"http": 80, "https": 443}


class SecretMissing(Exception):
    """A required secret has no value. The message is its name."""


class SecretHolder(Protocol):
    """A step, or the copy of a step in a run."""

    url: str

    @property
    def identity(self) -> tuple[str, str]:
        """The ids of pipeline and step."""


def encrypt(step: SecretHolder, place: str, values: Mapping[str, str]) -> dict[str, str]:
    """Returns the encrypted values by name."""
    return {name: BOX.encrypt(value, _context(step, place, name)) for name, value in values.items()}


def decrypt(step: SecretHolder, place: str) -> dict[str, str]:
    """Raises ``SecretMissing`` or ``SecretUnreadable``, without the value."""
    values: Mapping[str, str] = getattr(step, place)
    if empty := [name for name, value in values.items() if value == MISSING]:
        raise SecretMissing(empty[0])
    return {name: BOX.decrypt(value, _context(step, place, name)) for name, value in values.items()}


def readable(step: SecretHolder, place: str) -> dict[str, str]:
    """Decrypts the values that exist and can be decrypted."""
    found = {}
    for name, value in getattr(step, place).items():
        with contextlib.suppress(SecretUnreadable):
            found[name] = BOX.decrypt(value, _context(step, place, name))
    return found


def encrypt_again(step: SecretHolder, place: str, *, accept_unbound: bool = False) -> dict[str, str]:
    """Encrypts with the first key. Raises ``SecretUnreadable``.

    ``accept_unbound``: also accepts values of earlier versions, which are not bound.
    """
    values: Mapping[str, str] = getattr(step, place)
    return {
        name: value and _encrypt_again(value, _context(step, place, name), accept_unbound)
        for name, value in values.items()
    }


def names_without_value(values: Mapping[str, str]) -> list[str]:
    return [name for name, value in values.items() if value == MISSING]


def server_of(url: str) -> str:
    """The server of a URL, such as ``https://ci.example.com:443``; empty if it is not a URL."""
    try:
        parts = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        return ""
    port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    return f"{parts.scheme}://{parts.raw_host.decode('ascii')}:{port}" if parts.raw_host else ""


def _encrypt_again(value: str, context: Context, accept_unbound: bool) -> str:
    try:
        return BOX.encrypt_again(value, context)
    except SecretUnreadable:
        if not accept_unbound:
            raise
        return BOX.encrypt(BOX.decrypt_unbound(value), context)


def _context(step: SecretHolder, place: str, name: str) -> Context:
    # Names of headers ignore case; all others do not.
    written = name.lower() if place == "secret_headers" else name
    return (*step.identity, server_of(step.url), place, written)
