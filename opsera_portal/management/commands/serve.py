"""Sets the portal up and runs it: web server, worker and, for the demo, an echo endpoint."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from argparse import ArgumentParser
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection

from accounts.models import Organization
from opsera_portal.demo import dashboards, data, echo, services
from opsera_portal.management.commands.web import HOST, web_command
from tokens.keys.ring import key_ring

STOP_WITHIN_SECONDS = 15


class Command(BaseCommand):
    help = (
        "Prepares the database, the signing keys and the static files, then runs the web server on "
        "http://localhost:PORTAL_PORT and the worker, until Ctrl-C or SIGTERM. With --demo it creates two demo "
        "organizations on the first start, and runs an endpoint that their pipelines call."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--demo", action="store_true", help="create the demo organizations and run their endpoint")

    def handle(self, *args: Any, **options: Any) -> None:
        is_demo = options["demo"]
        _claim(HOST, settings.PORTAL_PORT, "PORTAL_PORT")
        if is_demo:
            for address in (echo.ADDRESS, dashboards.ADDRESS):
                _claim(address, settings.DEMO_ECHO_PORT, "DEMO_ECHO_PORT")
        self._prepare()
        created = data.seed(echo_port=settings.DEMO_ECHO_PORT) if is_demo else {}
        accounts = settings.DATA_DIR / "demo-accounts.txt"
        if created:
            data.write_accounts(created, accounts)
        if not is_demo and not Organization.objects.exists():
            self._first_administrator()
        children: list[subprocess.Popen[bytes]] = []
        # Before the first child starts, so that a signal always stops all of them.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _interrupt)
        try:
            self._start(children, is_demo)
            connection.close()
            self._wait_until_it_answers(children)
            self._greet(accounts if is_demo else None)
            self._watch(children)
        except KeyboardInterrupt:
            self.stdout.write("Stopping.")
        finally:
            _stop(children)

    def _prepare(self) -> None:
        try:
            call_command("migrate", interactive=False, verbosity=0)
            if not settings.REDIS_URL:
                call_command("createcachetable", verbosity=0)
        except DatabaseError as error:
            raise CommandError(f"The database cannot be used: {str(error).splitlines()[0]}") from None
        _collect_static_files()
        key_ring()

    def _first_administrator(self) -> None:
        if not sys.stdin.isatty():
            self.stdout.write("There is no organization yet. Create one with: manage.py create_organization")
            return
        self.stdout.write("There is no organization yet. Create the first one, with its Administrator.")
        call_command("create_organization")

    def _start(self, children: list[subprocess.Popen[bytes]], is_demo: bool) -> None:
        environment = dict(os.environ)
        python = sys.executable
        manage = str(settings.BASE_DIR / "manage.py")
        commands = [web_command(), [python, manage, "worker"]]
        if is_demo:
            # The portal can call the demo's own addresses, and nothing else on the loopback network.
            own = (echo.ADDRESS, dashboards.ADDRESS)
            allowed = [*filter(None, [environment.get("HTTP_STEP_ALLOWED_NETWORKS")]), *own]
            environment["HTTP_STEP_ALLOWED_NETWORKS"] = ",".join(allowed)
            port = str(settings.DEMO_ECHO_PORT)
            commands.append([python, "-m", "opsera_portal.demo.echo", port])
            # The proxy of the demo's service has an address of its own, which the portal trusts.
            trusted = [*filter(None, [environment.get("TRUSTED_PROXIES")]), dashboards.ADDRESS]
            environment["TRUSTED_PROXIES"] = ",".join(trusted)
            for service in services.of_demo():
                module = "opsera_portal.demo.dashboards"
                commands.append([python, "-m", module, port, str(settings.PORTAL_PORT), str(service.pk)])
            if not environment.get("EMAIL_URL"):
                environment["EMAIL_URL"] = _mails_into(_demo_mails())
        # Each has its own session, so that Ctrl-C reaches only this process, which then stops them in order.
        for command in commands:
            child = subprocess.Popen(command, env=environment, cwd=settings.BASE_DIR, start_new_session=True)
            children.append(child)

    def _wait_until_it_answers(self, children: list[subprocess.Popen[bytes]]) -> None:
        for _ in range(300):
            with closing(socket.socket()) as probe:
                if probe.connect_ex((HOST, settings.PORTAL_PORT)) == 0:
                    return
            if any(child.poll() is not None for child in children):
                raise CommandError("A part of the portal could not be started. Its messages are above.")
            time.sleep(0.1)
        raise CommandError("The web server did not answer within 30 seconds.")

    def _greet(self, accounts: Path | None) -> None:
        """Prints the addresses and accounts, as the last lines of a successful start."""
        lines = ["", f"The portal is ready: {settings.PORTAL_URL}/"]
        if accounts is not None:
            lines += [f"  {email:<24} {password}" for email, password in data.read_accounts(accounts).items()]
            lines.append(f"These accounts are kept in {accounts}")
            if not os.environ.get("EMAIL_URL"):
                lines.append(f"Mails are written to {_demo_mails()}/")
        self.stdout.write("\n".join([*lines, "Stop with Ctrl-C."]))
        self.stdout.flush()

    def _watch(self, children: list[subprocess.Popen[bytes]]) -> None:
        while all(child.poll() is None for child in children):
            time.sleep(0.2)
        raise CommandError("A part of the portal has stopped. Its messages are above.")


def _collect_static_files() -> None:
    """Collects and compresses the static files, unless none has changed since the last start: this takes seconds."""
    digest = hashlib.sha256()
    for finder in get_finders():
        for name, storage in finder.list([]):
            digest.update(f"{name} {storage.size(name)} {storage.get_modified_time(name).timestamp()}\n".encode())
    collected = Path(settings.STATIC_ROOT) / ".collected"
    if collected.exists() and collected.read_text() == digest.hexdigest():
        return
    collected.unlink(missing_ok=True)
    call_command("collectstatic", interactive=False, verbosity=0)
    collected.write_text(digest.hexdigest())


def _demo_mails() -> Path:
    return Path(settings.DATA_DIR) / "demo-mails"


def _mails_into(folder: Path) -> str:
    """The ``EMAIL_URL`` that writes mails to this directory, which is private: mails contain links that give access."""
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    return f"filemail:///{quote(str(folder.absolute()))}"


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _claim(host: str, port: int, variable: str) -> None:
    """Checks before anything starts that the port is free. Raises ``CommandError`` with one line."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CommandError(
                f"{host}:{port} cannot be used ({error.strerror}). Choose another port with {variable}."
            ) from None


def _stop(children: list[subprocess.Popen[bytes]]) -> None:
    """Stops the web server first, so that no new work arrives, then the worker, which finishes the current step."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    for child in children:
        child.terminate()
    deadline = time.monotonic() + STOP_WITHIN_SECONDS
    for child in children:
        try:
            child.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
