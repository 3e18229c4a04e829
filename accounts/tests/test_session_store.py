"""The database stores only a digest of each session key. Nobody can sign in with the digest."""

import re
from importlib import import_module

import pytest
from allauth.usersessions.models import UserSession
from asgiref.sync import async_to_sync
from django.apps import apps
from django.conf import settings
from django.contrib.sessions.models import Session
from django.test import Client

from accounts.security import sessions
from accounts.security.session_store import SessionStore, digest_of
from accounts.tests.factories import PASSWORD

MIGRATION = import_module("accounts.migrations.0007_session_keys_as_digests")


def sign_in(user):
    client = Client()
    client.post("/login/", {"login": user.email, "password": PASSWORD})
    return client


def with_cookie(value):
    client = Client()
    client.cookies[settings.SESSION_COOKIE_NAME] = value
    return client


def is_signed_in(client):
    return client.get("/profile/security/").status_code == 200


def test_both_tables_store_a_digest_of_the_key(owner):
    client = sign_in(owner)
    key = client.cookies[settings.SESSION_COOKIE_NAME].value

    kept = [Session.objects.get().session_key, UserSession.objects.get().session_key]

    assert kept == [digest_of(key)] * 2
    assert re.fullmatch("[0-9a-f]{40}", digest_of(key))
    assert key not in str([*Session.objects.values(), *UserSession.objects.values()])


def test_digest_in_a_cookie_does_not_sign_in(owner):
    key = sign_in(owner).cookies[settings.SESSION_COOKIE_NAME].value

    assert is_signed_in(with_cookie(key))
    assert not is_signed_in(with_cookie(digest_of(key)))
    assert not is_signed_in(with_cookie(digest_of(digest_of(key))))


@pytest.mark.parametrize("cookie", ["", "x", "a" * 32, "a" * 40, "a" * 5000, "ü" * 32, "\x00" * 32, "%00" * 20])
def test_malformed_session_cookie_does_not_sign_in(owner, cookie):
    sign_in(owner)

    assert not is_signed_in(with_cookie(cookie))


def test_renewed_session_keeps_its_row_and_the_old_key_stops_working(owner, rf):
    client = sign_in(owner)
    old, row = client.session.session_key, UserSession.objects.get()
    request = rf.get("/")
    request.session = SessionStore(old)

    sessions.renew(request)

    assert UserSession.objects.get().pk == row.pk
    assert UserSession.objects.get().session_key == digest_of(request.session.session_key)
    assert not is_signed_in(with_cookie(old))
    assert is_signed_in(with_cookie(request.session.session_key))


def test_signing_out_removes_the_row_of_the_session(owner):
    client = sign_in(owner)

    client.post("/logout/")

    assert not Session.objects.exists()


def test_signing_in_twice_in_one_browser_lists_one_session(owner):
    client = sign_in(owner)
    client.post("/login/", {"login": owner.email, "password": PASSWORD})

    assert sessions.live_sessions(owner).count() == 1


@pytest.mark.django_db
def test_asynchronous_methods_use_digests_too():
    async def story():
        store = SessionStore()
        await store.aset("name", "Ada")
        await store.asave()
        key = store.session_key
        assert await SessionStore(key).aget("name") == "Ada"
        assert await SessionStore(digest_of(key)).aget("name") is None
        assert await store.aexists(key)
        assert not await store.aexists(digest_of(key))
        await SessionStore().adelete(digest_of(key))
        assert await store.aexists(key)
        await SessionStore().adelete(key)
        assert not await store.aexists(key)

    # Runs in this thread, so that it uses the test's connection.
    async_to_sync(story)()


def test_migration_to_digests_keeps_people_signed_in(owner):
    client = sign_in(owner)
    # The state of both tables before the migration.
    Session.objects.update(session_key=client.session.session_key)
    UserSession.objects.update(session_key=client.cookies[settings.SESSION_COOKIE_NAME].value)

    for _ in range(2):  # the second time changes nothing
        MIGRATION.hash_keys(apps, None)
        assert is_signed_in(client)
        assert sessions.live_sessions(owner).count() == 1


def test_undoing_the_migration_ends_all_sessions(owner):
    """Otherwise the earlier version would accept the stored digests as session keys."""
    sign_in(owner)

    MIGRATION.end_sessions(apps, None)

    assert not Session.objects.exists()
    assert not UserSession.objects.exists()
