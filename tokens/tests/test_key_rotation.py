"""Rotation: a new key is published before it signs, in every process."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import time_machine
from django.conf import settings as portal_settings
from django.core.management import CommandError
from django.utils import timezone

from tokens import jwt
from tokens.keys import retirement, rotation
from tokens.keys.ring import key_ring
from tokens.tests.factories import TokenFactory, bearer
from tokens.tests.signing_keys import run

pytestmark = pytest.mark.usefixtures("keys_directory")


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


def test_oldest_key_signs_after_the_clock_was_set_back(db):
    old = key_ring().current
    run("rotate")

    with time_machine.travel(timezone.now() - timedelta(days=400), tick=False):
        assert key_ring().current == old


def test_option_now_is_only_for_rotate(db):
    with pytest.raises(CommandError, match="--now"):
        run("list", "--now")


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


@pytest.mark.slow
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


def test_published_keys_may_be_cached_for_five_minutes(client):
    answer = client.get("/.well-known/jwks.json")

    assert answer.headers["Cache-Control"] == "public, max-age=300"
    rotation.rotate()
    assert len(client.get("/.well-known/jwks.json").json()["keys"]) == 2
