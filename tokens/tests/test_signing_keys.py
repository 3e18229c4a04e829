"""The signing keys: their sources, their ids and their secrecy."""

import os
import stat

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.core.exceptions import ImproperlyConfigured
from django.db import connection

from tokens import jwt, services
from tokens.keys import retirement, ring, rotation, signing_key
from tokens.keys.ring import key_ring
from tokens.tests.factories import TokenFactory, bearer
from tokens.tests.signing_keys import REASON, pem, run, secrets_of, thumbprint_of

pytestmark = pytest.mark.usefixtures("keys_directory")


def test_first_key_is_created_with_private_permissions(keys_directory):
    ring = key_ring()

    assert ring.current.algorithm == "ES256"
    assert stat.S_IMODE(keys_directory.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in keys_directory.iterdir()] == [0o600]
    assert key_ring().current.id == ring.current.id


def test_key_is_not_in_its_repr_or_public_half():
    key = key_ring().current

    assert "private" not in repr(key).lower()
    assert set(key.public_jwk) == {"crv", "kty", "x", "y", "kid", "use", "alg"}


def test_published_keys_verify_the_portals_tokens(client, owner):
    key_ring()
    run("rotate", "--now")
    signed_jwt = bearer(TokenFactory(owner=owner))["Authorization"].removeprefix("Bearer ")

    answer = client.get("/.well-known/jwks.json")

    assert answer.headers["Content-Type"] == "application/jwk-set+json"
    keys = {key.key_id: key for key in pyjwt.PyJWKSet.from_dict(answer.json()).keys}
    assert len(keys) == 2
    key = keys[pyjwt.get_unverified_header(signed_jwt)["kid"]]
    claims = pyjwt.decode(signed_jwt, key, algorithms=["ES256"], audience="http://127.0.0.1:8000/api/v1")
    assert claims["account"] == "acme"
    assert all("d" not in public for public in answer.json()["keys"])


def test_setting_selects_rs256(settings, owner):
    settings.TOKEN_SIGNING_ALGORITHM = "RS256"
    token = TokenFactory(owner=owner)
    signed_jwt, _ = jwt.encode(token)

    assert pyjwt.get_unverified_header(signed_jwt)["alg"] == "RS256"
    assert jwt.decode(signed_jwt).token_id == token.pk


def test_first_key_of_the_environment_signs(settings, owner):
    first, second = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    settings.TOKEN_SIGNING_KEYS = pem(first) + pem(second).replace("\n", "\\n")
    ring = key_ring()

    assert len(ring.keys) == 2
    assert ring.current.private_key.private_numbers() == first.private_numbers()
    assert jwt.encode(TokenFactory(owner=owner))[1] == ring.current.id


@pytest.mark.parametrize(
    "text",
    ["nonsense", pem(ec.generate_private_key(ec.SECP384R1())), pem(rsa.generate_private_key(65537, 1024))],
    ids=["no key", "another curve", "a short key"],
)
def test_wrong_key_is_an_error_of_one_line(settings, text):
    settings.TOKEN_SIGNING_KEYS = text

    with pytest.raises(ImproperlyConfigured) as error:
        key_ring()
    assert "\n" not in str(error.value)


def test_key_retired_while_keys_are_read_is_not_cached(monkeypatch):
    retired = key_ring().current
    rotation.rotate()
    load = ring._load
    reads = []

    def load_while_another_process_retires():
        ring = load()
        if not reads:
            retirement.remove(retired.id)
        reads.append(ring)
        return ring

    monkeypatch.setattr(ring, "_load", load_while_another_process_retires)

    assert key_ring().find(retired.id) is None
    assert len(reads) == 2


def test_second_change_in_one_tick_of_the_clock_is_noticed(monkeypatch, keys_directory):
    """A directory's time can stay the same for milliseconds, so a process may have read the keys in between."""
    first = key_ring().current
    rotation.rotate()
    before = keys_directory.stat().st_mtime_ns
    assert key_ring().find(first.id)
    unlink = type(keys_directory).unlink

    def unlink_within_the_tick(path):
        unlink(path)
        os.utime(keys_directory, ns=(before, before))

    monkeypatch.setattr(type(keys_directory), "unlink", unlink_within_the_tick)
    retirement.remove(first.id)

    assert key_ring().find(first.id) is None


