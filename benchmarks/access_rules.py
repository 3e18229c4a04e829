"""Measures the cost of access rules for a list of 1000 pipelines and for one permission check.

Run it with `make bench-rules`. It creates its own database (SQLite, or on the server in
DATABASE_URL) with 1000 pipelines, each with rules for people and groups, and one person in 50
groups. It sends requests as that person. It measures the same in an organization without rules, in
alternating rounds. The ratio is the cost of the rules, independent of the machine. The number of
queries includes everything in the request: the session or token, the person, the list, and the log
entry.
"""

import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 30
PIPELINES = 1000
GROUPS = 50


def prepare(data_directory: str) -> None:
    sys.path.insert(0, str(ROOT))
    os.environ["PORTAL_DATA_DIR"] = data_directory
    os.environ["DJANGO_SETTINGS_MODULE"] = "opsera_portal.settings"
    import django

    django.setup()


def main(data_directory: str) -> None:
    prepare(data_directory)
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection
    from django.test.utils import setup_databases, setup_test_environment, teardown_databases

    setup_test_environment()
    settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
    databases = setup_databases(verbosity=0, interactive=False)
    try:
        call_command("createcachetable", verbosity=0)
        report(connection.vendor)
    finally:
        teardown_databases(databases, verbosity=0)


def report(vendor: str) -> None:
    from django.test import Client

    from pipelines.access import PipelineAction, may
    from pipelines.models import Pipeline

    ruled, open_to_all = make_world("Ruled", with_rules=True), make_world("Open", with_rules=False)

    def page(world: dict[str, object], rows: int = 50) -> Callable[[], object]:
        client = Client()
        client.force_login(world["person"])  # type: ignore[arg-type]
        return lambda: ok(client.get(f"/pipelines/?per_page={rows}"))

    def long_page(world: dict[str, object]) -> Callable[[], object]:
        return page(world, 200)

    def api(world: dict[str, object]) -> Callable[[], object]:
        client = Client(headers={"Authorization": f"Bearer {world['token']}"})
        return lambda: ok(client.get("/api/v1/pipelines?page_size=1000"))

    def check(world: dict[str, object]) -> Callable[[], object]:
        pipeline = Pipeline.objects.filter(organization__name=world["name"]).order_by("name")[500]
        return lambda: may(world["person"], PipelineAction.RUN, pipeline)  # type: ignore[arg-type]

    def ids(world: dict[str, object]) -> Callable[[], object]:
        return lambda: list(Pipeline.objects.visible_to(world["person"]).values_list("pk", flat=True))  # type: ignore[arg-type]

    print(f"\n{vendor}, Python {platform.python_version()}, {os.cpu_count()} cores, {ROUNDS} rounds, medians")
    print(f"{'':38}{'queries':>8}{'with rules':>14}{'without':>12}{'ratio':>8}")
    for label, question in (
        ("page of 50 of 1000 pipelines", page),
        ("page of 200 of 1000 pipelines", long_page),
        ("API, 1000 pipelines in one answer", api),
        ("the query alone, 1000 ids", ids),
        ("one permission on one pipeline", check),
    ):
        asked = [question(ruled), question(open_to_all)]
        queries = count_queries(asked[0])
        first, second = medians(asked)
        print(f"{label:38}{queries:>8}{first:>11.2f} ms{second:>9.2f} ms{first / second:>8.2f}")


def make_world(name: str, *, with_rules: bool) -> dict[str, object]:
    """Creates an organization with 1000 pipelines. A rule for a group or the person gives the person access to each."""
    from datetime import timedelta

    from django.utils import timezone

    from accounts.models import Group, Organization, User
    from core.api import scopes
    from pipelines.access import ItemRole
    from pipelines.models import AccessRule, Pipeline, Run
    from pipelines.run_states import RunOutcome, RunState
    from tokens.services import issue_and_reveal_token

    organization = Organization.objects.create(name=name, slug=name.lower())
    owner, person = (
        User.objects.create_user(
            f"{who}@{name}.example".lower(), None, name=who, site_role="user", organization=organization
        )
        for who in ("owner", "person")
    )
    groups = Group.objects.bulk_create([Group(organization=organization, name=f"Group {n}") for n in range(GROUPS)])
    person.member_groups.set(groups)
    strangers = Group.objects.bulk_create([Group(organization=organization, name=f"Others {n}") for n in range(GROUPS)])
    pipelines = Pipeline.objects.bulk_create(
        [
            Pipeline(organization=organization, owner=owner, name=f"Pipeline {n:04}", tags=["nightly"], run_count=3)
            for n in range(PIPELINES)
        ]
    )
    if with_rules:
        rules = []
        for number, pipeline in enumerate(pipelines):
            rules += [
                AccessRule(pipeline=pipeline, group=groups[number % GROUPS], role=ItemRole.USER),
                AccessRule(pipeline=pipeline, group=strangers[number % GROUPS], role=ItemRole.MANAGER),
                AccessRule(pipeline=pipeline, user=owner, role=ItemRole.GUEST),
            ]
            if number % 10 == 0:
                rules.append(AccessRule(pipeline=pipeline, user=person, role=ItemRole.GUEST))
        AccessRule.objects.bulk_create(rules)
    Run.objects.bulk_create(
        [
            Run(
                pipeline=pipeline,
                pipeline_public_id=pipeline.pk,
                pipeline_name=pipeline.name,
                organization=organization,
                number=number,
                state=RunState.FINISHED,
                outcome=RunOutcome.SUCCESS,
                started_by=owner,
                started_by_email=owner.email,
            )
            for pipeline in pipelines
            for number in (1, 2, 3)
        ]
    )
    end = timezone.now().replace(microsecond=0) + timedelta(days=7)
    _, signed = issue_and_reveal_token(actor=person, name="bench", chosen=[scopes.API], expires_at=end)
    return {"name": name, "person": person, "token": signed}


def ok(answer: object) -> None:
    if answer.status_code != 200:  # type: ignore[attr-defined]
        raise RuntimeError(answer)


def count_queries(question: Callable[[], object]) -> int:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    question()
    with CaptureQueriesContext(connection) as captured:
        question()
    statements = [query["sql"] for query in captured]
    return sum(not sql.startswith(("SAVEPOINT", "RELEASE", "BEGIN", "COMMIT")) for sql in statements)


def medians(questions: list[Callable[[], object]]) -> list[float]:
    """Returns milliseconds from alternating rounds, after one round for warming up."""
    times: list[list[float]] = [[] for _ in questions]
    for round_number in range(ROUNDS + 1):
        for question, taken in zip(questions, times, strict=True):
            start = time.perf_counter()
            question()
            if round_number:
                taken.append((time.perf_counter() - start) * 1000)
    return [statistics.median(taken) for taken in times]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="opsera-portal-bench-") as directory:
        main(directory)
