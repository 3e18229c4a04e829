"""Commands for the portal that the benchmark runs in a separate process.

Usage: `python -m benchmarks.portal <command>`.

`prepare` migrates and creates one organization, one person and one live token. `command` prints the command line with
which `manage.py serve` starts the web server. `queries` counts the queries of a request. Each prints one line of JSON.
"""

import json
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from io import BytesIO
from typing import Any

PATH = "/api/v1/me"
LOG = "auditlog_tokenuse"


def prepare() -> dict[str, Any]:
    from django.core.management import call_command
    from django.utils import timezone

    from accounts.models import Organization, User
    from core.api import scopes
    from tokens.services import issue_and_reveal_token

    call_command("migrate", interactive=False, verbosity=0)
    call_command("createcachetable", verbosity=0)
    organization = Organization.objects.create(name="Benchmark", slug="benchmark")
    person = User.objects.create_user(
        "person@benchmark.example", None, name="Person", site_role="user", organization=organization
    )
    end = timezone.now().replace(microsecond=0) + timedelta(days=7)
    _, signed = issue_and_reveal_token(actor=person, name="bench", chosen=[scopes.API], expires_at=end)
    return {"authorization": f"Bearer {signed}", "log_columns": log_columns(), "service": prepare_service(person)}


def prepare_service(person: Any) -> dict[str, str]:
    """A service that a proxy asks for, with the path rules of a usual one, and a token for it."""
    from django.utils import timezone

    from gateway.models import Service
    from tokens.models import Token
    from tokens.services import reveal_token

    service = Service.objects.create(
        organization=person.organization,
        name="Grafana",
        name_key="grafana",
        slug="grafana",
        scopes=[{"name": "read", "label": "Read", "description": "Read.", "only_reads": True}],
        rules="* /admin/** nobody\nPOST,PUT,DELETE /api/** nobody\nGET,HEAD /** read",
        site_roles="user",
    )
    now = timezone.now().replace(microsecond=0)
    token = Token.objects.create(
        owner=person,
        organization=person.organization,
        service=service,
        name="grafana",
        live_name_key="grafana",
        scope="service:grafana:read",
        created_at=now,
        expires_at=now + timedelta(days=7),
    )
    _, signed = reveal_token(actor=person, token=token)
    return {"id": str(service.pk), "token_id": str(token.pk), "authorization": f"Bearer {signed}"}


def command() -> list[str]:
    """Returns the command line of the web server. The last argument is the application."""
    from opsera_portal.management.commands.web import web_command

    return web_command()


def environ(authorization: str) -> dict[str, Any]:
    """What a web server passes on for one request with a token."""
    return {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": PATH,
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1:8000",
        "HTTP_AUTHORIZATION": authorization,
        "HTTP_USER_AGENT": "curl/8.0",
        "HTTP_ACCEPT": "*/*",
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(),
        "wsgi.errors": sys.stderr,
    }


def queries(prepared: dict[str, Any]) -> dict[str, float]:
    from benchmarks.queries import per_request

    return per_request([(PATH, prepared["authorization"])])[0]


def log_columns() -> list[str]:
    from auditlog.models import TokenUse

    return sorted(str(field.column) for field in TokenUse._meta.concrete_fields)


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "opsera_portal.settings"
    import django

    django.setup()
    given = json.load(sys.stdin)
    commands: dict[str, Callable[[], Any]] = {
        "prepare": prepare,
        "command": command,
        "queries": lambda: queries(given),
    }
    print(json.dumps(commands[sys.argv[1]]()))


if __name__ == "__main__":
    main()
