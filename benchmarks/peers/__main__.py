"""Commands that the benchmark runs for the peers in a process of its own: `python -m benchmarks.peers <command>`.

`prepare` creates the tables, one person and one token of each kind. `queries` counts the queries of a request to each.
"""

import json
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

LIFETIME = timedelta(days=7)


def prepare() -> dict[str, Any]:
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.utils import timezone
    from knox.models import AuthToken  # type: ignore[import-not-found]
    from rest_framework.authtoken.models import Token as DRFToken
    from rest_framework_simplejwt.tokens import AccessToken

    from benchmarks.peers.models import Organization, Token, TokenUse

    call_command("migrate", interactive=False, verbosity=0)
    # The peers' own tables have no migrations. They can be created after the tables that they refer to.
    call_command("migrate", interactive=False, verbosity=0, run_syncdb=True)
    person = User.objects.create_user("person", "person@benchmark.example", first_name="Person")
    drf_token = DRFToken.objects.create(user=person)
    _, knox_token = AuthToken.objects.create(user=person)
    jwt = AccessToken.for_user(person)
    jwt.set_exp(lifetime=LIFETIME)
    now = timezone.now()
    Token.objects.create(
        id=jwt["jti"],
        owner=person,
        organization=Organization.objects.create(name="Benchmark", slug="benchmark"),
        name="bench",
        scope="api",
        created_at=now.replace(microsecond=0),
        expires_at=now.replace(microsecond=0) + LIFETIME,
        revealed_at=now,
        last_used_at=now,
        last_used_ip="127.0.0.1",
    )
    return {
        "authorizations": {
            "/plain": "",
            "/drf-token": f"Token {drf_token.key}",
            "/knox": f"Token {knox_token}",
            "/simplejwt": f"Bearer {jwt}",
            "/naive": f"Bearer {jwt}",
        },
        "log_columns": sorted(str(field.column) for field in TokenUse._meta.concrete_fields),
    }


def queries(prepared: dict[str, Any]) -> dict[str, Any]:
    from benchmarks.queries import per_request

    authorizations = prepared["authorizations"]
    return dict(zip(authorizations, per_request(authorizations.items()), strict=True))


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.peers.settings"
    import django

    django.setup()
    given = json.load(sys.stdin)
    commands: dict[str, Callable[[], Any]] = {"prepare": prepare, "queries": lambda: queries(given)}
    print(json.dumps(commands[sys.argv[1]]()))


if __name__ == "__main__":
    main()
