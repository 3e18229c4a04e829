"""Measures every page: queries, processor time and bytes, in the demo or in a big organization.

    python -m benchmarks.pages [--big] [--entries 5000000] [--unsealed] [--only sqlite|postgresql] [--markdown]

Signs in as the demo's Administrator, Auditor and User, follows the links to every kind of page, without a web server,
also signed out, and shows each page as the person for whom it takes longest. ``--big`` measures the demo first, and
then adds 5,000 people, 20,000 tokens, 2,000 pipelines, 1,000 groups, and service accounts, requests, webhooks and
notifications to its organization, and ``--entries`` adds that many entries to its authentication log. Entries are
sealed first, as a worker would have done. Ends with an error if a page needs more than 12 queries, or a page of a User
more than 60 ms of processor time of the portal and the database, or if no link led to a page.
"""

import argparse
import gc
import json
import logging
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MOST_QUERIES, MOST_MS = 12, 60
# The role of an ordinary person, for whom the goals of time are.
ORDINARY = "user"
ROUNDS = 7
START = [
    "/",
    "/profile/",
    "/organization/users/",
    "/organization/review-campaigns/new/",
    "/pipelines/",
    "/who-may-do-what/",
    "/tokens/lookup/",
]
START_SIGNED_OUT = ["/login/", "/secret-scanning/", "/api/docs/"]
SIGNED_OUT = "signed out"
ROLES = ["administrator", "auditor", "user", SIGNED_OUT]
# Pages that no link of this walk leads to: the end of a list, another order, a filter, a search without a match.
TYPED = [
    "/organization/tokens/?page=400",
    "/organization/tokens/?sort=-last_used_at",
    "/organization/tokens/?sort=owner",
    "/organization/tokens/?state=active",
    "/organization/tokens/?q=nowhere",
    "/organization/tokens/expire-matching/?owner=p7",
    "/organization/access-review/?page=500",
    "/organization/unused-scopes/?days=30",
    "/organization/unused-scopes/?owner=p7",
    "/organization/approvals/?state=waiting",
    "/organization/approvals/?state=approved",
    "/organization/service-accounts/?page=6",
    "/organization/service-accounts/?sort=-live_token_count",
    "/organization/users/?page=100",
    "/organization/users/?sort=-live_token_count",
    "/organization/users/?q=nowhere",
    "/organization/groups/?sort=-member_count",
    "/pipelines/?page=40",
    "/pipelines/?sort=-last_run_at",
    "/pipelines/?tag=team-1",
    "/pipelines/?state=paused",
    "/pipelines/?q=nowhere",
    "/profile/authentication-log/?outcome=refused",
    "/profile/authentication-log/?q=nowhere",
    "/organization/authentication-log/?outcome=refused",
    "/organization/authentication-log/?q=nowhere",
    "/organization/activity-log/?q=nowhere",
]
# Files, what is no page, Django admin, and what ends the walk.
NOT_PAGES = re.compile(
    r"/static/|/admin/|/api/(?!docs/)|/scim/|/export/|/record/|/logout/|/download/|\.well-known|/readyz|/healthz|/progress/|"
    r"favicon|robots|/suggestions/|/callback/|/auth/|/tokens/name/|/tokens/scopes/"
)
# Pages that need more than the links of people in the demo, and what they need.
NOT_REACHED = {
    "/confirm-email/<key>/": "a mail",
    "/invitation/<uidb64>/<token>/": "a mail",
    "/password/reset/<uidb36>/<key>/": "a mail",
    "/password/reset/sent/": "a form",
    "/password/reset/done/": "a form",
    "/login/inactive/": "a form",
    "/login/again/": "a sign-in that is not recent",
    "/login/passkey/": "a script",
    "/login/passkey/again/": "a script",
    "/login/two-factor/": "two-factor",
    "/login/two-factor/again/": "two-factor",
    "/profile/security/passkeys/<int:pk>/remove/": "two-factor",
    "/profile/security/passkeys/<int:pk>/rename/": "two-factor",
    "/profile/security/recovery-codes/": "two-factor",
    "/profile/security/recovery-codes/replace/": "two-factor",
    "/profile/security/two-factor/app/remove/": "two-factor",
    "/organization/users/<id:pk>/two-factor/reset/": "two-factor",
    "/login/single-sign-on/": "single sign-on",
    "/login/single-sign-on/again/": "single sign-on",
    "/login/single-sign-on/cancelled/": "single sign-on",
    "/login/single-sign-on/organization/": "single sign-on",
    "/organization/single-sign-on/remove/": "single sign-on",
    "/profile/security/single-sign-on/": "single sign-on",
    "/profile/security/password/set/": "a person without a password",
    "/organization/users/<id:pk>/erase/": "a deactivated person",
    "/organization/tokens/expire/": "chosen tokens",
    "/organization/services/<id:pk>/delete/": "a service without tokens",
    "/organization/services/<id:pk>/secrets/<id:secret_pk>/end/": "a secret of a service",
    "/organization/services/<id:pk>/switch-on/": "a service that is switched off",
    "/pipelines/<id:pk>/access-rules/<id:rule_pk>/remove/": "an access rule of the first pipeline",
    "/profile/tokens/<id:pk>/reveal/": "a new token",
    "/services/<id:pk>/open/": "the proxy of a service",
    "/services/<id:pk>/sign-out/": "the proxy of a service",
}
HEAD = ["page", "as", "queries", "ms", "as a User, ms", "elapsed ms", "KiB", "KiB sent", "reached"]
QUERIES, USER_MS = HEAD.index("queries"), HEAD.index("as a User, ms")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures queries, processor time and bytes of every page.")
    parser.add_argument("--big", action="store_true", help="the demo, then a big organization")
    parser.add_argument("--entries", type=int, default=0, help="with --big: number of log entries to add")
    parser.add_argument("--unsealed", action="store_true", help="as if no worker had sealed and counted log entries")
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--step", choices=list(STEPS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        set_up()
        STEPS[options.step](options)
        return
    from benchmarks import report, servers

    databases = [name for name in servers.databases() if options.only in {None, name.lower()}]
    report.print_list(report.machine(databases), markdown=options.markdown)
    found: dict[str, dict[str, list[list[str]]]] = {}
    for database in databases:
        with servers.directory_for_data() as directory, servers.empty_database(database) as database_url:
            environment = servers.environment_of(directory, database_url, 8000)
            done = partial(in_a_process, environment=environment)
            done("fill")
            found[database] = {"the demo": json.loads(done("measure"))}
            if options.big:
                done("enlarge")
                found[database]["a big organization"] = json.loads(done("measure"))
        for organization, rows in found[database].items():
            report.print_table(f"{database}: pages in {organization}", [HEAD, *rows], markdown=options.markdown)
    judge(found, markdown=options.markdown)


