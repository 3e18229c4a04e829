"""Migrates existing pipelines, steps and runs back to the first version and forward again.

One test covers everything, because each direction takes seconds.
"""

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from accounts.tests.factories import UserFactory
from pipelines import step_secrets
from pipelines.models import Run, RunLogLine, Step, StepRun
from pipelines.runner import recover_lost_runs
from pipelines.tests.factories import PipelineFactory, RunFactory, give_secrets

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.each_database]
FIRST = "0001_initial"
HEADERS = {"Authorization": "Bearer very-secret-value", "Accept": "text/plain"}


def migrate(name):
    """Returns the models of that migration."""
    executor = MigrationExecutor(connection)
    executor.migrate([("pipelines", name)])
    return MigrationExecutor(connection).loader.project_state([("pipelines", name)]).apps


def migrate_to_the_end():
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


@pytest.fixture
def latest():
    yield
    migrate_to_the_end()


@pytest.mark.slow
def test_existing_data_is_migrated_back_and_forward(latest):
    owner = UserFactory()
    of_latest = create_with_latest_models()

    apps = migrate("0010_step_run_names_its_step")
    check_that_unreadable_headers_are_kept(apps)
    apps = migrate(FIRST)
    check_that_headers_are_in_the_clear_again(apps, of_latest)

    apps.get_model("pipelines", "Pipeline").objects.all().delete()
    of_first = create_with_first_models(apps, owner)
    migrate_to_the_end()
    check_that_runs_have_copies(of_first, owner)
    check_that_secrets_are_encrypted()
    check_that_a_worker_takes_the_run_over()


def create_with_latest_models():
    pipeline = PipelineFactory()
    RunFactory(pipeline=pipeline, state="finished", outcome="success")
    where = {"pipeline": pipeline, "url": "https://ci.example.com/"}
    step = Step.objects.create(position=1, name="Build", headers={"Accept": "text/plain"}, **where)
    give_secrets(step, {"Authorization": "Bearer very-secret-value"})
    unreadable = Step.objects.create(position=2, name="Unreadable", **where)
    give_secrets(unreadable, {"Authorization": "Bearer very-secret-value"})
    unreadable.secret_headers |= {"X-Missing": "", "X-Unreadable": "v2.nokey.nothing"}
    unreadable.save(update_fields=["secret_headers"])
    return pipeline


def check_that_unreadable_headers_are_kept(apps):
    values = apps.get_model("pipelines", "Step").objects.get(name="Unreadable").secret_headers
    assert step_secrets.BOX.decrypt_unbound(values.pop("Authorization")) == "Bearer very-secret-value"
    assert values == {"X-Missing": "", "X-Unreadable": "v2.nokey.nothing"}


def check_that_headers_are_in_the_clear_again(apps, pipeline):
    steps = apps.get_model("pipelines", "Step").objects
    assert steps.get(name="Build").headers == HEADERS
    assert steps.get(name="Unreadable").headers == {"Authorization": "Bearer very-secret-value"}
    assert apps.get_model("pipelines", "Run").objects.get().pipeline_id == pipeline.pk


def create_with_first_models(apps, owner):
    pipeline = apps.get_model("pipelines", "Pipeline").objects.create(
        name="Nightly", owner_id=owner.pk, organization_id=owner.organization_id
    )
    url = "https://ci.example.com/?job=1&token=in-the-url"
    apps.get_model("pipelines", "Step").objects.create(
        pipeline=pipeline, position=1, name="Build", url=url, headers=HEADERS
    )
    run = apps.get_model("pipelines", "Run").objects.create(
        pipeline=pipeline, number=1, state="running", started_by_email=owner.email
    )
    apps.get_model("pipelines", "StepRun").objects.create(run=run, position=1, name="Build", url=url, headers=HEADERS)
    lines = apps.get_model("pipelines", "RunLogLine").objects
    lines.create(run=run, action="answer", message="An answer with very-secret-value")
    lines.create(run=run, action="post", message="Answered 200 in 4 ms.")
    return pipeline


def check_that_runs_have_copies(pipeline, owner):
    run = Run.objects.get()
    assert (run.pipeline_public_id, run.pipeline_name, run.organization_id, run.state) == (
        pipeline.pk,
        "Nightly",
        owner.organization_id,
        "running",
    )


def check_that_a_worker_takes_the_run_over():
    assert Run.objects.get().attempt == 0
    assert recover_lost_runs() == 0
    assert (Run.objects.get().state, Run.objects.get().attempt) == ("continuing", 1)


def check_that_secrets_are_encrypted():
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
