"""Fixtures of the tests of signing keys."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tokens.keys import signing_key
from tokens.keys.ring import key_ring
from tokens.tests.factories import TokenFactory, bearer
from tokens.tests.signing_keys import pem, thumbprint_of


@pytest.fixture
def keys_directory(settings, tmp_path):
    """An empty directory for signing keys."""
    settings.TOKEN_SIGNING_KEYS_DIR = tmp_path / "signing-keys"
    return settings.TOKEN_SIGNING_KEYS_DIR


@pytest.fixture(scope="session")
def key_with_a_dash():
    """A key whose thumbprint starts with a dash. This happens for one key in 64."""
    keys = iter(lambda: ec.generate_private_key(ec.SECP256R1()), None)
    return next(key for key in keys if signing_key.describe(key).thumbprint.startswith("-"))


@pytest.fixture(params=["environment", "file"])
def given_key_with_a_dash(request, settings, keys_directory, key_with_a_dash):
    """A key with a dash that the portal did not create, from the environment or from a file."""
    if request.param == "environment":
        settings.TOKEN_SIGNING_KEYS = pem(key_with_a_dash)
    else:
        keys_directory.mkdir(mode=0o700)
        (keys_directory / f"20260101T000000000000Z_{thumbprint_of(key_with_a_dash)}.pem").write_text(
            pem(key_with_a_dash)
        )
    return key_ring().current


@pytest.fixture
def leaked(owner, member):
    """The key that signs, two live tokens signed with it, and their request headers."""
    key = key_ring().current
    tokens = [TokenFactory(owner=person, signing_key_id=key.id) for person in (owner, member)]
    return key, tokens, [bearer(token) for token in tokens]
