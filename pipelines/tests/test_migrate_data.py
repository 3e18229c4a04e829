"""What the migrations make of pipelines, steps and runs that are there already, forward and back."""

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from accounts.tests.factories import UserFactory
from pipelines import step_secrets
from pipelines.models import Run, RunLogLine, Step, StepRun
from pipelines.tests.factories import PipelineFactory, RunFactory, give_secrets

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.each_database]
FIRST = "0001_initial"
HEADERS = {"Authorization": "Bearer very-secret-value", "Accept": "text/plain"}


def migrate(name):
    """Returns the models as they are then."""
    executor = MigrationExecutor(connection)
    executor.migrate([("pipelines", name)])
    return MigrationExecutor(connection).loader.project_state([("pipelines", name)]).apps


def migrate_to_the_end():
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


@pytest.fixture
def at_first():
    owner = UserFactory()
    apps = migrate(FIRST)
    yield apps, owner
    migrate_to_the_end()


def test_runs_get_their_copies_and_secrets_are_encrypted(at_first):
    apps, owner = at_first
    pipeline = apps.get_model("pipelines", "Pipeline").objects.create(
        name="Nightly", owner_id=owner.pk, organization_id=owner.organization_id
    )
    apps.get_model("pipelines", "Step").objects.create(
        pipeline=pipeline,
        position=1,
        name="Build",
        url="https://ci.example.com/?job=1&token=in-the-url",
        headers=HEADERS,
    )
    run = apps.get_model("pipelines", "Run").objects.create(
        pipeline=pipeline, number=1, state="running", started_by_email=owner.email
    )
    apps.get_model("pipelines", "StepRun").objects.create(
        run=run, position=1, name="Build", url="https://ci.example.com/?job=1&token=in-the-url", headers=HEADERS
    )
    lines = apps.get_model("pipelines", "RunLogLine").objects
    lines.create(run=run, action="answer", message="An answer with very-secret-value")
    lines.create(run=run, action="post", message="Answered 200 in 4 ms.")

    migrate_to_the_end()

    after = Run.objects.get()
    assert (after.pipeline_public_id, after.pipeline_name, after.organization_id, after.state) == (
        pipeline.pk,
        "Nightly",
        owner.organization_id,
        "running",
    )
    for step in (Step.objects.get(), StepRun.objects.get()):
        assert step.headers == {"Accept": "text/plain"}
        assert list(step.secret_headers) == ["Authorization"]
        assert "very-secret-value" not in step.secret_headers["Authorization"]
        assert step_secrets.decrypt(step, "secret_headers") == {"Authorization": "Bearer very-secret-value"}
        assert step.url == "https://ci.example.com/?job=1"
        assert step_secrets.decrypt(step, "secret_query") == {"token": "in-the-url"}
    assert [line.message for line in RunLogLine.objects.order_by("id")] == [
        "The answer was removed by an update: it was kept without a search for secrets in all encodings.",
        "Answered 200 in 4 ms.",
    ]


def test_the_way_back_gives_the_headers_back():
    pipeline = PipelineFactory()
    RunFactory(pipeline=pipeline, state="finished", outcome="success")
    step = Step.objects.create(
        pipeline=pipeline,
        position=1,
        name="Build",
        url="https://ci.example.com/",
        headers={"Accept": "text/plain"},
    )
    give_secrets(step, {"Authorization": "Bearer very-secret-value"})

    try:
        before = migrate(FIRST)
        assert before.get_model("pipelines", "Step").objects.get().headers == HEADERS
        assert before.get_model("pipelines", "Run").objects.get().pipeline_id == pipeline.pk
    finally:
        migrate_to_the_end()


def test_header_without_a_readable_value_is_kept_on_the_way_back():
    step = Step.objects.create(pipeline=PipelineFactory(), position=1, name="Build", url="https://ci.example.com/")
    give_secrets(step, {"Authorization": "Bearer very-secret-value"})
    step.secret_headers |= {"X-Missing": "", "X-Unreadable": "v2.nokey.nothing"}
    step.save(update_fields=["secret_headers"])

    try:
        values = migrate("0010_step_run_names_its_step").get_model("pipelines", "Step").objects.get().secret_headers
        assert step_secrets.BOX.decrypt_unbound(values.pop("Authorization")) == "Bearer very-secret-value"
        assert values == {"X-Missing": "", "X-Unreadable": "v2.nokey.nothing"}
        headers = migrate(FIRST).get_model("pipelines", "Step").objects.get().headers
        assert headers == {"Authorization": "Bearer very-secret-value"}
    finally:
        migrate_to_the_end()
