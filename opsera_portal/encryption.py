"""Secrets that must be read again: encrypted at rest, with keys that are not in the database.

The keys come from the environment (the first encrypts, all decrypt) or from a file in the data directory, made on first
use with mode 0600. Fernet (AES-128-CBC with HMAC-SHA256) says when a value was tampered with.
"""

from dataclasses import dataclass
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from opsera_portal.environment import private_text


class SecretUnreadable(Exception):
    """No key that the portal has decrypts this value."""


@dataclass(frozen=True)
class Box:
    """One purpose and its keys: the name of their setting, and of the file that takes its place."""

    setting: str
    file_name: str

    def encrypt(self, text: str) -> str:
        return self._fernet().encrypt(text.encode()).decode()

    def decrypt(self, encrypted: str) -> str:
        """Raises ``SecretUnreadable``, without the value."""
        try:
            return self._fernet().decrypt(encrypted.encode()).decode()
        except InvalidToken:
            raise SecretUnreadable from None

    def encrypt_anew(self, encrypted: str) -> str:
        """With the key that encrypts now. Raises ``SecretUnreadable``."""
        try:
            return self._fernet().rotate(encrypted.encode()).decode()
        except InvalidToken:
            raise SecretUnreadable from None

    def key_of_the_file(self) -> str:
        return private_text(settings.DATA_DIR / self.file_name, make=Fernet.generate_key().decode())

    def _fernet(self) -> MultiFernet:
        keys: tuple[str, ...] = tuple(getattr(settings, self.setting)) or (self.key_of_the_file(),)
        try:
            return _fernet_of(keys)
        except ValueError:
            raise ImproperlyConfigured(f"The file {self.file_name} in the data directory holds no key.") from None


@lru_cache(maxsize=8)
def _fernet_of(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])
