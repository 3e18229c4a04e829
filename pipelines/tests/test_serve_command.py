"""Messages of `manage.py serve` when it cannot start. Tests that use the started portal prove that it starts."""

import os
import socket
import subprocess
import sys

import pytest
from django.conf import settings as portal_settings
from django.core.management import CommandError, call_command

from opsera_portal.management.commands.serve import Command

pytestmark = pytest.mark.integration


@pytest.fixture
def taken_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.fixture
def taken_echo_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.2", 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def serve(tmp_path):
    def serve(*arguments, **environment):
        inherited = {
            name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "DJANGO_SETTINGS_MODULE"}
        }
        return subprocess.run(
            [sys.executable, str(portal_settings.BASE_DIR / "manage.py"), "serve", *arguments],
            env=inherited | {"PORTAL_DATA_DIR": str(tmp_path)} | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return serve


@pytest.fixture
def no_setup(monkeypatch):
    """The command runs in this process and must not set up the portal."""
    monkeypatch.setattr(Command, "_prepare", None)


def test_port_in_use_is_reported_in_one_line_before_setup(taken_port, settings, no_setup):
    settings.PORTAL_PORT = taken_port

    with pytest.raises(CommandError) as refused:
        call_command("serve")

    assert str(refused.value) == (
        f"127.0.0.1:{taken_port} cannot be used (Address already in use). Choose another port with PORTAL_PORT."
    )


def test_demo_endpoint_port_in_use_is_reported_in_one_line(free_port, taken_echo_port, settings, no_setup):
    settings.PORTAL_PORT, settings.DEMO_ECHO_PORT = free_port, taken_echo_port

    with pytest.raises(CommandError) as refused:
        call_command("serve", "--demo")

    assert str(refused.value) == (
        f"127.0.0.2:{taken_echo_port} cannot be used (Address already in use). Choose another port with DEMO_ECHO_PORT."
    )


def test_unreadable_database_is_reported_in_one_line(serve, free_port, tmp_path):
    (tmp_path / "portal.sqlite3").write_text("This is no database. " * 50)

    ended = serve(PORTAL_PORT=str(free_port))

    assert ended.returncode == 1
    assert ended.stderr == "CommandError: The database cannot be used: file is not a database\n"
