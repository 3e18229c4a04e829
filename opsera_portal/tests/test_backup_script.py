"""Tests `deploy/opsera-portal-backup` when one of its two parts fails. test_operations.py runs it when both work."""

import os
import subprocess
import tarfile
import time

import pytest
from django.conf import settings

pytestmark = pytest.mark.integration

FIFTEEN_DAYS = 15 * 24 * 60 * 60


@pytest.fixture
def root(tmp_path):
    """An installation with keys, and a fake `opsera-portal` command."""
    for directory in ("opt/opsera-portal/deploy", "etc/opsera-portal", "var/lib/opsera-portal/signing-keys"):
        (tmp_path / directory).mkdir(parents=True)
    for directory in ("var/backups/opsera-portal", "var/backups/opsera-portal-keys"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "etc/opsera-portal/portal.env").write_text("PORTAL_URL=https://portal.example.com\n")
    (tmp_path / "var/lib/opsera-portal/signing-keys/one.pem").write_text("a key")
    answer(tmp_path, 'echo database > "$2"')
    return tmp_path


def answer(root, script):
    command = root / "opt/opsera-portal/deploy/opsera-portal"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)


def back_up(root):
    return subprocess.run(
        ["sh", settings.BASE_DIR / "deploy/opsera-portal-backup"],
        env=os.environ | {"ROOT": str(root)},
        capture_output=True,
        text=True,
    )


def add_old(root, place):
    file = root / "var/backups" / place / "old"
    file.write_text("from before")
    then = time.time() - FIFTEEN_DAYS
    os.utime(file, (then, then))
    return file


def copies(root, place):
    return sorted((root / "var/backups" / place).iterdir())


def test_keys_are_saved_even_if_the_database_fails(root):
    answer(root, "echo 'pg_dump failed: no connection' >&2; exit 1")
    old = add_old(root, "opsera-portal")

    done = back_up(root)

    (copy,) = copies(root, "opsera-portal-keys")
    with tarfile.open(copy) as archive:
        assert {"./signing-keys/one.pem", "portal.env"} <= set(archive.getnames())
    assert done.returncode == 1
    assert "no connection" in done.stderr
    assert "The database was NOT saved" in done.stderr
    assert old.exists(), "the last good copy of the database is kept"


def test_database_is_saved_even_if_the_keys_fail(root):
    (root / "etc/opsera-portal/portal.env").unlink()
    old = add_old(root, "opsera-portal-keys")

    done = back_up(root)

    assert [copy.read_text() for copy in copies(root, "opsera-portal")] == ["database\n"]
    assert done.returncode == 1
    assert "The keys and settings were NOT saved" in done.stderr
    assert copies(root, "opsera-portal-keys") == [old], "no incomplete file is left, and the last good copy is kept"


def test_both_parts_are_saved_and_old_copies_removed(root):
    old = [add_old(root, place) for place in ("opsera-portal", "opsera-portal-keys")]

    done = back_up(root)

    assert (done.returncode, done.stderr) == (0, "")
    assert not any(file.exists() for file in old)
    assert [len(copies(root, place)) for place in ("opsera-portal", "opsera-portal-keys")] == [1, 1]
