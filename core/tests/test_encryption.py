"""Encrypted values decrypt only in their own context, and only with the portal's keys."""

import pytest
from cryptography.fernet import Fernet

from core.encryption import Box, SecretUnreadable

BOX = Box(setting="STEP_SECRETS_KEYS", file_name="step-secrets.key")
OTHER_PURPOSE = Box(setting="MFA_SECRETS_KEYS", file_name="mfa-secrets.key")
CONTEXT = ("step 1", "https://ci.example.com:443", "Authorization")


@pytest.fixture
def key(settings):
    key = Fernet.generate_key().decode()
    settings.STEP_SECRETS_KEYS = settings.MFA_SECRETS_KEYS = (key,)
    return key


@pytest.mark.parametrize("text", ["", "secret", "ß€ 𝄞", "x" * 10_000, "a\0b"])
def test_value_decrypts_in_its_context(key, text):
    encrypted = BOX.encrypt(text, CONTEXT)

    assert BOX.decrypt(encrypted, CONTEXT) == text
    assert len(text) < 4 or text not in encrypted
    assert BOX.encrypt(text, CONTEXT) != encrypted


@pytest.mark.parametrize(
    "context",
    [
        (),
        ("step 2", *CONTEXT[1:]),
        ("step 1", "https://evil.example.com:443", "Authorization"),
        (*CONTEXT[:2], "authorization"),
        CONTEXT[:2],
        (*CONTEXT, ""),
        ('step 1", "https://ci.example.com:443', "Authorization"),
    ],
)
def test_value_does_not_decrypt_in_another_context(key, context):
    with pytest.raises(SecretUnreadable):
        BOX.decrypt(BOX.encrypt("secret", CONTEXT), context)


def test_value_does_not_decrypt_for_another_purpose_with_the_same_key(key):
    with pytest.raises(SecretUnreadable):
        OTHER_PURPOSE.decrypt(BOX.encrypt("secret", CONTEXT), CONTEXT)


def test_changed_value_does_not_decrypt(key):
    version, key_id, sealed = BOX.encrypt("secret", CONTEXT).split(".")
    changed = sealed[:20] + ("A" if sealed[20] != "A" else "B") + sealed[21:]
    for encrypted in (
        f"{version}.{key_id}.{changed}",
        f"{version}.{key_id}.{sealed[:-4]}",
        f"{version}.{key_id}.{sealed}\n",
        f"{version}.{key_id}.",
        f"{version}.{key_id}.ä",
        f"{version}.000000000000.{sealed}",
        f"v3.{key_id}.{sealed}",
        sealed,
        "",
        None,
        7,
        {"v2": 1},
    ):
        with pytest.raises(SecretUnreadable):
            BOX.decrypt(encrypted, CONTEXT)


def test_value_without_context_can_be_read_for_conversion_only(key):
    unbound = Fernet(key).encrypt(b"secret").decode()

    with pytest.raises(SecretUnreadable):
        BOX.decrypt(unbound, CONTEXT)
    assert BOX.decrypt_unbound(unbound) == "secret"
    for value in ("", "x", None, 7, BOX.encrypt("secret", CONTEXT)):
        with pytest.raises(SecretUnreadable):
            BOX.decrypt_unbound(value)


def test_key_can_be_replaced(settings, key):
    encrypted = BOX.encrypt("secret", CONTEXT)
    new = Fernet.generate_key().decode()
    settings.STEP_SECRETS_KEYS = (new, key)

    again = BOX.encrypt_again(encrypted, CONTEXT)

    settings.STEP_SECRETS_KEYS = (new,)
    assert BOX.decrypt(again, CONTEXT) == "secret"
    with pytest.raises(SecretUnreadable):
        BOX.decrypt(encrypted, CONTEXT)
