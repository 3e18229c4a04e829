"""`backup_database` and `restore_database` where they refuse; test_operations.py follows them where they work."""

import builtins
import os

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from accounts.models import Organization
from opsera_portal import database_copies

pytestmark = pytest.mark.django_db


def test_a_copy_that_exists_is_not_written_over(tmp_path):
    file = tmp_path / "old.database"
    file.write_text("the only copy there is")

    with pytest.raises(CommandError, match="File exists"):
        call_command("backup_database", str(file))

    assert file.read_text() == "the only copy there is"
    assert list(tmp_path.iterdir()) == [file], "nothing half-written stays"


def test_a_place_that_cannot_be_written_is_said_in_one_line(tmp_path):
    with pytest.raises(CommandError, match="cannot be written"):
        call_command("backup_database", str(tmp_path / "nowhere" / "new.database"))


@pytest.mark.parametrize("typed", ["", "y", "yes"])
def test_nothing_is_restored_unless_the_word_is_typed(organization, tmp_path, monkeypatch, typed):
    monkeypatch.setattr(builtins, "input", lambda prompt: typed)

    with pytest.raises(CommandError, match="Nothing was changed"):
        call_command("restore_database", str(tmp_path / "any.database"))

    assert Organization.objects.get() == organization


def test_what_is_no_copy_changes_nothing(organization, tmp_path):
    file = tmp_path / "broken.database"
    file.write_bytes(b"no database" * 1000)

    with pytest.raises(CommandError, match="Nothing was changed"):
        call_command("restore_database", str(file), "--no-input")

    assert Organization.objects.get() == organization


def test_the_password_of_the_database_is_on_no_command_line(tmp_path, monkeypatch):
    """What pg_dump was started with is for everyone on the machine to read."""
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

    database_copies.back_up(tmp_path / "new.database")

    assert "secret" not in (tmp_path / "arguments").read_text()
    assert (tmp_path / "password").read_text() == "a very secret password\n"


@pytest.mark.django_db(transaction=True)
def test_it_does_not_restore_while_something_writes(organization, tmp_path, monkeypatch):
    if connection.vendor != "sqlite":
        pytest.skip("on PostgreSQL the restore waits for its locks")
    monkeypatch.setattr(database_copies, "WAIT_FOR_OTHERS_SECONDS", 0)
    database_copies.back_up(tmp_path / "now.database")

    with transaction.atomic(), pytest.raises(database_copies.CopyFailed, match="stop web and worker"):
        database_copies.restore(tmp_path / "now.database")

    assert Organization.objects.get() == organization


@pytest.mark.django_db(transaction=True)
def test_what_was_copied_comes_back_while_others_are_connected(organization, tmp_path):
    if connection.vendor != "sqlite":
        pytest.skip("test_operations.py does so on PostgreSQL")
    copy = tmp_path / "now.database"
    call_command("backup_database", str(copy))
    Organization.objects.all().delete()

    call_command("restore_database", str(copy), "--no-input")

    assert Organization.objects.get() == organization
    assert oct(copy.stat().st_mode & 0o777) == "0o600"
