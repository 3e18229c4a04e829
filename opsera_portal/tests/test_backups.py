"""Backup and restore: refusals, and secrets in copies. test_operations.py tests success."""

import builtins
import os
import re
import sqlite3
import subprocess
from contextlib import closing

import pytest
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client

from accounts import invitations
from accounts.models import Organization
from accounts.security.session_store import SessionStore, digest_of
from accounts.signin import password_reset
from accounts.tests.factories import PASSWORD, UserFactory
from opsera_portal import backups

pytestmark = [pytest.mark.django_db, pytest.mark.each_database]


def test_existing_copy_is_not_overwritten(tmp_path):
    file = tmp_path / "old.database"
    file.write_text("the only copy there is")

    with pytest.raises(CommandError, match="File exists"):
        call_command("backup_database", str(file))

    assert file.read_text() == "the only copy there is"
    assert list(tmp_path.iterdir()) == [file], "no partial file is left"


def test_unwritable_file_is_reported_in_one_line(tmp_path):
    with pytest.raises(CommandError, match="cannot be written"):
        call_command("backup_database", str(tmp_path / "nowhere" / "new.database"))


@pytest.mark.parametrize("typed", ["", "y", "yes"])
def test_nothing_is_restored_without_typed_confirmation(organization, tmp_path, monkeypatch, typed):
    monkeypatch.setattr(builtins, "input", lambda prompt: typed)

    with pytest.raises(CommandError, match="Nothing was changed"):
        call_command("restore_database", str(tmp_path / "any.database"))

    assert Organization.objects.get() == organization


def test_restoring_a_file_that_is_no_backup_changes_nothing(organization, tmp_path):
    file = tmp_path / "broken.database"
    file.write_bytes(b"no database" * 1000)

    with pytest.raises(CommandError, match="Nothing was changed"):
        call_command("restore_database", str(file), "--no-input")

    assert Organization.objects.get() == organization


def test_database_password_is_on_no_command_line(tmp_path, monkeypatch):
    """Everyone on the machine can read the arguments of pg_dump."""
    if connection.vendor != "postgresql":
        pytest.skip("pg_dump is for PostgreSQL")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "pg_dump").write_text(
        f'#!/bin/sh\necho "$*" > {tmp_path}/arguments\necho "$PGPASSWORD" > {tmp_path}/password\n'
    )
    (tools / "pg_dump").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    monkeypatch.setitem(connection.settings_dict, "PASSWORD", "a very secret password")

    backups.back_up(tmp_path / "new.database")

    assert "secret" not in (tmp_path / "arguments").read_text()
    assert (tmp_path / "password").read_text() == "a very secret password\n"


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
def test_database_is_not_restored_while_something_writes(organization, tmp_path, monkeypatch):
    if connection.vendor != "sqlite":
        pytest.skip("on PostgreSQL the restore waits for its locks")
    monkeypatch.setattr(backups, "WAIT_FOR_OTHERS_SECONDS", 0)
    backups.back_up(tmp_path / "now.database")

    with transaction.atomic(), pytest.raises(backups.CopyFailed, match="stop the web server and the worker"):
        backups.restore(tmp_path / "now.database")

    assert Organization.objects.get() == organization


@pytest.mark.django_db(transaction=True)
def test_backup_is_restored_while_others_are_connected(organization, tmp_path):
    if connection.vendor != "sqlite":
        pytest.skip("test_operations.py does so on PostgreSQL")
    copy = tmp_path / "now.database"
    call_command("backup_database", str(copy))
    Organization.objects.all().delete()

    call_command("restore_database", str(copy), "--no-input")

    assert Organization.objects.get() == organization
    assert oct(copy.stat().st_mode & 0o777) == "0o600"


# What a copy gives access to


def signed_in(user):
    client = Client()
    client.post("/login/", {"login": user.email, "password": PASSWORD})
    assert is_signed_in(client)
    return client


def is_signed_in(client):
    return client.get("/profile/security/").status_code == 200


def text_of(copy):
    """The whole content of the file, including deleted rows."""
    if connection.vendor == "sqlite":
        return copy.read_bytes().decode("latin-1")
    return subprocess.run(["pg_restore", "--file=-", str(copy)], capture_output=True, check=True, text=True).stdout


@pytest.fixture
def links(organization, owner):
    """Keys of unused links. Two were opened in a browser, so their keys are in its session."""
    invited = UserFactory(organization=organization, email="new@acme.example")
    invited.set_unusable_password()
    invited.joined_at = None
    invited.save()
    waiting = EmailAddress.objects.create(user=owner, email="other@acme.example")
    paths = [
        password_reset.link_for(owner).removeprefix(settings.PORTAL_URL),
        invitations.link_for(invited).removeprefix(settings.PORTAL_URL),
    ]
    for path in paths:
        assert Client().get(path).status_code == 302
    return [path.rstrip("/").rpartition("/")[2] for path in paths] + [EmailConfirmationHMAC(waiting).key]


