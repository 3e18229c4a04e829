import os
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import StringIO

import jwt as pyjwt
import pytest
import time_machine
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.conf import settings as portal_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.utils import timezone

from auditlog.models import Activity, TokenUse
from core import periodic_jobs
from opsera_portal.tests.mails import delivered
from tokens import jwt, services
from tokens.keys import retirement, ring, rotation, signing_key
from tokens.keys.ring import key_ring
from tokens.models import Token
from tokens.tests.factories import TokenFactory, bearer

pytestmark = pytest.mark.each_database


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


def test_new_key_signs_at_once_with_now_and_older_tokens_still_verify(api, owner):
    old = key_ring().current
    headers = bearer(TokenFactory(owner=owner))
    run("rotate", "--now")

    assert key_ring().current.id != old.id
    assert jwt.encode(TokenFactory(owner=owner))[1] == key_ring().current.id
    assert api.get("/api/v1/me", headers=headers).status_code == 200


def test_new_key_signs_in_place_of_a_key_with_another_file_name(keys_directory):
    key_ring()
    (file,) = keys_directory.glob("*.pem")
    file.rename(keys_directory / "ours.pem")

    new = rotation.rotate()

    assert key_ring().current.id == new.id


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
    ("arguments", "by_hand"),
    [
        (["rotate"], "Add a new key there after the others.*restart every.*Wait 15 minutes.*to the first place"),
        (["retire"], "Remove this key there and restart all processes of all machines"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_command_says_how_to_change_keys_of_the_environment(db, settings, arguments, by_hand):
    settings.TOKEN_SIGNING_KEYS = "".join(pem(ec.generate_private_key(ec.SECP256R1())) for _ in range(2))
    second = key_ring().keys[1].id

    with pytest.raises(CommandError, match=by_hand):
        run(*arguments, *(["--", second] if arguments == ["retire"] else []))
    assert key_ring().find(second)
    assert "come from TOKEN_SIGNING_KEYS" in run("list")


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


def test_list_says_how_many_tokens_need_each_key(owner, keys_directory):
    old = key_ring().current
    TokenFactory(owner=owner, signing_key_id=old.id)
    run("rotate", "--now")

    where, first, second = run("list").splitlines()

    assert str(keys_directory) in where
    assert "signs" in first
    assert "no live tokens" in first
    assert old.id in second
    assert "1 live token, the last until" in second
    assert "retires after" in second


def test_key_needed_by_live_tokens_is_not_retired(api, owner):
    old = key_ring().current
    headers = bearer(TokenFactory(owner=owner, signing_key_id=old.id))
    run("rotate", "--now")

    with pytest.raises(CommandError, match="1 live token needs this key"):
        run("retire", old.id)
    assert api.get("/api/v1/me", headers=headers).status_code == 200


def test_key_that_no_live_token_needs_is_retired(api, owner):
    old = key_ring().current
    token = TokenFactory(owner=owner, signing_key_id=old.id)
    headers = bearer(token)
    run("rotate", "--now")
    services.revoke_token(actor=owner, token=token)

    assert run("retire", old.id) == f"Retired {old.id}.\n"
    assert key_ring().find(old.id) is None
    assert api.get("/api/v1/me", headers=headers).status_code == 401


def test_key_that_signs_is_not_retired(db):
    with pytest.raises(CommandError, match="rotate"):
        run("retire", key_ring().current.id)


@pytest.mark.parametrize("key", [None, "unknown"])
def test_unknown_key_is_an_error(db, key):
    with pytest.raises(CommandError):
        run("retire", *([key] if key else []))


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


@pytest.fixture(scope="module")
def key_with_a_dash():
    """Its thumbprint starts with a dash, like that of one key in 64."""
    keys = iter(lambda: ec.generate_private_key(ec.SECP256R1()), None)
    return next(key for key in keys if signing_key.describe(key).thumbprint.startswith("-"))


def test_new_key_never_has_a_thumbprint_that_starts_with_a_dash(monkeypatch, key_with_a_dash):
    generate, made = signing_key._generate, iter([key_with_a_dash])
    monkeypatch.setattr(signing_key, "_generate", lambda algorithm: next(made, None) or generate(algorithm))

    assert not rotation.rotate().id.startswith("-")


def thumbprint_of(key):
    return signing_key.describe(key).thumbprint


@pytest.fixture(params=["environment", "file"])
def given_key_with_a_dash(request, settings, keys_directory, key_with_a_dash):
    """A key from elsewhere or from an older version."""
    if request.param == "environment":
        settings.TOKEN_SIGNING_KEYS = pem(key_with_a_dash)
    else:
        keys_directory.mkdir(mode=0o700)
        (keys_directory / f"20260101T000000000000Z_{thumbprint_of(key_with_a_dash)}.pem").write_text(
            pem(key_with_a_dash)
        )
    return key_ring().current


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


@pytest.mark.parametrize("name", ["id", "former_id"])
def test_key_with_a_dash_can_be_given_by_either_id(owner, keys_directory, given_key_with_a_dash, name):
    key_id = getattr(given_key_with_a_dash, name)
    TokenFactory(owner=owner, signing_key_id=given_key_with_a_dash.id)
    TokenFactory(owner=owner, signing_key_id=given_key_with_a_dash.former_id)
    out = StringIO()

    call_command("expire_tokens", f"--signing-key={key_id}", stdout=out)

    assert "2 live tokens" in out.getvalue()
    assert "2 live tokens" in run("list")
    if portal_settings.TOKEN_SIGNING_KEYS:
        with pytest.raises(CommandError, match="The key itself is still in use"):
            run("retire", f"--key={key_id}", "--emergency", f"--reason={REASON}")
    else:
        run("retire", f"--key={key_id}", "--emergency", f"--reason={REASON}")
        assert key_ring().find(given_key_with_a_dash.id) is None
    assert Token.objects.revoked().count() == 2


@pytest.mark.parametrize(
    "arguments", [["--key={}"], ["--key", "{}"], ["{}"], ["--", "{}"], ["{0}", "--key={0}"]], ids=str
)
def test_key_to_retire_is_given_by_option_or_position(db, arguments):
    old = key_ring().current.id
    rotation.rotate()

    assert run("retire", *(argument.format(old) for argument in arguments)) == f"Retired {old}.\n"


def test_two_different_keys_are_refused(db):
    old = key_ring().current.id
    rotation.rotate()

    with pytest.raises(CommandError, match="Give only one key"):
        run("retire", old, "--key=another")
    assert key_ring().find(old)


# A new key is published before it signs


def moments_around(key):
    return key.signs_from - timedelta(seconds=1), key.signs_from


def test_new_key_is_published_before_it_signs(client, owner):
    """A service that caches the published keys for the full time, behind a cache that does so too, knows the key of
    every token, even if its clock is five minutes off."""
    old = key_ring().current
    run("rotate")
    new = key_ring().waiting

    published = client.get("/.well-known/jwks.json")
    max_age = timedelta(seconds=int(published.headers["Cache-Control"].partition("max-age=")[2]))

    assert [key["kid"] for key in published.json()["keys"]] == [old.id, new.id]
    assert new.signs_from - timezone.now() > 2 * max_age + timedelta(minutes=4, seconds=50)
    before, after = moments_around(new)
    with time_machine.travel(before, tick=False):
        assert jwt.encode(TokenFactory(owner=owner))[1] == old.id
    with time_machine.travel(after, tick=False):
        assert jwt.encode(TokenFactory(owner=owner))[1] == new.id
        assert [key["kid"] for key in client.get("/.well-known/jwks.json").json()["keys"]] == [new.id, old.id]


def test_waiting_key_already_verifies(api, owner):
    """The clock of another process may be ahead."""
    run("rotate")
    with time_machine.travel(key_ring().waiting.signs_from, tick=False):
        signed = bearer(TokenFactory(owner=owner, created_at=timezone.now() - timedelta(days=1)))

    assert api.get("/api/v1/me", headers=signed).status_code == 200


def test_rotate_says_when_the_new_key_signs(db):
    said = run("rotate")
    new = key_ring().waiting

    assert f"Published {new.id}" in said
    assert f"from {new.signs_from:%Y-%m-%d %H:%M:%S} UTC on" in said
    assert f"{new.id}  ES256  signs from {new.signs_from:%Y-%m-%d %H:%M:%S} UTC" in run("list")


def test_time_of_the_new_key_survives_a_restart_and_a_copy(db, keys_directory, settings, tmp_path):
    old = key_ring().current
    run("rotate")
    new = key_ring().waiting
    settings.TOKEN_SIGNING_KEYS_DIR = tmp_path / "copy"
    settings.TOKEN_SIGNING_KEYS_DIR.mkdir(mode=0o700)
    for path in keys_directory.glob("*.pem"):
        copy = settings.TOKEN_SIGNING_KEYS_DIR / path.name
        copy.write_bytes(path.read_bytes())
        os.utime(copy, (0, 0))

    ring = key_ring()

    assert (ring.current, ring.waiting) == (old, new)
    assert ring.waiting.signs_from == new.signs_from


def test_one_of_two_simultaneous_rotations_is_refused(keys_directory):
    key_ring()
    together = threading.Barrier(2)

    def plan(_):
        together.wait()
        try:
            return rotation.plan_rotation().id
        except rotation.RotationUnfinished as error:
            return error.key.id

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(plan, range(2))

    assert first == second
    assert len(key_ring().keys) == 2


def test_second_rotation_is_refused_until_the_first_is_finished(db):
    run("rotate")
    new = key_ring().waiting

    with pytest.raises(CommandError, match=f"the last rotation is not finished. {new.id} signs from"):
        run("rotate")
    assert len(key_ring().keys) == 2
    with time_machine.travel(new.signs_from, tick=False):
        assert "Published" in run("rotate")
        assert key_ring().current == new


def test_waiting_key_signs_at_once_with_now(owner):
    run("rotate")
    new = key_ring().waiting

    said = run("rotate", "--now")

    ring = key_ring()
    assert (ring.current.id, ring.waiting, len(ring.keys)) == (new.id, None, 2)
    assert f"signed with {new.id}" in said
    assert jwt.encode(TokenFactory(owner=owner))[1] == new.id


def test_waiting_key_signs_in_an_emergency(leaked):
    run("rotate")
    new = key_ring().waiting

    run("retire", f"--key={leaked[0].id}", "--emergency", f"--reason={REASON}")

    assert [key.id for key in key_ring().keys] == [new.id]
    assert key_ring().current.id == new.id


def test_waiting_key_can_be_retired(leaked):
    run("rotate")
    waiting = key_ring().waiting

    assert run("retire", f"--key={waiting.id}") == f"Retired {waiting.id}.\n"
    assert key_ring().keys == (leaked[0],)


def test_old_key_is_not_retired_while_the_new_one_waits(db):
    old = key_ring().current
    run("rotate")
    new = key_ring().waiting

    with time_machine.travel(new.signs_from + retirement.GRACE - timedelta(seconds=1), tick=False):
        assert retirement.retire_unused() == []
    with time_machine.travel(new.signs_from + retirement.GRACE, tick=False):
        assert retirement.retire_unused() == [old.id]


def test_oldest_key_signs_after_the_clock_was_set_back(db):
    old = key_ring().current
    run("rotate")

    with time_machine.travel(timezone.now() - timedelta(days=400), tick=False):
        assert key_ring().current == old


def test_option_now_is_only_for_rotate(db):
    with pytest.raises(CommandError, match="--now"):
        run("list", "--now")


# Several processes

ASK = """
import sys
from django.conf import settings
from pathlib import Path
from tokens.keys.ring import key_ring
settings.TOKEN_SIGNING_KEYS_DIR = Path(sys.argv[1])
for line in sys.stdin:
    ring = key_ring()
    print(ring.current.id, ring.find(line.strip()) is not None, flush=True)
"""


def test_running_process_follows_rotation_and_retirement(keys_directory):
    old = key_ring().current.id
    other = subprocess.Popen(
        [sys.executable, "-c", ASK, str(keys_directory)],
        cwd=portal_settings.BASE_DIR,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "opsera_portal.settings_test"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def ask():
        other.stdin.write(f"{old}\n")
        other.stdin.flush()
        return other.stdout.readline().split()

    try:
        assert ask() == [old, "True"]
        next_key = rotation.plan_rotation().id
        assert ask() == [old, "True"]
        new = rotation.rotate().id
        assert new == next_key
        assert ask() == [new, "True"]
        retirement.remove(old)
        assert ask() == [new, "False"]
    finally:
        other.stdin.close()
        other.wait(timeout=10)


# Retirement by the worker


@pytest.fixture
def superseded(owner):
    """A key that was replaced a month ago."""
    with time_machine.travel(timezone.now() - timedelta(days=30)):
        old = key_ring().current
        rotation.rotate()
    return old


def days_ago(days):
    return timezone.now().replace(microsecond=0) - timedelta(days=days)


@pytest.mark.parametrize(
    ("metadata", "stays"),
    [
        (None, False),
        ({"created_at": days_ago(32)}, False),
        ({"created_at": days_ago(31), "expires_at": days_ago(0.9)}, True),
        ({"created_at": days_ago(31), "expires_at": days_ago(-1)}, True),
        ({"created_at": days_ago(31), "expires_at": days_ago(-1), "revoked_at": days_ago(0.9)}, True),
        ({"created_at": days_ago(31), "expires_at": days_ago(-1), "revoked_at": days_ago(1.1)}, False),
    ],
    ids=["no token", "expired long ago", "expired just now", "live", "ended early just now", "ended early before"],
)
def test_old_key_is_kept_until_a_day_after_its_last_token_ended(owner, superseded, metadata, stays):
    if metadata:
        TokenFactory(owner=owner, signing_key_id=superseded.id, **metadata)

    retired = retirement.retire_unused()

    assert retired == ([] if stays else [superseded.id])
    assert (key_ring().find(superseded.id) is not None) == stays


def test_recently_replaced_key_is_kept_even_without_tokens(db):
    old = key_ring().current
    rotation.rotate()

    assert run("retire-unused") == "No key can be retired yet. `signing_keys list` shows when each key retires.\n"
    assert key_ring().find(old.id)


def test_key_that_signs_never_retires_at_any_age(db):
    with time_machine.travel(timezone.now() - timedelta(days=3000), tick=False):
        old = key_ring().current

    assert retirement.retire_unused() == []
    assert key_ring().current.id == old.id


def test_key_retires_at_the_time_that_the_list_shows(owner, superseded):
    TokenFactory(owner=owner, signing_key_id=superseded.id, expires_at=days_ago(-5))
    said = retirement.retires_at(key_ring(), superseded)

    with time_machine.travel(said - timedelta(seconds=1), tick=False):
        assert retirement.retire_unused() == []
    with time_machine.travel(said, tick=False):
        assert retirement.retire_unused() == [superseded.id]


def test_worker_retires_keys(superseded):
    job = periodic_jobs._registered["signing keys"]
    assert job.every_seconds <= 3600

    job.work(threading.Event())

    assert key_ring().find(superseded.id) is None


def test_worker_never_retires_keys_of_the_environment(db, settings):
    settings.TOKEN_SIGNING_KEYS = "".join(pem(ec.generate_private_key(ec.SECP256R1())) for _ in range(2))

    assert retirement.retire_unused() == []
    assert len(key_ring().keys) == 2


@pytest.fixture
def being_shown(owner, monkeypatch):
    """Shows a token in a thread that stops after signing, before the token is recorded.

    ``finish()`` lets it commit, waits for all threads, and returns the token and what was shown.
    """
    pending = TokenFactory(owner=owner, revealed_at=None)
    signed, may_commit, shown, threads = threading.Event(), threading.Event(), [], []
    encode = jwt.encode

    def encode_and_wait(token):
        signed_now = encode(token)
        signed.set()
        may_commit.wait(10)
        return signed_now

    def run_in_thread(work):
        def run():
            try:
                work()
            finally:
                connections.close_all()

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return threads[-1]

    def finish():
        may_commit.set()
        for thread in threads:
            thread.join(10)
        return Token.objects.get(pk=pending.pk), shown[0]

    monkeypatch.setattr(jwt, "encode", encode_and_wait)
    run_in_thread(lambda: shown.append(services.reveal_token(actor=owner, token=pending)[1]))
    assert signed.wait(10)
    return run_in_thread, finish


@pytest.mark.django_db(transaction=True)
def test_key_is_not_retired_while_a_token_is_being_shown(being_shown):
    """The token is signed during the rotation, and its record is visible only after the commit."""
    run_in_thread, finish = being_shown
    old, outcome = key_ring().current, []
    rotation.rotate()

    def retire():
        try:
            retirement.retire(old.id)
        except retirement.KeyNeeded as error:
            outcome.append(error.count)

    retiring = run_in_thread(retire)
    retiring.join(0.2)
    assert retiring.is_alive()
    token, signed_jwt = finish()

    assert outcome == [1]
    assert token.signing_key_id == old.id
    assert jwt.decode(signed_jwt).token_id == token.pk


@pytest.mark.django_db(transaction=True)
def test_emergency_also_ends_a_token_that_is_being_shown(being_shown):
    run_in_thread, finish = being_shown
    old = key_ring().current
    run_in_thread(lambda: run("retire", old.id, "--emergency", "--reason", REASON))
    token, signed_jwt = finish()

    assert (token.signing_key_id, token.revoke_reason) == (old.id, REASON)
    with pytest.raises(jwt.NotGenuine):
        jwt.decode(signed_jwt)


# Emergencies

REASON = "backup of the keys was public"


@pytest.fixture
def leaked(owner, member):
    """The key that signs, two live tokens, and the headers of requests with them."""
    key = key_ring().current
    tokens = [TokenFactory(owner=person, signing_key_id=key.id) for person in (owner, member)]
    return key, tokens, [bearer(token) for token in tokens]


def test_emergency_expires_all_tokens_of_the_key_and_a_new_key_signs(api, owner, leaked):
    key, tokens, headers = leaked
    other = TokenFactory(owner=owner, signing_key_id="another key")

    said = run("retire", key.id, "--emergency", "--reason", REASON)

    new = key_ring().current
    assert (new.id != key.id, key_ring().find(key.id)) == (True, None)
    assert {api.get("/api/v1/me", headers=header).status_code for header in headers} == {401}
    for token in tokens:
        token.refresh_from_db()
        assert (token.state.id, token.revoke_reason) == ("revoked", REASON)
    other.refresh_from_db()
    assert other.revoked_at is None
    for words in (f"signed with {new.id}", f"Retired {key.id}", "Expired 2 live tokens."):
        assert words in said
    assert [(entry.action, entry.details) for entry in Activity.objects.all()] == [
        ("token.ended_by_operator", {"by": "operator", "reason": REASON})
    ] * 2


def test_emergency_removes_copies_of_the_key_file_too(leaked, keys_directory):
    (file,) = keys_directory.glob("*.pem")
    copy = keys_directory / "copy.pem"
    copy.write_bytes(file.read_bytes())
    copy.chmod(0o600)

    run("retire", leaked[0].id, "--emergency", "--reason", REASON)

    assert key_ring().find(leaked[0].id) is None


def test_owners_get_mails_in_an_emergency(settings, leaked, owner, member, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        run("retire", leaked[0].id, "--emergency", "--reason", REASON)

    assert {message.to[0] for message in delivered()} == {owner.email, member.email}
    assert all(REASON in message.body for message in delivered())


def test_emergency_needs_a_reason(leaked):
    with pytest.raises(CommandError, match="--reason"):
        run("retire", leaked[0].id, "--emergency")

    assert key_ring().current.id == leaked[0].id
    assert not Token.objects.revoked().exists()


def test_interrupted_emergency_can_be_continued(leaked):
    retirement.retire_at_once(leaked[0].id)

    said = run("retire", leaked[0].id, "--emergency", "--reason", REASON)

    assert "Expired 2 live tokens." in said
    with pytest.raises(CommandError, match="no such key"):
        run("retire", leaked[0].id, "--emergency", "--reason", REASON)


def test_emergency_with_a_key_of_the_environment_expires_its_tokens_and_says_what_to_do(settings, leaked, owner):
    settings.TOKEN_SIGNING_KEYS = pem(leaked[0].private_key)

    with pytest.raises(CommandError, match=r"The key itself is still in use\. .*TOKEN_SIGNING_KEYS"):
        run("retire", leaked[0].id, "--emergency", "--reason", REASON)

    assert Token.objects.revoked().count() == 2


# Secrecy


def secrets_of(key):
    """Texts that must not be anywhere: the private number, and each line of the PEM."""
    return [str(key.private_key.private_numbers().private_value), *pem(key.private_key).splitlines()[1:-1]]


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


# Other services


def test_published_keys_may_be_cached_for_five_minutes(client):
    answer = client.get("/.well-known/jwks.json")

    assert answer.headers["Cache-Control"] == "public, max-age=300"
    rotation.rotate()
    assert len(client.get("/.well-known/jwks.json").json()["keys"]) == 2


def test_token_signed_with_another_key_than_its_record_says_is_refused(api, owner):
    token = TokenFactory(owner=owner, signing_key_id=key_ring().current.id)
    genuine = bearer(token)
    rotation.rotate()
    forged = bearer(token)

    assert api.get("/api/v1/me", headers=genuine).status_code == 200
    assert api.get("/api/v1/me", headers=forged).status_code == 401
    assert list(TokenUse.objects.values_list("status", flat=True)) == [200]
