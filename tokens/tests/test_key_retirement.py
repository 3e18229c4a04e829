"""Retirement of keys: by command, by the worker, and in an emergency."""

import threading
from datetime import timedelta
from io import StringIO

import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings as portal_settings
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils import timezone

from auditlog.models import Activity, TokenUse
from core import periodic_jobs
from opsera_portal.tests.mails import delivered
from tokens import jwt, services
from tokens.keys import retirement, rotation
from tokens.keys.ring import key_ring
from tokens.models import Token
from tokens.tests.factories import TokenFactory, bearer
from tokens.tests.signing_keys import REASON, pem, run

pytestmark = pytest.mark.usefixtures("keys_directory")


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


@pytest.mark.each_database
def test_key_needed_by_live_tokens_is_not_retired(api, owner):
    old = key_ring().current
    headers = bearer(TokenFactory(owner=owner, signing_key_id=old.id))
    run("rotate", "--now")

    with pytest.raises(CommandError, match="1 live token needs this key"):
        run("retire", old.id)
    assert api.get("/api/v1/me", headers=headers).status_code == 200


@pytest.mark.each_database
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
@pytest.mark.each_database
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


@pytest.mark.each_database
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


@pytest.mark.each_database
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


def test_token_signed_with_another_key_than_its_record_says_is_refused(api, owner):
    token = TokenFactory(owner=owner, signing_key_id=key_ring().current.id)
    genuine = bearer(token)
    rotation.rotate()
    forged = bearer(token)

    assert api.get("/api/v1/me", headers=genuine).status_code == 200
    assert api.get("/api/v1/me", headers=forged).status_code == 401
    assert list(TokenUse.objects.values_list("status", flat=True)) == [200]