def test_new_key_never_has_a_thumbprint_that_starts_with_a_dash(monkeypatch, key_with_a_dash):
    generate, made = signing_key._generate, iter([key_with_a_dash])
    monkeypatch.setattr(signing_key, "_generate", lambda algorithm: next(made, None) or generate(algorithm))

    assert not rotation.rotate().id.startswith("-")


def test_key_id_never_starts_with_a_dash(owner, given_key_with_a_dash, key_with_a_dash):
    signed_jwt, key_id = jwt.encode(TokenFactory(owner=owner))

    assert given_key_with_a_dash.id == key_id == f"k{thumbprint_of(key_with_a_dash)}"
    assert pyjwt.get_unverified_header(signed_jwt)["kid"] == key_id
    assert jwt.decode(signed_jwt).key_id == key_id


def test_tokens_with_an_old_key_id_that_starts_with_a_dash_still_verify(api, client, owner, given_key_with_a_dash):
    """An older version signed them."""
    former = given_key_with_a_dash.former_id
    token = TokenFactory(owner=owner, signing_key_id=former)
    claims = pyjwt.decode(jwt.encode(token)[0], options={"verify_signature": False})
    signed_jwt = pyjwt.encode(
        claims, given_key_with_a_dash.private_key, "ES256", headers={"typ": "at+jwt", "kid": former}
    )

    assert api.get("/api/v1/me", headers={"Authorization": f"Bearer {signed_jwt}"}).status_code == 200
    published = client.get("/.well-known/jwks.json").json()
    keys = {key.key_id: key for key in pyjwt.PyJWKSet.from_dict(published).keys}
    assert keys.keys() == given_key_with_a_dash.ids
    pyjwt.decode(signed_jwt, keys[former], algorithms=["ES256"], audience="http://127.0.0.1:8000/api/v1")


@pytest.mark.parametrize("where", ["environment", "file"])
@pytest.mark.parametrize("broken", ["cut", "changed", "no text"])
def test_broken_key_is_named_and_its_content_is_not_shown(settings, keys_directory, where, broken):
    good = pem(ec.generate_private_key(ec.SECP256R1()))
    line = good.splitlines()[2]
    text = {"cut": good[:120], "changed": good.replace(line, line[::-1]), "no text": good + "\x00\xff"}[broken]
    if broken == "no text":
        text = text.replace(line, "\xff")
    if where == "environment":
        settings.TOKEN_SIGNING_KEYS = text
    else:
        keys_directory.mkdir(mode=0o700)
        (keys_directory / "20260101T000000000000Z_x.pem").write_bytes(text.encode("latin-1"))

    with pytest.raises(ImproperlyConfigured) as error:
        key_ring()

    assert ("TOKEN_SIGNING_KEYS" if where == "environment" else str(keys_directory)) in str(error.value)
    assert not any(part in str(error.value) for part in good.splitlines()[1:-1])
    assert error.value.__cause__ is None
    assert error.value.__context__ is None or error.value.__suppress_context__


def test_one_broken_key_among_good_ones_is_an_error(settings):
    good = pem(ec.generate_private_key(ec.SECP256R1()))
    settings.TOKEN_SIGNING_KEYS = good + good[:120]

    with pytest.raises(ImproperlyConfigured, match="each of them whole"):
        key_ring()


def test_broken_link_in_the_key_directory_is_named(keys_directory):
    keys_directory.mkdir(mode=0o700)
    (keys_directory / "lost.pem").symlink_to("/nowhere/lost.pem")

    with pytest.raises(ImproperlyConfigured, match=r"lost\.pem"):
        key_ring()


def test_printed_keys_and_rings_contain_no_secret():
    ring = key_ring()

    printed = f"{ring} {ring!r} {ring.keys} {ring.current!s} {[ring.current]!r} {ring.jwks()}"

    assert not any(part in printed for part in secrets_of(ring.current))


@pytest.mark.each_database
def test_database_and_logs_contain_no_key(client, owner, caplog):
    """So a backup of the database contains no key."""
    keys = [key_ring().current, rotation.rotate()]
    with caplog.at_level("DEBUG"):
        services.reveal_token(actor=owner, token=TokenFactory(owner=owner, revealed_at=None))
        run("retire", keys[1].id, "--emergency", "--reason", REASON)
        run("list")
        client.get("/.well-known/jwks.json")
    keys.append(key_ring().current)

    with connection.cursor() as cursor:
        dump = ""
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            dump += repr(cursor.fetchall())

    assert owner.email in dump
    for key in keys:
        assert not any(part in dump + caplog.text for part in secrets_of(key))
