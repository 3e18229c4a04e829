"""kill -9 under load: every answer and every change has its entry, and the seals are valid."""

import os
import subprocess
import sys

import pytest
from django.conf import settings

from auditlog.tests.crash import crash
from opsera_portal.tests import portal

pytestmark = pytest.mark.integration


@pytest.fixture
def database_url(tmp_path):
    url = portal.make_database(f"crash{tmp_path.parent.name}")
    yield url
    portal.drop_database(url)


def test_every_answered_request_has_its_entry_after_a_kill(tmp_path, database_url):
    found = crash(tmp_path, kills=2, port=portal.free_port(), database_url=database_url)

    assert found.is_kept, found
    assert found.answered > 30
    assert found.changes > 10
    assert found.blocks > 2


@pytest.mark.slow
def test_make_crash_starts_without_pytest():
    """The Makefile target runs the module directly."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")}
    command = [sys.executable, "-m", "auditlog.tests.crash", "--help"]

    done = subprocess.run(command, env=environment, cwd=settings.BASE_DIR, capture_output=True, text=True)

    assert (done.returncode, "--kills" in done.stdout) == (0, True), done.stderr
