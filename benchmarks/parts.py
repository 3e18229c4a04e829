"""How much of a request with a token each part takes, in one thread without a web server.

    python -m benchmarks.parts [--only sqlite|postgresql] [--markdown]

Times the whole request, then each part alone with what that request gives it, and for what is remembered also the same
work without that. The numbers are medians in microseconds of processor and waiting time.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ROUNDS, CALLS = 11, 200

Work = Callable[[], Any]


def main() -> None:
    parser = argparse.ArgumentParser(prog="parts", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=["sqlite", "postgresql"], help="measure only this database")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    parser.add_argument("--step", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(measured()))
        return
    from benchmarks import report, servers

    databases = [name for name in servers.databases() if options.only in {None, name.lower()}]
    report.print_list(report.machine(databases), markdown=options.markdown)
    found = {}
    for database in databases:
        with servers.directory_for_data() as directory, servers.empty_database(database) as url:
            # A process has one set of settings.
            told = subprocess.run(
                [sys.executable, "-m", "benchmarks.parts", "--step"],
                env=servers.environment_of(directory, url, 8000),
                cwd=ROOT,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
        found[database] = json.loads(told.stdout)
    rows = [[part, *(f"{found[database][part]:.1f}" for database in databases)] for part in found[databases[0]]]
    head = ["µs of a request, in one thread", *databases]
    report.print_table("Parts of a request with a token", [head, *rows], markdown=options.markdown)


def measured() -> dict[str, float]:
    """Microseconds by part."""
    import os

    os.environ["DJANGO_SETTINGS_MODULE"] = "opsera_portal.settings"
    import django

    django.setup()
    from benchmarks import portal

    authorization = portal.prepare()["authorization"]
    return {part: microseconds(work) for part, work in parts(authorization)}


def microseconds(work: Work) -> float:
    for _ in range(CALLS):
        work()
    return statistics.median(_round(work) for _ in range(ROUNDS)) / CALLS * 1_000_000


def _round(work: Work) -> float:
    begun = time.perf_counter()
    for _ in range(CALLS):
        work()
    return time.perf_counter() - begun


def parts(authorization: str) -> Iterator[tuple[str, Work]]:
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIRequest
    from django.core.signals import request_finished, request_started
    from django.http import HttpResponse
    from django.urls import resolve
    from django.utils import timezone

    from auditlog import journal
    from auditlog.open_use import open_use
    from benchmarks.portal import PATH, environ
    from core.api import answer_headers, fast_path, scopes, throttling
    from core.db.prepared_statements import fetch_one, own_connection, uuid_as_stored
    from core.db.uuid7 import uuid7
    from core.http.request_context import client_address
    from opsera_portal.wsgi import application
    from tokens import jwt, record_query
    from tokens.models import Token
    from tokens.policy.rules import obstacle

    def whole() -> None:
        answer = application(environ(authorization), lambda status, headers: None)
        b"".join(answer)
        answer.close()  # type: ignore[attr-defined]

    yield "the whole request", whole

    encoded = authorization.split()[1]
    claims = jwt.decode(encoded)
    connection = own_connection()
    vendor, stored = connection.vendor, uuid_as_stored(connection)
    statement, ids = record_query._statement(vendor), [stored(claims.token_id), stored(claims.owner_id)]
    row = fetch_one(connection, statement, ids)
    token = record_query.find_token(token_id=claims.token_id, owner_id=claims.owner_id)
    if row is None or token is None:
        raise RuntimeError("The token is not in the database.")
    models = (Token, type(token.owner), type(token.organization))
    attributes = record_query._attributes(vendor, row)

    def request() -> Any:
        made: Any = WSGIRequest(environ(authorization))
        made.request_id, made.client_address = uuid7(), client_address(made)
        return made

    def take_from_limits() -> None:
        throttling._take("token", settings.API_LIMIT_TOKEN, token.pk, "")
        throttling._take("user", settings.API_LIMIT_USER, token.owner_id, "")

    def set_through_django() -> None:
        for name, value in answer_headers.HEADERS.items():
            response[name] = value

    one, now = request(), timezone.now()
    use = open_use(one)
    use.token = token
    response = HttpResponse(b"{}", content_type="application/json")
    own = {
        "request with id and address": request,
        "signature and claims, remembered": lambda: jwt.decode(encoded),
        "signature and claims, without that": lambda: jwt._decode(encoded),
        "token, owner and organization: statement": lambda: fetch_one(connection, statement, ids),
        "reading an equal row again": lambda: record_query._attributes(vendor, row),
        "reading a row without that": lambda: record_query._attributes.__wrapped__(vendor, row),
        "making the three instances": lambda: list(map(record_query._instance, models, attributes)),
        "all of it through the ORM": lambda: Token.objects.select_related("owner", "organization").get(
            pk=claims.token_id, owner=claims.owner_id
        ),
        "policy": lambda: obstacle(token, token.organization, now),
        "scopes, remembered by their text": lambda: scopes.parse(token.scope),
        "scopes, without that": lambda: scopes.parse.__wrapped__(token.scope),
        "route, remembered": lambda: fast_path._resolve("opsera_portal.urls", PATH),
        "route, without that": lambda: resolve(PATH, "opsera_portal.urls"),
        "both limits": take_from_limits,
        "headers that are checked once": lambda: answer_headers.protect(one, response),
        "the same headers through Django": set_through_django,
        "headers of the limits": lambda: throttling.announce(response, token),
        "signals of a request, with closing of connections": lambda: (
            request_started.send(sender=None, environ=one.environ),
            request_finished.send(sender=None),
        ),
        "log entry: opened": lambda: open_use(one),
        "log entry: its row": lambda: journal._row(connection, use, token, 200, None),
    }
    yield from own.items()

    def entry() -> None:
        use.request_id = uuid7()
        journal.commit(use, status=200, code=None)

    yield "log entry: written and committed", entry


if __name__ == "__main__":
    main()
