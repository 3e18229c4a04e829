"""The key that seals the logs. It is not in the database: LOG_SEAL_KEY, or a file in the data directory."""

import hmac
import secrets
from functools import lru_cache

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from auditlog.models import Seal
from core.files import read_or_create_private


class KeyMissing(Exception):
    """There are blocks, but the key that sealed them is not here."""


def key_for(purpose: str) -> bytes:
    return _key_for(settings.LOG_SEAL_KEY or _key_of_the_file(), purpose)


@lru_cache(maxsize=8)
def _key_for(secret: str, purpose: str) -> bytes:
    return hmac.digest(secret.encode(), purpose.encode(), "sha256")


def _key_of_the_file() -> str:
    path = settings.DATA_DIR / "log-seal-key"
    if not path.exists() and Seal.objects.exists():
        # With a new key, every block would look forged.
        raise KeyMissing(
            "The logs are sealed, but their key is missing: set LOG_SEAL_KEY, or restore log-seal-key in the data "
            "directory."
        )
    key = read_or_create_private(path, default=secrets.token_urlsafe(48)).strip()
    if len(key) < 32:
        raise ImproperlyConfigured("The file log-seal-key in the data directory has no key of at least 32 characters.")
    return key
