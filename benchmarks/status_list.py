"""How long the status list of a million tokens takes to make and to read, and how long it is.

    python -m benchmarks.status_list [--only sqlite|postgresql] [--tokens 1000000] [--markdown]

Creates an organization of 10,000 people who own the tokens, of which 1 % were expired early. Makes and signs the list
from the rows, as the portal does for each request after a second. Then reads it as a service does: verifies and decodes
the list once, and looks up the bit of each token.
"""

import argparse
import base64
import json
import os
import random
import statistics
import subprocess
import sys
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks import report, servers
from benchmarks.report import Goal

ROOT = Path(__file__).resolve().parent.parent
PEOPLE, ENDED = 10_000, 0.01
BATCH = 5_000
ROUNDS, LOOK_UPS = 5, 10_000

LABELS = {
    "seconds": "seconds to make and sign the list",
    "kilobytes": "length of the signed list in kB",
    "check_ms": "ms for the check of one bit at the service",
    "verify_ms": "ms to verify one token at the service, with its bit",
    "decode_ms": "ms to verify and decode the list, once for each list",
}
GOALS = {
    name: Goal(LABELS[name], (limit, limit), (limit, limit), more_is_better=False)
    for name, limit in (("seconds", 2.0), ("kilobytes", 200.0), ("check_ms", 0.1))
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="status_list", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=["sqlite", "postgresql"], help="measure only this database")
    parser.add_argument("--tokens", type=int, default=1_000_000, help="how many tokens are in the list")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    parser.add_argument("--step", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(measured(options.tokens)))
        return
    databases = [name for name in servers.databases() if options.only in {None, name.lower()}]
    report.print_list(report.machine(databases), markdown=options.markdown)
    reached: dict[Goal, dict[str, float]] = {}
    for database in databases:
        tables, values = measure(database, tokens=options.tokens)
        for title, rows in tables.items():
            report.print_table(title, rows, markdown=options.markdown)
        for goal, value in values.items():
            reached.setdefault(goal, {})[database] = value
    report.judge(reached, databases, markdown=options.markdown)


def measure(database: str, *, tokens: int) -> tuple[dict[str, list[list[str]]], dict[Goal, float]]:
    """The rows of the table by its title, and the value of each goal."""
    found = _in_own_process(database, tokens)
    rows = [["number", database], *([label, f"{found[name]:.4g}"] for name, label in LABELS.items())]
    title = f"{database}: status list of {tokens:,} tokens, 1 % ended"
    return {title: rows}, {goal: found[name] for name, goal in GOALS.items()}


def _in_own_process(database: str, tokens: int) -> dict[str, float]:
    """A process has one set of settings."""
    with servers.directory_for_data() as directory, servers.empty_database(database) as url:
        told = subprocess.run(
            [sys.executable, "-m", "benchmarks.status_list", "--step", "--tokens", str(tokens)],
            env=servers.environment_of(directory, url, 8000),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    numbers: dict[str, float] = json.loads(told.stdout)
    return numbers


def measured(tokens: int) -> dict[str, float]:
    os.environ["DJANGO_SETTINGS_MODULE"] = "opsera_portal.settings"
    import django

    django.setup()
    from django.core.management import call_command

    from tokens import jwt
    from tokens.status_lists import signed

    call_command("migrate", interactive=False, verbosity=0)
    status_list = fill(tokens)
    seconds = []
    for _ in range(ROUNDS):
        started_at = time.perf_counter()
        text = signed.sign(status_list)
        seconds.append(time.perf_counter() - started_at)
    some = list(_tokens_of(status_list)[:200])
    encoded = [jwt.encode(token)[0] for token in some]
    return {
        "seconds": statistics.median(seconds),
        "kilobytes": len(text) / 1000,
        **read_as_service(text, encoded),
    }


def fill(count: int) -> Any:
    """Creates the tokens, and returns their list."""
    from django.db import connection
    from django.utils import timezone

    from accounts.models import Organization, User
    from gateway.models import Check, Service
    from tokens.models import Token
    from tokens.status_lists.models import StatusList

    organization = Organization.objects.create(name="Benchmark", slug="benchmark")
    people = User.objects.bulk_create(
        [
            User(email=f"{n}@benchmark.example", name=f"Person {n}", site_role="user", organization=organization)
            for n in range(PEOPLE)
        ],
        batch_size=BATCH,
    )
    service = Service.objects.create(
        organization=organization,
        name="Service",
        name_key="service",
        slug="service",
        check_by=Check.STATUS_LIST,
        site_roles="user power_user administrator",
    )
    status_list = StatusList.objects.create(service=service, taken=count)
    # Not for secrets: the same tokens each time.
    chance = random.Random(1)
    indexes = chance.sample(range(status_list.size), count)
    now = timezone.now().replace(microsecond=0)

    def rows(numbers: range) -> Iterator[Token]:
        for number in numbers:
            has_ended = chance.random() < ENDED
            yield Token(
                id=uuid.UUID(int=chance.getrandbits(128), version=4),
                owner=people[chance.randrange(PEOPLE)],
                organization=organization,
                service=service,
                status_list=status_list,
                status_index=indexes[number],
                name=f"Token {number}",
                live_name_key=None if has_ended else f"token {number}",
                scope="service:service:read",
                created_at=now,
                expires_at=now + timedelta(days=30),
                revealed_at=now,
                revoked_at=now if has_ended else None,
            )

    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            # Otherwise filling takes a quarter of an hour.
            cursor.execute("PRAGMA synchronous = OFF")
            cursor.execute("PRAGMA cache_size = -1000000")
    for start in range(0, count, BATCH):
        Token.objects.bulk_create(rows(range(start, min(count, start + BATCH))))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    # With its own settings again.
    connection.close()
    return StatusList.objects.select_related("service").get()


def _tokens_of(status_list: Any) -> Any:
    from tokens.models import Token

    return Token.objects.filter(status_list=status_list).select_related("organization")


def read_as_service(text: str, encoded: list[str]) -> dict[str, float]:
    """Milliseconds, with nothing but PyJWT and Python's own modules."""
    import jwt as pyjwt

    from tokens.keys.ring import key_ring

    key = key_ring().current
    public = key.private_key.public_key()

    def decode_list() -> bytes:
        claims = pyjwt.decode(text, public, algorithms=[key.algorithm])
        lst = claims["status_list"]["lst"]
        return zlib.decompress(base64.urlsafe_b64decode(lst + "=" * (-len(lst) % 4)))

    bits = decode_list()

    def is_refused(claims: dict[str, Any]) -> int:
        index: int = claims["status"]["status_list"]["idx"]
        return bits[index >> 3] >> (index & 7) & 1

    def verify(token: str) -> int:
        return is_refused(pyjwt.decode(token, public, algorithms=[key.algorithm], options={"verify_aud": False}))

    known = pyjwt.decode(encoded[0], public, algorithms=[key.algorithm], options={"verify_aud": False})
    return {
        "decode_ms": _milliseconds(decode_list, 10),
        "check_ms": _milliseconds(lambda: is_refused(known), LOOK_UPS),
        "verify_ms": _milliseconds(lambda: [verify(token) for token in encoded], 3) / len(encoded),
    }


def _milliseconds(work: Callable[[], object], times: int) -> float:
    started_at = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - started_at) / times * 1000


if __name__ == "__main__":
    main()
