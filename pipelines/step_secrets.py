"""Secret header values of steps: encrypted at rest, with keys that are not in the database.

The keys come from the environment (``STEP_SECRETS_KEYS``: the first encrypts, all decrypt) or from a file in the data
directory, made on first use with mode 0600. Fernet (AES-128-CBC with HMAC-SHA256) says when a value was tampered with.
Only the worker decrypts, in the moment of the call.
"""

from collections.abc import Mapping
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from opsera_portal.environment import private_text


class SecretUnreadable(Exception):
    """No key that the portal has decrypts this value."""


def encrypt(headers: Mapping[str, str]) -> dict[str, str]:
    """The same names, each with its encrypted value."""
    return {name: _box().encrypt(value.encode()).decode() for name, value in headers.items()}


def decrypt(headers: Mapping[str, str]) -> dict[str, str]:
    """Raises ``SecretUnreadable``, without the value."""
    try:
        return {name: _box().decrypt(value.encode()).decode() for name, value in headers.items()}
    except InvalidToken:
        raise SecretUnreadable from None


def encrypt_anew(headers: Mapping[str, str]) -> dict[str, str]:
    """With the key that encrypts now. Raises ``SecretUnreadable``."""
    try:
        return {name: _box().rotate(value.encode()).decode() for name, value in headers.items()}
    except InvalidToken:
        raise SecretUnreadable from None


def _box() -> MultiFernet:
    keys = settings.STEP_SECRETS_KEYS or (_key_of_the_file(),)
    return _box_of(tuple(keys))


@lru_cache(maxsize=4)
def _box_of(keys: tuple[str, ...]) -> MultiFernet:
    try:
        return MultiFernet([Fernet(key) for key in keys])
    except ValueError:
        raise ImproperlyConfigured("The file step-secrets.key in the data directory holds no key.") from None


def _key_of_the_file() -> str:
    return private_text(settings.DATA_DIR / "step-secrets.key", make=Fernet.generate_key().decode())
