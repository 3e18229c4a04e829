"""A worker is killed before each of its writes, and the next worker continues.

A write that is not committed is rolled back. So these kills leave every state in the database that a worker can leave.
What must come out is in docs/pipelines.md: a step that had begun is failed and never repeated, everything else
continues, and each request is sent once.
"""

import io
import itertools

import pytest
from django_tasks import default_task_backend

from core.models import OutgoingMail
from opsera_portal.tests.kills import is_killed
from pipelines import runner
from pipelines.management.commands.worker import Command
from pipelines.tasks import execute_pipeline
from pipelines.tests.stages import Stage

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.each_database, pytest.mark.slow]


def next_worker():
    """Starts in the data directory of the killed worker. No message is left in the queue."""
    default_task_backend.clear()
    Command(stdout=io.StringIO())._take_up(of_worker=runner._worker)
    for message in default_task_backend.results:
        execute_pipeline.call(*message.args)


def positions(stage, state):
    return set(stage.run.step_runs.filter(state=state).values_list("position", flat=True))


# The last one has a write of every kind, so it is the one for PostgreSQL.
STORIES = [
    pytest.param(["/one", "/two"], id="success at the end", marks=pytest.mark.once),
    pytest.param(["/broken", "gate"], id="failure, and a gate at the end", marks=pytest.mark.once),
    pytest.param(["gate", "/broken"], id="a gate, and failure at the end"),
]


@pytest.mark.parametrize("steps", STORIES)
def test_run_ends_as_it_should_wherever_two_of_its_workers_are_killed(owner, build_server, steps):
    build_server.answers["/broken"] = (500, "broken")
    for number in itertools.count(1):
        stage = Stage(owner, build_server, *steps)
        stage.ask()
        build_server.called.clear()
        failed, deaths = {steps.index("/broken") + 1} if "/broken" in steps else set(), 0
        for _ in range(2):
            if is_killed(lambda stage=stage: stage.to_the_end(next_worker), before_write=number):
                deaths += 1
                failed |= positions(stage, "running")
        stage.to_the_end(next_worker)

        where = f"killed before write {number}"
        assert positions(stage, "failed") == failed, where
        assert stage.state == ("finished failed" if len(steps) in failed else "finished success"), where
        assert build_server.called == [step for step in steps if step != "gate"], where
        # Only a person skips a failed step.
        assert sum("Resumed by" in line for line in stage.log) == len(failed - {len(steps)}), where
        assert announced(stage.run) == ["failed"] * len(failed) + ["gate_waits"] * steps.count("gate"), where
        if deaths == 0:
            break

    assert number > 10


def announced(run):
    rows = OutgoingMail.objects.filter(kind="run_announcement", arguments__run_id=str(run.pk))
    return sorted(rows.values_list("arguments__event", flat=True))


@pytest.mark.parametrize(
    ("steps", "expected", "if_killed_in_the_step"),
    [
        (["/one", "/two"], ("halted stopped", "success waiting"), ("halted failed", "failed waiting")),
        (["/one"], ("finished success", "success"), ("finished failed", "failed")),
    ],
    ids=["steps left", "last step"],
)
def test_run_that_a_person_stops_ends_as_it_should_wherever_its_worker_is_killed(
    owner, build_server, steps, expected, if_killed_in_the_step
):
    for number in itertools.count(1):
        stage = Stage(owner, build_server, *steps)
        stage.ask()
        build_server.called.clear()
        build_server.before_answer = lambda stage=stage: stage.do("stop")

        killed = is_killed(next_worker, before_write=number)
        in_the_step = positions(stage, "running")
        next_worker()

        where = f"killed before write {number}"
        assert (stage.state, stage.steps) == (if_killed_in_the_step if in_the_step else expected), where
        assert build_server.called == ["/one"], where
        if not killed:
            break

    assert number > 5


def test_run_that_a_stopping_worker_releases_continues_wherever_the_worker_is_killed(owner, build_server):
    for number in itertools.count(1):
        stage = Stage(owner, build_server, "/one", "/two")
        stage.ask()
        build_server.called.clear()
        build_server.before_answer = runner.stop_after_step

        killed = is_killed(next_worker, before_write=number)
        failed = positions(stage, "running")
        build_server.before_answer = None
        runner._stop_requested.clear()
        stage.to_the_end(next_worker)

        where = f"killed before write {number}"
        assert (stage.state, positions(stage, "failed")) == ("finished success", failed), where
        assert build_server.called == ["/one", "/two"], where
        if not killed:
            break

    assert number > 5


def test_run_whose_steps_have_succeeded_ends_although_its_person_has_left(owner, build_server):
    stage = Stage(owner, build_server, "/one")
    stage.ask()
    run = runner._take_next(stage.pipeline.pk)
    step = run.step_runs.get()
    assert runner._begin(run, step)
    assert runner._execute_step(run, step)
    type(owner).objects.filter(pk=owner.pk).update(is_active=False)

    next_worker()

    assert stage.state == "finished success"
