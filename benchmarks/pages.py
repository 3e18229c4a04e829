"""Measures every page: queries, processor time and bytes, for the demo or for a big organization.

    python -m benchmarks.pages [--big] [--entries 1000000] [--only sqlite|postgresql] [--markdown]

Signs in as the demo's Administrator and follows the links to every kind of page, without a web server. ``--big`` adds
5,000 people, 20,000 tokens, 2,000 pipelines and 1,000 groups to the demo's organization, and ``--entries`` adds that
many entries to its authentication log.
"""

import argparse
import gzip
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PEOPLE, TOKENS, PIPELINES, GROUPS = 5_000, 20_000, 2_000, 1_000
MOST_QUERIES, MOST_MS = 12, 60
ROUNDS = 5
START = ["/", "/profile/", "/organization/users/", "/pipelines/", "/who-may-do-what/", "/tokens/lookup/"]
# Files, addresses that are not pages, Django admin, and signing out, which would end the walk.
NOT_PAGES = re.compile(r"/static/|/admin/|/api/|/export/|/logout/|/download/|\.well-known|/readyz|/healthz|/progress/")
HEAD = ["page", "queries", "ms", "KiB", "KiB compressed", "reached"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures queries, processor time and bytes of every page.")
    parser.add_argument("--big", action="store_true", help="a big organization")
    parser.add_argument("--entries", type=int, default=0, help="with --big: number of log entries to add")
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.big, options.entries)))
        return
    from benchmarks import report, servers

    databases = [name for name in servers.databases() if options.only in {None, name.lower()}]
    report.print_list(report.machine(databases), markdown=options.markdown)
    missed = 0
    for database in databases:
        with servers.directory_for_data() as directory, servers.empty_database(database) as database_url:
            # A process has one set of settings, so each database is measured in a separate process.
            told = subprocess.run(
                [sys.executable, *sys.orig_argv[1:], "--measure"],
                env=servers.environment_of(directory, database_url, 8000),
                cwd=ROOT,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
        rows = json.loads(told.stdout)
        report.print_table(f"{database}: pages", [HEAD, *rows], markdown=options.markdown)
        missed += sum(row[-1] == "MISSED" for row in rows)
    if missed:
        sys.exit(f"{missed} pages need more than {MOST_QUERIES} queries or {MOST_MS} ms.")


def measure(big: bool, entries: int) -> list[list[str]]:
    """One row for each kind of page, the slowest first."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "opsera_portal.settings"
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command
    from django.test import Client

    from accounts.models import User
    from core.db import statistics as statistics_of_database
    from opsera_portal.demo import data

    settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
    call_command("migrate", verbosity=0)
    call_command("createcachetable", verbosity=0)
    data.seed(echo_port=9)
    administrator = User.objects.get(email="admin@demo.example")
    if big:
        fill(administrator, entries)
        # The worker does this each day.
        statistics_of_database.refresh(threading.Event())
    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(administrator)
    return [row for _, row in sorted((measured(client, kind, path) for kind, path in walk(client)), reverse=True)]


def walk(client: Any) -> Iterator[tuple[str, str]]:
    """Follows links, and yields one address of each kind of page. A kind is a route."""
    from django.urls import Resolver404, resolve

    waiting, seen = list(reversed(START)), set()
    while waiting:
        path = waiting.pop().partition("#")[0]
        try:
            kind = resolve(path.partition("?")[0]).route
        except Resolver404:
            continue
        if kind in seen or NOT_PAGES.search(path):
            continue
        seen.add(kind)
        answer = client.get(path)
        if answer.status_code != 200 or not answer["Content-Type"].startswith("text/html"):
            continue
        yield kind, path
        found = re.findall(r'href="(/[^"]*)"', answer.content.decode())
        waiting += [address.replace("&amp;", "&") for address in found]


def measured(client: Any, kind: str, path: str) -> tuple[float, list[str]]:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as queries:
        client.get(path)
    count, taken = len(queries), []
    for _ in range(ROUNDS):
        begun = time.process_time()
        content = client.get(path).content
        taken.append((time.process_time() - begun) * 1000)
    ms = statistics.median(taken)
    reached = "yes" if count <= MOST_QUERIES and ms <= MOST_MS else "MISSED"
    size, compressed = len(content) / 1024, len(gzip.compress(content)) / 1024
    return ms, [f"/{kind}", str(count), f"{ms:.0f}", f"{size:.0f}", f"{compressed:.0f}", reached]


def fill(administrator: Any, entries: int) -> None:
    """Adds people, tokens, pipelines, groups and log entries to the Administrator's organization."""
    from django.utils import timezone

    from accounts.models import Group, User
    from benchmarks.big_log import filling
    from benchmarks.big_log import people as people_of_log
    from pipelines.models import Pipeline
    from tokens.models import Token

    organization, now = administrator.organization, timezone.now()
    people = [
        User(email=f"p{n}@demo.example", name=f"Person {n}", site_role="user", organization=organization, joined_at=now)
        for n in range(PEOPLE)
    ]
    User.objects.bulk_create(people, batch_size=500)
    owners = [administrator, *people]
    tokens = [
        Token(
            owner=owners[n % len(owners)],
            organization=organization,
            name=f"token {n}",
            live_name_key=f"token {n}",
            scope="api",
            created_at=now - timedelta(days=20),
            expires_at=now + timedelta(days=1 + n % 60),
            revealed_at=now - timedelta(days=20),
            last_used_at=now if n % 3 else None,
        )
        for n in range(TOKENS)
    ]
    Token.objects.bulk_create(tokens, batch_size=500)
    pipelines = [
        Pipeline(organization=organization, owner=owners[n % 50], name=f"Pipeline {n}", tags=[f"team-{n % 40}"])
        for n in range(PIPELINES)
    ]
    Pipeline.objects.bulk_create(pipelines, batch_size=500)
    groups = Group.objects.bulk_create([Group(organization=organization, name=f"Group {n}") for n in range(GROUPS)])
    members = Group.members.through
    rows = (
        members(group_id=group.pk, user_id=people[(20 * number + n) % PEOPLE].pk)
        for number, group in enumerate(groups)
        for n in range(20)
    )
    while batch := list(islice(rows, 5_000)):
        members.objects.bulk_create(batch)
    if entries:
        people_of_log.number_tokens(tokens[:200])
        filling.add_history(entries)


if __name__ == "__main__":
    main()
