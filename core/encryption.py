"""Encrypts secrets that the portal must read again, with keys that are not in the database.

AES-256-GCM. A value is bound to its context (what it belongs to) as associated data: a value that someone moved to
another row of the database does not decrypt there. The keys come from the environment (the first encrypts, all
decrypt) or from a file in the data directory, created on first use with mode 0600.
"""

import base64
import hashlib
import json
import os
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from core.files import read_or_create_private

VERSION = "v2"
NONCE_BYTES = 12

Context = tuple[str, ...]


class SecretUnreadable(Exception):
    """No key of the portal decrypts this value, or it belongs to something else."""


@dataclass(frozen=True)
class Box:
    """One purpose with its keys: the name of their setting, and of the file that is used without the setting.

    ``context`` identifies what a value belongs to, with parts that don't change while the value is valid.
    """

    setting: str
    file_name: str

    def encrypt(self, text: str, context: Context) -> str:
        """``v2.<key id>.<nonce and ciphertext in base64url>``."""
        key_id, cipher = self._ciphers()[0]
        nonce = os.urandom(NONCE_BYTES)
        sealed = nonce + cipher.encrypt(nonce, text.encode(), self._associated_data(context))
        return f"{VERSION}.{key_id}.{base64.urlsafe_b64encode(sealed).decode()}"

    def decrypt(self, encrypted: str, context: Context) -> str:
        """Raises ``SecretUnreadable``, without the value."""
        version, _, rest = str(encrypted).partition(".")
        key_id, _, sealed = rest.partition(".")
        if version == VERSION:
            for known_id, cipher in self._ciphers():
                if known_id == key_id:
                    return _open(cipher, sealed, self._associated_data(context))
        raise SecretUnreadable

    def encrypt_again(self, encrypted: str, context: Context) -> str:
        """Encrypts with the first key. Raises ``SecretUnreadable``."""
        return self.encrypt(self.decrypt(encrypted, context), context)

    def decrypt_unbound(self, encrypted: str) -> str:
        """Reads a value in the format without context (Fernet) of earlier versions.

        Only for converting such values, because people who can write to the database can move them to other rows.
        Raises ``SecretUnreadable``.
        """
        try:
            return MultiFernet([Fernet(key) for key in self.keys()]).decrypt(str(encrypted)).decode()
        except InvalidToken:
            raise SecretUnreadable from None

    def key_of_the_file(self) -> str:
        return read_or_create_private(settings.DATA_DIR / self.file_name, default=Fernet.generate_key().decode())

    def keys(self) -> tuple[str, ...]:
        """Each is 32 bytes in base64url; the first encrypts."""
        return tuple(getattr(settings, self.setting)) or (self.key_of_the_file(),)

    def _ciphers(self) -> list[tuple[str, AESGCM]]:
        try:
            return [_cipher_of(key, self.setting) for key in self.keys()]
        except ValueError:
            raise ImproperlyConfigured(f"The file {self.file_name} in the data directory holds no key.") from None

    def _associated_data(self, context: Context) -> bytes:
        # JSON, so that no two lists of parts have the same bytes.
        return json.dumps([self.setting, *context]).encode()


@dataclass(frozen=True)
class ShortLivedBox(Box):
    """For values that are read for at most a day. The key is derived from `SECRET_KEY`, which all machines share. After
    a change of `SECRET_KEY`, the values can't be read."""

    file_name: str = ""

    def keys(self) -> tuple[str, ...]:
        return (base64.urlsafe_b64encode(hashlib.sha256(settings.SECRET_KEY.encode()).digest()).decode(),)


def _open(cipher: AESGCM, sealed: str, associated_data: bytes) -> str:
    try:
        raw = base64.b64decode(sealed.encode("ascii"), altchars=b"-_", validate=True)
        return cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], associated_data).decode()
    except (InvalidTag, ValueError):
        raise SecretUnreadable from None


@lru_cache(maxsize=32)
def _cipher_of(key: str, purpose: str) -> tuple[str, AESGCM]:
    """The id of a key, and a cipher with the key derived from it for this purpose. Raises ``ValueError``."""
    Fernet(key)
    derive = HKDF(algorithm=SHA256(), length=32, salt=None, info=f"opsera-portal {VERSION} {purpose}".encode())
    derived = derive.derive(base64.urlsafe_b64decode(key))
    return hashlib.sha256(b"id of " + derived).hexdigest()[:12], AESGCM(derived)
