"""Secret header values of steps: encrypted at rest. Only the worker decrypts, in the moment of the call."""

from collections.abc import Mapping

from opsera_portal.encryption import Box, SecretUnreadable

__all__ = ["BOX", "SecretUnreadable", "decrypt", "encrypt", "encrypt_anew"]

BOX = Box(setting="STEP_SECRETS_KEYS", file_name="step-secrets.key")


def encrypt(headers: Mapping[str, str]) -> dict[str, str]:
    """The same names, each with its encrypted value."""
    return {name: BOX.encrypt(value) for name, value in headers.items()}


def decrypt(headers: Mapping[str, str]) -> dict[str, str]:
    """Raises ``SecretUnreadable``, without the value."""
    return {name: BOX.decrypt(value) for name, value in headers.items()}


def encrypt_anew(headers: Mapping[str, str]) -> dict[str, str]:
    """With the key that encrypts now. Raises ``SecretUnreadable``."""
    return {name: BOX.encrypt_anew(value) for name, value in headers.items()}
