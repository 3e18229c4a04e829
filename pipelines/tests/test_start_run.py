import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import DatabaseError, connection
from django_tasks import default_task_backend
from django_tasks.backends.dummy import DummyBackend

from accounts.roles import SiteRole
from auditlog.models import Activity
from core.errors import NotAllowed
from pipelines import services
from pipelines.models import Pipeline, Run, RunLogLine, StepRun
from pipelines.tests.factories import PipelineFactory, StepFactory
from tokens.tests.factories import TokenFactory, bearer

pytestmark = pytest.mark.each_database


@pytest.fixture
def pipeline(owner):
    pipeline = PipelineFactory(owner=owner, name="Nightly build")
    StepFactory(pipeline=pipeline, position=1, name="Build")
    return pipeline


@pytest.fixture
def queue():
    default_task_backend.clear()
    return default_task_backend.results


def test_first_run_has_number_1_and_is_queued(owner, pipeline):
    run = services.start_run(actor=owner, pipeline=pipeline)

    assert (run.number, run.state, run.outcome, run.started_at) == (1, "queued", "", None)
    assert (run.started_by, run.started_by_email) == (owner, owner.email)


def test_each_pipeline_numbers_its_own_runs(owner, pipeline):
    other = StepFactory(pipeline__owner=owner).pipeline

    numbers = [services.start_run(actor=owner, pipeline=each).number for each in (pipeline, pipeline, other, pipeline)]

    assert numbers == [1, 2, 1, 3]


def test_run_count_of_the_pipeline_is_the_last_number(owner, pipeline):
    services.start_run(actor=owner, pipeline=pipeline)
    services.start_run(actor=owner, pipeline=pipeline)

    pipeline.refresh_from_db()
    assert pipeline.run_count == 2


def test_the_steps_are_copied_in_order(owner, pipeline):
    StepFactory(
        pipeline=pipeline,
        position=2,
        name="Roll out",
        method="PUT",
        url="https://argo.example.com/sync?prune=1",
        headers={"X-Key": "k"},
        body="{}",
        expected_status=202,
    )

    run = services.start_run(actor=owner, pipeline=pipeline)

    copied = [step.definition() for step in run.step_runs.all()]
    assert copied == [step.definition() for step in pipeline.steps.all()]
    assert [(step.position, step.name, step.state) for step in run.step_runs.all()] == [
        (1, "Build", "waiting"),
        (2, "Roll out", "waiting"),
    ]


def test_edit_does_not_change_a_queued_run(owner, pipeline):
    run = services.start_run(actor=owner, pipeline=pipeline)

    pipeline.steps.update(url="https://elsewhere.example.com/")
    assert run.step_runs.get().url == "https://jenkins.example.com/build"


def test_log_names_the_requester(owner, pipeline):
    run = services.start_run(actor=owner, pipeline=pipeline)

    line = run.log_lines.get()
    assert (line.action, line.status, line.level) == ("run", "queued", "info")
    assert line.message == f"Requested by {owner.email}."


def test_activity_log_names_actor_pipeline_and_run(owner, pipeline):
    services.start_run(actor=owner, pipeline=pipeline)

    entry = Activity.objects.get()
    assert (entry.action, entry.type) == ("pipeline.started", "pipeline")
    assert (entry.actor, entry.actor_email, entry.organization) == (owner, owner.email, owner.organization)
    assert (entry.target_id, entry.target_name) == (str(pipeline.pk), "Nightly build")
    assert (entry.details, entry.token) == ({"run_number": 1}, None)


def test_token_that_started_a_run_is_in_run_and_activity_log(api, owner, pipeline):
    token = TokenFactory(owner=owner, name="nightly trigger")

    api.post("/api/v1/pipeline/run", {"pipelineId": str(pipeline.pk)}, headers=bearer(token))

    run, entry = Run.objects.get(), Activity.objects.get()
    assert (run.token, run.token_name, run.started_by) == (token, "nightly trigger", owner)
    assert (entry.token, entry.token_name, entry.actor) == (token, "nightly trigger", owner)


def test_run_remains_after_its_token_is_deleted(api, owner, pipeline):
    token = TokenFactory(owner=owner, name="nightly trigger")
    api.post("/api/v1/pipeline/run", {"pipelineId": str(pipeline.pk)}, headers=bearer(token))

    token.delete()

    run = Run.objects.get()
    assert (run.token, run.token_name) == (None, "nightly trigger")


def test_pipeline_without_steps_cannot_start_and_nothing_changes(owner):
    empty = PipelineFactory(owner=owner, name="Empty")

    with pytest.raises(services.CannotStart, match="“Empty” has no steps yet"):
        services.start_run(actor=owner, pipeline=empty)

    empty.refresh_from_db()
    assert empty.run_count == 0
    assert not Run.objects.exists()
    assert not RunLogLine.objects.exists()
    assert not Activity.objects.exists()


def test_pipeline_without_steps_queues_nothing(owner, queue, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True), pytest.raises(services.CannotStart):
        services.start_run(actor=owner, pipeline=PipelineFactory(owner=owner))

    assert queue == []


def test_stranger_cannot_start_a_run_and_nothing_changes(stranger, pipeline):
    with pytest.raises(NotAllowed):
        services.start_run(actor=stranger, pipeline=pipeline)

    pipeline.refresh_from_db()
    assert pipeline.run_count == 0
    assert not Run.objects.exists()
    assert not StepRun.objects.exists()
    assert not Activity.objects.exists()


@pytest.mark.parametrize("role", [SiteRole.GUEST, SiteRole.AUDITOR, SiteRole.SECURITY_MANAGER])
def test_read_only_roles_cannot_start_a_run(member, pipeline, role):
    member.site_role = role
    member.save()

    with pytest.raises(NotAllowed):
        services.start_run(actor=member, pipeline=pipeline)


def test_task_is_queued_after_the_run_is_committed(owner, pipeline, queue, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        services.start_run(actor=owner, pipeline=pipeline)
        assert queue == []

    assert [result.args for result in queue] == [[str(pipeline.pk)]]


def test_run_stays_queued_when_the_queue_is_unreachable(
    owner, pipeline, monkeypatch, django_capture_on_commit_callbacks
):
    def away(*args, **kwargs):
        raise DatabaseError

    monkeypatch.setattr(DummyBackend, "enqueue", away)

    with django_capture_on_commit_callbacks(execute=True):
        run = services.start_run(actor=owner, pipeline=pipeline)

    run.refresh_from_db()
    assert run.state == "queued"


@pytest.mark.django_db(transaction=True)
def test_two_simultaneous_requests_get_two_numbers(owner, pipeline):
    together = threading.Barrier(2)

    def start_five():
        try:
            own = Pipeline.objects.get(pk=pipeline.pk)
            together.wait(timeout=10)
            return [services.start_run(actor=owner, pipeline=own).number for _ in range(5)]
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(start_five), pool.submit(start_five)

    assert sorted(first.result() + second.result()) == list(range(1, 11))
    pipeline.refresh_from_db()
    assert (pipeline.run_count, Run.objects.count()) == (10, 10)