def in_a_process(step: str, environment: dict[str, str]) -> str:
    """A process has one set of settings, so each database has processes of its own. The one that measures is as fresh
    as a web server."""
    command = [sys.executable, *sys.orig_argv[1:], "--step", step]
    return subprocess.run(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def judge(found: dict[str, dict[str, list[list[str]]]], *, markdown: bool) -> None:
    """Prints the goals and, on the standard error, the pages that miss one."""
    from benchmarks import report
    from benchmarks.report import Goal

    most_queries = Goal("most queries of a page", (MOST_QUERIES,) * 2, (MOST_QUERIES,) * 2, more_is_better=False)
    most_ms = Goal("most ms of a page of a User", (MOST_MS,) * 2, (MOST_MS,) * 2, more_is_better=False)
    not_reached = Goal("pages that no link led to", (0, 0), (0, 0), more_is_better=False)
    reached: dict[Goal, dict[str, float]] = {most_queries: {}, most_ms: {}, not_reached: {}}
    for database, organizations in found.items():
        for organization, rows in organizations.items():
            column = f"{database}, {organization}"
            measured = [row for row in rows if row[QUERIES]]
            reached[most_queries][column] = max(int(row[QUERIES]) for row in measured)
            reached[most_ms][column] = max(int(row[USER_MS]) for row in measured if row[USER_MS])
            reached[not_reached][column] = len(rows) - len(measured)
            for row in rows:
                if row[-1] != "yes":
                    print(f"{column}: {row[0]} as {row[1]}: {row[-1]}", file=sys.stderr)
    report.judge(reached, list(reached[most_ms]), markdown=markdown)


def set_up() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "opsera_portal.settings"
    import django

    django.setup()
    from django.conf import settings

    # As `opsera_portal/wsgi.py`: a search for garbage leaves out what the start created.
    gc.freeze()
    # Refusals to the Auditor and the User are expected.
    logging.disable(logging.WARNING)
    settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"


def fill(options: argparse.Namespace) -> None:
    from django.core.management import call_command

    from opsera_portal.demo import data

    call_command("migrate", verbosity=0)
    call_command("createcachetable", verbosity=0)
    data.seed(echo_port=9)
    leave_as_after_a_day(options)


def enlarge(options: argparse.Namespace) -> None:
    from accounts.models import User
    from benchmarks import big_organization, busy_administration

    administrator = User.objects.get(email="admin@demo.example")
    people = big_organization.fill(administrator, entries=options.entries)
    busy_administration.fill(administrator, people)
    # Without statistics, PostgreSQL would sort what is left for each block that is sealed.
    big_organization.settle()
    leave_as_after_a_day(options)


def leave_as_after_a_day(options: argparse.Namespace) -> None:
    from benchmarks import big_organization

    if not options.unsealed:
        big_organization.seal()
    big_organization.settle()


def measure(options: argparse.Namespace) -> None:
    """Prints, as JSON, the rows: each kind of page as the person for whom it is slowest, the slowest first. Then the
    pages that nobody reached."""
    share_one_core()
    slowest: dict[str, Page] = {}
    as_user: dict[str, float] = {}
    for role in ROLES:
        for page in pages_of(role):
            slowest[page.kind] = max(page, slowest.get(page.kind, page), key=lambda measured: measured.ms)
            if role == ORDINARY:
                as_user[page.kind] = page.ms
    found = sorted(slowest.values(), key=lambda page: page.ms, reverse=True)
    rows = [page.row(as_user.get(page.kind)) for page in found]
    missing = sorted(set(kinds_of_pages()) - set(slowest) - set(NOT_REACHED))
    print(json.dumps([*rows, *([kind, "nobody", *[""] * (len(HEAD) - 3), "NOT REACHED"] for kind in missing)]))


def share_one_core() -> None:
    """On a virtual machine, cores that wake each other for each query take up to twice the processor time, and how much
    depends on what else keeps them awake. So this process and its server process of PostgreSQL take turns on one core,
    if this process may say so (as root)."""
    from django.db import connection

    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if connection.vendor == "postgresql":
        for pid in server_processes():
            with suppress(PermissionError):
                os.sched_setaffinity(pid, os.sched_getaffinity(0))


STEPS: dict[str, Callable[[argparse.Namespace], None]] = {"fill": fill, "enlarge": enlarge, "measure": measure}


def kinds_of_pages() -> Iterator[str]:
    """The routes of all pages that answer GET."""
    from django.urls import get_resolver

    for kind, view in routes(get_resolver().url_patterns):
        of_class = getattr(view, "view_class", None)
        is_read = of_class is None or ("get" in of_class.http_method_names and hasattr(of_class, "get"))
        if is_read and not NOT_PAGES.search(kind):
            yield kind


def routes(patterns: Iterable[Any], prefix: str = "/") -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if hasattr(pattern, "url_patterns"):
            yield from routes(pattern.url_patterns, route)
        else:
            yield route, pattern.callback


def pages_of(role: str) -> Iterator["Page"]:
    from django.test import Client

    from accounts.models import User

    client, start = Client(SERVER_NAME="127.0.0.1"), START_SIGNED_OUT
    if role != SIGNED_OUT:
        # In a big organization, one of its many people; otherwise the demo's own.
        found = (
            User.objects.people()
            .filter(site_role=role, organization__slug="demo", joined_at__isnull=False)
            .order_by("created_at", "email")
        )
        person = found.last()
        client.force_login(person)
        sign_in_recently(client)
        start = [*starts_of_rows(person), *START]
    for kind, path in walk(client, start):
        yield measured(client, role, kind, path)


def starts_of_rows(person: Any) -> list[str]:
    """Pages of rows that have no place on the first page of a long list: the steps of the demo's longest pipeline, and
    a token of the person that can be replaced."""
    from django.db.models import Count
    from django.urls import reverse

    from pipelines.models import Pipeline
    from tokens.models import Token
    from tokens.replacement import can_be_replaced

    with_steps = Pipeline.objects.annotate(steps_count=Count("steps")).order_by("-steps_count", "pk").first()
    active = Token.objects.owned_by(person).active().order_by("created_at")
    token = next(filter(can_be_replaced, active), None)
    return [
        reverse("pipelines:step_list", args=[with_steps.pk]) if with_steps else "/",
        reverse("tokens:token_replace", args=[token.pk]) if token else "/",
    ]


def sign_in_recently(client: Any) -> None:
    """Otherwise, pages for which people must have signed in recently ask for the password."""
    session = client.session
    session["account_authentication_methods"] = [{"method": "password", "at": time.time()}]
    session["account_authentication_methods_user"] = session["_auth_user_id"]
    session.save()


def walk(client: Any, start: Sequence[str]) -> Iterator[tuple[str, str]]:
    """One address of each kind of page that links lead to; pages of one kind have the same route. Then `TYPED`."""
    from django.urls import Resolver404, resolve

    waiting, seen = list(reversed(start)), set()
    while waiting:
        path = waiting.pop().partition("#")[0]
        try:
            kind = resolve(path.partition("?")[0]).route
        except Resolver404:
            continue
        if kind in seen or NOT_PAGES.search(path):
            continue
        answer = client.get(path)
        if not is_page(answer):
            continue
        seen.add(kind)
        yield f"/{kind}", path
        found = re.findall(r'href="(/[^"]*)"', answer.content.decode())
        waiting += [address.replace("&amp;", "&") for address in found]
    yield from ((path, path) for path in TYPED if is_page(client.get(path)))


def is_page(answer: Any) -> bool:
    return bool(answer.status_code == 200 and answer["Content-Type"].startswith("text/html"))


@dataclass(frozen=True)
class Page:
    kind: str
    role: str
    queries: int
    ms: float
    elapsed_ms: float
    size: int
    sent: int

    def row(self, user_ms: float | None) -> list[str]:
        """``user_ms``: of the page as a User; ``None`` if a User can't open it."""
        is_quick = user_ms is None or round(user_ms) <= MOST_MS
        return [
            self.kind,
            self.role,
            str(self.queries),
            f"{self.ms:.0f}",
            "" if user_ms is None else f"{user_ms:.0f}",
            f"{self.elapsed_ms:.0f}",
            f"{self.size / 1024:.0f}",
            f"{self.sent / 1024:.0f}",
            "yes" if self.queries <= MOST_QUERIES and is_quick else "MISSED",
        ]


def measured(client: Any, role: str, kind: str, path: str) -> Page:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as queries:
        size = len(client.get(path).content)
    count, as_sent = len(queries), {"Accept-Encoding": "gzip"}
    sent = len(client.get(path, headers=as_sent).content)
    taken, elapsed = zip(*(clock(lambda: client.get(path, headers=as_sent)) for _ in range(ROUNDS)), strict=True)
    return Page(kind, role, count, statistics.median(taken), statistics.median(elapsed), size, sent)


def clock(work: Callable[[], Any]) -> tuple[float, float]:
    """Processor time of the portal and the database, and elapsed time, in milliseconds."""
    of_database, of_portal, begun = database_ms(), time.process_time(), time.perf_counter()
    work()
    elapsed, of_portal = time.perf_counter() - begun, time.process_time() - of_portal
    return of_portal * 1000 + database_ms() - of_database, elapsed * 1000


def database_ms() -> float:
    """Processor time of PostgreSQL for queries in this database until now, without that of its own maintenance
    (autovacuum). SQLite works in this process."""
    from django.db import connection

    if connection.vendor == "sqlite":
        return 0
    spent = [Path(f"/proc/{pid}/schedstat").read_text().split()[0] for pid in server_processes()]
    return sum(map(int, spent)) / 1_000_000


def server_processes() -> list[int]:
    """Those of PostgreSQL that work for this database."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
        )
        return [pid for (pid,) in cursor.fetchall()]


if __name__ == "__main__":
    main()
