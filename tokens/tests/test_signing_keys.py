import stat
from io import StringIO

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command

from tokens import jwt, signing_keys
from tokens.tests.factories import TokenFactory, bearer


@pytest.fixture(autouse=True)
def keys_directory(settings, tmp_path):
    settings.TOKEN_SIGNING_KEYS_DIR = tmp_path / "signing-keys"
    return settings.TOKEN_SIGNING_KEYS_DIR


def pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def run(*arguments, **options):
    out = StringIO()
    call_command("signing_keys", *arguments, stdout=out, **options)
    return out.getvalue()


def test_the_first_key_is_made_for_us_alone(keys_directory):
    ring = signing_keys.key_ring()

    assert ring.current.algorithm == "ES256"
    assert stat.S_IMODE(keys_directory.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in keys_directory.iterdir()] == [0o600]
    assert signing_keys.key_ring().current.id == ring.current.id


def test_a_key_never_shows_itself():
    key = signing_keys.key_ring().current

    assert "private" not in repr(key).lower()
    assert set(key.public_jwk) == {"crv", "kty", "x", "y", "kid", "use", "alg"}


def test_rotation_signs_anew_at_once_and_verifies_what_was_signed(api, owner):
    old = signing_keys.key_ring().current
    headers = bearer(TokenFactory(owner=owner))
    run("rotate")

    assert signing_keys.key_ring().current.id != old.id
    assert jwt.encode(TokenFactory(owner=owner))[1] == signing_keys.key_ring().current.id
    assert api.get("/api/v1/me", headers=headers).status_code == 200


def test_the_published_keys_verify_our_tokens(client, owner):
    signing_keys.key_ring()
    run("rotate")
    signed_jwt = bearer(TokenFactory(owner=owner))["Authorization"].removeprefix("Bearer ")

    answer = client.get("/.well-known/jwks.json")

    assert answer.headers["Content-Type"] == "application/jwk-set+json"
    keys = {key.key_id: key for key in pyjwt.PyJWKSet.from_dict(answer.json()).keys}
    assert len(keys) == 2
    key = keys[pyjwt.get_unverified_header(signed_jwt)["kid"]]
    claims = pyjwt.decode(signed_jwt, key, algorithms=["ES256"], audience="http://127.0.0.1:8000/api/v1")
    assert claims["account"] == "acme"
    assert all("d" not in public for public in answer.json()["keys"])


def test_rs256_by_setting(settings, owner):
    settings.TOKEN_SIGNING_ALGORITHM = "RS256"
    token = TokenFactory(owner=owner)
    signed_jwt, _ = jwt.encode(token)

    assert pyjwt.get_unverified_header(signed_jwt)["alg"] == "RS256"
    assert jwt.decode(signed_jwt).token_id == token.pk


def test_keys_from_the_environment_the_first_signs(settings, owner):
    first, second = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    settings.TOKEN_SIGNING_KEYS = pem(first) + pem(second).replace("\n", "\\n")
    ring = signing_keys.key_ring()

    assert len(ring.keys) == 2
    assert ring.current.private_key.private_numbers() == first.private_numbers()
    assert jwt.encode(TokenFactory(owner=owner))[1] == ring.current.id
    with pytest.raises(ImproperlyConfigured):
        signing_keys.rotate()


@pytest.mark.parametrize(
    "text",
    ["nonsense", pem(ec.generate_private_key(ec.SECP384R1())), pem(rsa.generate_private_key(65537, 1024))],
    ids=["no key", "another curve", "a short key"],
)
def test_a_wrong_key_stops_with_one_sentence(settings, text):
    settings.TOKEN_SIGNING_KEYS = text

    with pytest.raises(ImproperlyConfigured) as error:
        signing_keys.key_ring()
    assert "\n" not in str(error.value)


def test_the_list_tells_what_each_key_is_needed_for(owner):
    old = signing_keys.key_ring().current
    TokenFactory(owner=owner, signing_key_id=old.id)
    run("rotate")

    lines = run("list").splitlines()

    assert "signs" in lines[0]
    assert "no live tokens" in lines[0]
    assert old.id in lines[1]
    assert "1 live tokens" in lines[1]


def test_a_key_that_live_tokens_need_is_retired_only_by_force(api, owner):
    old = signing_keys.key_ring().current
    token = TokenFactory(owner=owner, signing_key_id=old.id)
    headers = bearer(token)
    run("rotate")

    with pytest.raises(CommandError, match="1 live tokens"):
        run("retire", old.id)
    assert api.get("/api/v1/me", headers=headers).status_code == 200
    run("retire", old.id, force=True)
    assert api.get("/api/v1/me", headers=headers).status_code == 401


def test_the_key_that_signs_is_not_retired(db):
    with pytest.raises(CommandError, match="rotate"):
        run("retire", signing_keys.key_ring().current.id)


@pytest.mark.parametrize("key", [None, "unknown"])
def test_an_unknown_key_is_not_retired(db, key):
    with pytest.raises(CommandError):
        run("retire", *([key] if key else []))


def test_a_key_that_is_retired_while_the_keys_are_read_is_not_remembered(monkeypatch):
    retired = signing_keys.key_ring().current
    signing_keys.rotate()
    load = signing_keys._load
    reads = []

    def load_while_another_process_retires():
        ring = load()
        if not reads:
            signing_keys.retire(retired.id)
        reads.append(ring)
        return ring

    monkeypatch.setattr(signing_keys, "_load", load_while_another_process_retires)

    assert signing_keys.key_ring().find(retired.id) is None
    assert len(reads) == 2