@pytest.mark.django_db(transaction=True)
def test_no_value_of_a_copy_opens_a_session_or_a_link(owner, links, tmp_path):
    client, ended, copy = signed_in(owner), signed_in(owner), tmp_path / "now.database"
    keys = [browser.session.session_key for browser in (client, ended)]
    data = Session.objects.get(session_key=digest_of(keys[0])).session_data
    ended.post("/logout/")

    call_command("backup_database", str(copy))

    text = text_of(copy)
    assert owner.email in text
    assert not [secret for secret in (*keys, *map(digest_of, keys), data, *links) if secret in text]
    for value in set(re.findall(r"[A-Za-z0-9_:=+/.-]{8,}", text)):
        assert SessionStore(value).load() == {}


@pytest.mark.django_db(transaction=True)
def test_nobody_is_signed_in_after_a_restore(owner, tmp_path):
    if connection.vendor != "sqlite":
        pytest.skip("test_operations.py restores on PostgreSQL")
    client, copy = signed_in(owner), tmp_path / "now.database"
    call_command("backup_database", str(copy))

    call_command("restore_database", str(copy), "--no-input")

    assert not is_signed_in(client)
    assert not Session.objects.exists()
    assert not UserSession.objects.exists()
    assert is_signed_in(signed_in(owner))


@pytest.mark.django_db(transaction=True)
def test_sessions_in_an_old_copy_are_not_restored(owner, tmp_path, monkeypatch):
    """Older versions copied sessions."""
    if connection.vendor != "sqlite":
        pytest.skip("test_operations.py restores on PostgreSQL")
    client, copy = signed_in(owner), tmp_path / "old.database"
    with monkeypatch.context() as before:
        before.setattr(backups, "LEFT_OUT", {})
        call_command("backup_database", str(copy))
    with closing(sqlite3.connect(copy)) as rows:
        assert rows.execute("SELECT count(*) FROM django_session").fetchone() == (1,)

    call_command("restore_database", str(copy), "--no-input")

    assert not is_signed_in(client)


# Tables whose rows alone give no access. Add a new table here or to `LEFT_OUT`.
KEPT = {
    "account_emailaddress",
    "accounts_erasure",
    "accounts_group",
    "accounts_group_members",
    "accounts_notification",
    "accounts_organization",
    "accounts_organizationprovider",
    "accounts_organizationprovider_managed_groups",
    "accounts_serviceaccount",
    "accounts_serviceaccount_responsible",
    "accounts_user",
    "accounts_webhook",
    "accounts_webhookdelivery",
    "auditlog_activity",
    "auditlog_addressname",
    "auditlog_logplace",
    "auditlog_organizationusage",
    "auditlog_seal",
    "auditlog_tokenusage",
    "auditlog_tokenuse",
    "auditlog_usageprogress",
    "auth_group",
    "auth_group_permissions",
    "auth_permission",
    "django_admin_log",
    "django_content_type",
    "django_migrations",
    "django_tasks_database_dbtaskresult",  # ids only: the worker creates links when it sends them
    "gateway_service",
    "gateway_servicecredential",  # digests of secrets with 256 random bits
    "gateway_servicerule",
    "mfa_authenticator",  # seeds are encrypted, recovery codes are hashes, and passkeys are public keys
    "core_ratecount",
    "core_submission",
    "tokens_tokenexchange",  # ids, issuers and digests of exchanged identities
    "tokens_trustrefusals",
    "tokens_trustrule",
    "pipelines_accessrule",
    "pipelines_pipeline",
    "pipelines_pipeline_notified_people",
    "pipelines_run",
    "pipelines_runlogline",
    "pipelines_step",  # secrets are encrypted
    "pipelines_steprun",
    "pipelines_tokenpipeline",
    "socialaccount_socialaccount",
    "socialaccount_socialapp",
    "tokens_approvalrequest",
    "tokens_reviewcampaign",
    "tokens_reviewitem",
    "tokens_statuslist",
    "tokens_token",
    "tokens_watchedtoken",
}


def test_every_table_is_listed_as_kept_or_left_out():
    # SQLite's own tables come with ANALYZE.
    names = {name for name in connection.introspection.table_names() if not name.startswith("sqlite_")}
    tables = names | {"portal_cache"}

    assert not KEPT & backups.LEFT_OUT.keys()
    assert tables == KEPT | backups.LEFT_OUT.keys(), "add a new table to KEPT or to LEFT_OUT"
