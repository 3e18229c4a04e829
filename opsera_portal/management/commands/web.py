"""Runs only the web server, for a service manager."""

import os
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

HOST = "127.0.0.1"


class Command(BaseCommand):
    help = (
        "Runs the web server on http://localhost:PORTAL_PORT until SIGTERM. It then finishes the requests in "
        "progress, for at most 10 seconds. Run `migrate` and `collectstatic` before, and `worker` beside it. Put a "
        "proxy with TLS in front of it (docs/operations.md). GRANIAN_WORKERS sets the number of processes that share "
        "the port."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        command = web_command()
        os.chdir(settings.BASE_DIR)
        # Replaces this process, so that the service manager watches and stops the server itself.
        os.execv(command[0], command)  # noqa: S606


def web_command() -> list[str]:
    """The command line of the web server: one process with several threads."""
    return [
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", HOST, "--port", str(settings.PORTAL_PORT)),
        *("--blocking-threads", str(settings.WEB_THREADS + settings.WEB_WAITING_THREADS)),
        *("--no-ws", "--log-level", "error", "--http1-header-read-timeout", "10000"),
        # The headers of a request must fit into 64 KiB. Only HTTP/1: proxies use it too, and it offers fewer attacks.
        *("--http", "1", "--http1-buffer-size", str(64 * 1024)),
        *("--workers-kill-timeout", "10", "opsera_portal.wsgi:application"),
    ]
