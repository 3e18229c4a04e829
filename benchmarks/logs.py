"""Measures reading, exporting, sealing and pruning a log of five million entries (docs/product.md#numbers).

    python -m benchmarks.logs [--entries 5000000] [--only sqlite|postgresql] [--markdown]

Fills a temporary database, on SQLite and, if it is available, on PostgreSQL. Then measures the database time for a page
at the beginning, in the middle and at the end of a list; the time of the whole answer; the speed of an export; and how
long a writer waits while old entries are removed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OWNERS, TOKENS_EACH, DAYS = 40, 5, 420
ROUNDS = 7
BATCH = 100_000
# The worker seals entries as they arrive, so it never seals a whole log at once.
SEALED_AT_MOST = 50_000


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Measures reading, exporting, sealing and pruning a log of millions of entries."
    )
    parser.add_argument("--entries", type=int, default=5_000_000)
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    parser.add_argument("--markdown", action="store_true")
    chosen = parser.parse_args()
    from benchmarks import report, servers

    databases = [name for name in servers.databases() if chosen.only in {None, name.lower()}]
    report.print_list(report.machine(databases), markdown=chosen.markdown)
    for database in databases:
        with servers.directory_for_data() as directory, servers.empty_database(database) as database_url:
            # A process has one set of settings, so each database is measured in a separate process.
            told = subprocess.run(
                [sys.executable, "-m", "benchmarks.logs", "--measure", str(chosen.entries)],
                env=servers.environment_of(directory, database_url, 8000),
                cwd=ROOT,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
        for title, rows in json.loads(told.stdout):
            report.print_table(f"{database}: {title}", rows, markdown=chosen.markdown)


def measure(entries: int) -> list[tuple[str, list[list[str]]]]:
    from django.conf import settings
    from django.core.management import call_command
    from django.test.utils import setup_test_environment

    setup_test_environment()
    settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
    call_command("migrate", verbosity=0)
    call_command("createcachetable", verbosity=0)
    people = make_people()
    seconds = clock(lambda: fill(people, entries))
    title = f"{entries:,} entries, {OWNERS} owners, {OWNERS * TOKENS_EACH} tokens, {DAYS} days"
    return [
        (f"pages, {title}", pages(people)),
        ("exports", exports(people)),
        (
            "sealing and verifying",
            [["", "entries", "seconds", "entries/s"], line("filled", entries, seconds), *keeping(people)],
        ),
        ("waiting time of a writer during pruning", waiting(people)),
    ]


def line(label: str, entries: int, seconds: float) -> list[str]:
    return [label, f"{entries:,}", f"{seconds:,.1f}", f"{entries / seconds:,.0f}"]


def make_people() -> dict[str, Any]:
    from accounts.models import Organization, User
    from tokens.models import Token

    organization = Organization.objects.create(name="Bench", slug="bench", log_retention_days=3660)
    users = [
        User(email=f"user{number}@bench.example", name="U", site_role="user", organization=organization)
        for number in range(OWNERS)
    ]
    User.objects.bulk_create(users)
    auditor = User.objects.create_user(
        "auditor@bench.example", None, name="A", site_role="auditor", organization=organization
    )
    start = now() - timedelta(days=20)
    tokens = [
        Token(
            owner=user,
            organization=organization,
            name=f"token {number}",
            live_name_key=f"token {number}",
            scope="api",
            created_at=start,
            expires_at=start + timedelta(days=60),
            revealed_at=start,
        )
        for user in users
        for number in range(TOKENS_EACH)
    ]
    Token.objects.bulk_create(tokens)
    return {"organization": organization, "users": users, "auditor": auditor, "tokens": tokens}


def rows_of(people: dict[str, Any], entries: int) -> Iterator[tuple[Any, ...]]:
    """Yields entries evenly distributed over the period. A fifth is for the first token, a quarter for its owner."""
    from core.db.prepared_statements import own_connection, uuid_as_stored

    as_stored = uuid_as_stored(own_connection())
    tokens, organization = people["tokens"], people["organization"]
    step = timedelta(days=DAYS) / entries
    start = now() - timedelta(days=DAYS)
    base = int(start.timestamp() * 1000)
    stored = {token: (as_stored(token.pk), as_stored(token.owner_id)) for token in tokens}
    organization_id = as_stored(organization.pk)
    for number in range(entries):
        at = start + step * number
        token = tokens[0] if number % 5 == 0 else tokens[number * 7919 % len(tokens)]
        token_id, owner_id = stored[token]
        request_id = uuid.UUID(int=(base + number) << 80 | 0x7 << 76 | 0b10 << 62 | number)
        is_refused = number % 100 == 0
        yield (
            as_stored(request_id),
            at,
            token_id,
            token.name,
            "api",
            owner_id,
            token.owner.email,
            organization_id,
            "bench",
            "GET",
            f"/api/v1/pipelines/{number % 1000}",
            403 if is_refused else 200,
            "refused" if is_refused else "allowed",
            "forbidden" if is_refused else "ok",
            f"203.0.113.{number % 50}",
            "python-httpx/0.28",
            7,
        )


def fill(people: dict[str, Any], entries: int) -> None:
    from django.db import connection, transaction

    from auditlog.journal import _COLUMNS

    rows = rows_of(people, entries)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor, cursor.copy(f"COPY auditlog_tokenuse ({_COLUMNS}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        with connection.cursor() as cursor:
            cursor.execute("VACUUM (ANALYZE) auditlog_tokenuse")
        return
    marks = ", ".join(["?"] * len(_COLUMNS.split(",")))
    statement = f"INSERT INTO auditlog_tokenuse ({_COLUMNS}) VALUES ({marks})"  # noqa: S608
    adapt = connection.ops.adapt_datetimefield_value
    with connection.cursor() as cursor:
        # For filling only: the measurements use another connection.
        cursor.execute("PRAGMA synchronous=OFF")
        cursor.execute("PRAGMA cache_size=-1000000")
    while batch := [(row[0], adapt(row[1]), *row[2:]) for row in islice(rows, BATCH)]:
        with transaction.atomic():
            connection.connection.executemany(statement, batch)
    connection.close()
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def pages(people: dict[str, Any]) -> list[list[str]]:
    busy, auditor, token = people["users"][0], people["auditor"], people["tokens"][0]
    mine, ours = "/profile/authentication-log/", "/organization/authentication-log/"
    asked = [
        ("mine", busy, mine, {}),
        ("one token", busy, f"/profile/tokens/{token.pk}/", {}),
        ("mine, one token", busy, mine, {"token_id": str(token.pk)}),
        ("the organization's", auditor, ours, {}),
        ("the organization's, one token", auditor, ours, {"token_id": str(token.pk)}),
        ("mine, refused only", busy, mine, {"outcome": "refused"}),
        ("mine, no match", busy, mine, {"q": "not to be found"}),
        ("the organization's, one address", auditor, ours, {"ip": "203.0.113.7"}),
        ("the organization's, no match", auditor, ours, {"q": "not to be found"}),
    ]
    rows = [["page of 50", "depth", "queries", "database ms", "whole answer ms"]]
    for label, person, address, query in asked:
        for depth in (0.0, 0.5, 0.95) if not query or "token_id" in query else (0.0,):
            place = {} if depth == 0.0 else {"cursor": cursor_at(depth)}
            queries, database, whole = page(person, address, query | place)
            rows.append([label, f"{depth:.0%}", str(queries), f"{database:.2f}", f"{whole:.1f}"])
    return rows


def cursor_at(depth: float) -> str:
    from auditlog.models import NEWEST_FIRST, TokenUse

    older = TokenUse.objects.filter(at__lte=now() - timedelta(days=DAYS * depth))
    return NEWEST_FIRST.page(older, cursor=None, size=1).next_cursor or ""


def page(person: Any, address: str, query: dict[str, str]) -> tuple[int, float, float]:
    """Returns the number of queries of the list, the database time for them and the time of the whole answer, in ms."""
    from django.db import connection
    from django.test import Client

    client = Client()
    client.force_login(person)
    asked: list[tuple[str, Any]] = []

    def note(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if "auditlog_" in sql:
            asked.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        answer = client.get(address, query)
    if answer.status_code != 200:
        raise RuntimeError(answer)

    def again() -> None:
        for sql, params in asked:
            with connection.cursor() as cursor:
                cursor.execute(sql, params)
                cursor.fetchall()

    database = statistics.median(clock(again) for _ in range(ROUNDS))
    whole = statistics.median(clock(lambda: client.get(address, query)) for _ in range(ROUNDS))
    return len(asked), database * 1000, whole * 1000


def exports(people: dict[str, Any]) -> list[list[str]]:
    from django.test import Client

    client = Client()
    client.force_login(people["users"][0])
    rows = [["of one owner's log", "rows", "MB", "seconds", "rows/s"]]
    for file_format in ("csv", "jsonl"):
        start = time.perf_counter()
        answer = client.get("/profile/authentication-log/export/", {"format": file_format})
        size = lines = 0
        for part in answer.streaming_content:  # type: ignore[attr-defined]
            size += len(part)
            lines += part.count(b"\n")
        taken = time.perf_counter() - start
        lines -= file_format == "csv"
        cells = [f"{lines:,}", f"{size / 1e6:,.0f}", f"{taken:.1f}", f"{lines / taken:,.0f}"]
        rows.append([file_format, *cells])
    return rows


def keeping(people: dict[str, Any]) -> list[list[str]]:
    from auditlog.models import Seal, TokenUse
    from auditlog.seals import sealing, verification

    log = Seal.Log.AUTHENTICATION
    entries = min(SEALED_AT_MOST, TokenUse.objects.count())

    def seal() -> None:
        while (block := sealing.seal_next(log, at_once=True)) and block.last_id < entries:
            pass

    def verify() -> None:
        findings = list(verification.Verification(log).findings())
        # The other entries are not sealed yet, which is one finding.
        if len(findings) > 1:
            raise RuntimeError(findings[:5])

    return [
        line("sealed and counted", entries, clock(seal)),
        line("verified", entries, clock(verify)),
    ]


def waiting(people: dict[str, Any]) -> list[list[str]]:
    """Measures how long each write of a steady writer takes, without and during pruning."""
    from accounts.log_retention import cuts_due
    from auditlog import retention
    from auditlog.models import Seal, TokenUse

    log, count = Seal.Log.AUTHENTICATION, TokenUse.objects.count
    before = count()
    alone = Writer(people)
    alone.start()
    time.sleep(10)
    alone.stop()
    beside = Writer(people)
    beside.start()
    start = time.perf_counter()
    removed = 0
    for _, number in retention.prune(log, cuts_due(log, days=DAYS - 3), stopping=threading.Event()):
        removed += number
    taken = time.perf_counter() - start
    beside.stop()
    if before + len(alone.waits) + len(beside.waits) - removed != count():
        raise RuntimeError("Entries are missing.")
    head = ["", "entries", "median ms", "p99 ms", "longest ms"]
    return [
        head,
        ["without pruning", *alone.figures()],
        [f"during pruning ({removed:,} removed, {removed / taken:,.0f}/s)", *beside.figures()],
    ]


class Writer(threading.Thread):
    """Adds an entry every few milliseconds, and measures how long each takes."""

    def __init__(self, people: dict[str, Any]) -> None:
        super().__init__()
        self._people = people
        self._is_over = threading.Event()
        self.waits: list[float] = []

    def run(self) -> None:
        from django.db import connection

        from auditlog import journal
        from auditlog.open_use import OpenUse
        from core.db.uuid7 import uuid7

        token = self._people["tokens"][0]
        token.last_used_at = now() + timedelta(days=1)
        while not self._is_over.wait(0.005):
            use = OpenUse(request_id=uuid7(), at=now(), method="GET", target="/", ip=None, user_agent="", token=token)
            self.waits.append(clock(partial(journal.commit, use, status=200, code=None)))
        connection.close()

    def stop(self) -> None:
        self._is_over.set()
        self.join()

    def figures(self) -> list[str]:
        ordered = sorted(wait * 1000 for wait in self.waits)
        shown = (statistics.median(ordered), ordered[int(len(ordered) * 0.99)], ordered[-1])
        return [f"{len(ordered):,}", *(f"{figure:.1f}" for figure in shown)]


def now() -> datetime:
    from django.utils import timezone

    return timezone.now()


def clock(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        os.environ["DJANGO_SETTINGS_MODULE"] = "opsera_portal.settings"
        import django

        django.setup()
        json.dump(measure(int(sys.argv[2])), sys.stdout)
    else:
        main()
