"""The worker handles gates, stops and resumes, and each run belongs to one worker at a time."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import User
from auditlog.models import Activity
from pipelines import runner, services
from pipelines.models import Pipeline, Run, StepRun
from pipelines.run_states import RunState
from pipelines.tests.factories import AccessRuleFactory, give_secrets
from pipelines.tests.stages import Stage

pytestmark = pytest.mark.each_database


@pytest.fixture
def worker():
    """Gives this process the name of a worker, and restores its own name at the end."""
    own = runner._worker
    yield runner.work_as
    runner.work_as(own)


def state(run):
    run.refresh_from_db()
    return run.state, run.outcome


def test_stop_and_resume_do_not_bypass_a_gate(owner, build_server):
    stage = Stage(owner, build_server, "/one", "gate", "/two")
    run = stage.ask()
    stage.work()
    assert state(run) == ("paused", "")

    stage.do("stop")
    assert state(run) == ("halted", "stopped")
    stage.do("resume")
    stage.work()

    assert state(run) == ("paused", "")
    assert build_server.called == ["/one"]
    stage.do("approve")
    stage.work()
    assert state(run) == ("finished", "success")
    assert build_server.called == ["/one", "/two"]


@pytest.mark.parametrize("interrupted", [False, True])
def test_run_whose_last_step_is_a_gate_ends_when_it_is_approved(owner, build_server, interrupted):
    stage = Stage(owner, build_server, "/one", "gate")
    run = stage.ask()
    stage.work()
    if interrupted:
        stage.do("stop")
        stage.do("resume")
        stage.work()

    stage.do("approve")
    stage.work()

    assert state(run) == ("finished", "success")
    assert build_server.called == ["/one"]


def test_rejected_run_cannot_continue(owner, build_server):
    stage = Stage(owner, build_server, "gate", "/two")
    run = stage.ask()
    stage.work()

    stage.do("reject", message="Not now")

    assert state(run) == ("finished", "failed")
    with pytest.raises(services.Refused, match="no steps left"):
        stage.do("resume")
    assert build_server.called == []


@pytest.mark.parametrize(("message", "said"), [(" Tests are green ", ": Tests are green"), ("", ".")])
def test_log_has_the_reason_of_an_approval_if_there_is_one(owner, build_server, message, said):
    stage = Stage(owner, build_server, "gate", "/two")
    run = stage.ask()
    stage.work()

    stage.do("approve", message=message)

    assert run.log_lines.get(action="approve").message == f"Approved by {owner.email}{said}"
    assert Activity.objects.get(action="pipeline.approved").details.get("message", "") == message.strip()


def test_approval_of_another_gate_is_refused(owner, build_server):
    stage = Stage(owner, build_server, "gate", "gate", "/three")
    run = stage.ask()
    stage.work()
    stage.do("approve", run_number=1, position=1)
    stage.work()

    for stale in ({"position": 1}, {"run_number": 2}):
        with pytest.raises(services.Refused, match="waits at another gate"):
            stage.do("approve", **stale)
    assert state(run) == ("paused", "")


def test_run_is_refused_while_a_gate_waits_and_queued_runs_begin_after_it(owner, build_server):
    stage = Stage(owner, build_server, "gate", "/one")
    first, second = stage.ask(), stage.ask()
    stage.work()

    with pytest.raises(services.CannotStart, match="waits for an approval"):
        stage.ask()
    assert (state(first), state(second)) == (("paused", ""), ("queued", ""))
    stage.pipeline.steps.filter(position=1).delete()
    stage.do("reset")
    stage.work()

    assert state(first) == ("finished", "stopped")
    assert state(second) == ("paused", "")


def test_resume_continues_after_the_failed_step_without_repeating_it(owner, build_server):
    build_server.answers["/two"] = (503, "no")
    stage = Stage(owner, build_server, "/one", "/two", "/three")
    run = stage.ask()
    stage.work()
    assert state(run) == ("halted", "failed")

    stage.do("resume")
    stage.work()

    assert state(run) == ("finished", "success")
    assert build_server.called == ["/one", "/two", "/three"]
    assert "passed over when the run was resumed" in run.log_lines.first().message


def test_queued_runs_of_a_locked_pipeline_wait(owner, build_server):
    stage = Stage(owner, build_server, "/one")
    run = stage.ask()
    services.lock_pipeline(actor=owner, pipeline=stage.pipeline)
    stage.work()
    assert state(run) == ("queued", "")

    services.unlock_pipeline(actor=owner, pipeline=stage.pipeline)
    stage.work()
    assert state(run) == ("finished", "success")


@pytest.mark.parametrize("loss", ["role", "deactivated", "rule"])
def test_run_does_not_begin_if_its_requester_lost_the_right(owner, member, build_server, loss):
    stage = Stage(owner, build_server, "/one")
    run = stage.ask(actor=member)
    if loss == "rule":
        AccessRuleFactory(pipeline=stage.pipeline, user=owner)
    else:
        User.objects.filter(pk=member.pk).update(**({"site_role": "guest"} if loss == "role" else {"is_active": False}))

    stage.work()

    assert state(run) == ("finished", "failed")
    assert f"{member.email} can no longer run this pipeline" in run.log_lines.first().message
    assert build_server.called == []


# Leases


def take(stage, worker, name):
    worker(name)
    run = runner._take_next(stage.pipeline.pk)
    assert run.worker == name
    return run


def test_run_with_an_expired_lease_is_taken_over_and_its_old_worker_changes_nothing(owner, build_server, worker):
    stage = Stage(owner, build_server, "/one", "/two")
    stage.ask()
    asleep = take(stage, worker, "first")
    worker("second")
    assert runner.recover_lost_runs() == 0
    Run.objects.update(lease_ends_at=timezone.now() - timedelta(seconds=1))

    assert runner.recover_lost_runs() == 0
    assert state(asleep) == ("continuing", "")
    stage.work()
    assert state(asleep) == ("finished", "success")

    worker("first")
    asleep.state = RunState.RUNNING
    runner.execute(asleep)
    assert state(Run.objects.get()) == ("finished", "success")
    assert build_server.called == ["/one", "/two"]


def test_run_that_was_lost_in_a_step_halts_without_repeating_the_step(owner, build_server, worker):
    stage = Stage(owner, build_server, "/one", "/two")
    stage.ask()
    lost = take(stage, worker, "first")
    step = lost.step_runs.get(position=1)
    assert runner._begin(lost, step)
    worker("second")

    assert runner.recover_lost_runs(of_worker="first") == 1

    assert state(lost) == ("halted", "failed")
    assert "The portal cannot tell whether the call was sent" in lost.step_runs.get(position=1).message
    worker("first")
    assert not runner._execute_step(lost, step)
    assert lost.step_runs.get(position=1).state == "failed"
    worker("second")
    stage.do("resume")
    stage.work()
    assert state(lost) == ("finished", "success")
    # The first call is the one that the first worker was sending. The second is the next step.
    assert build_server.called == ["/one", "/two"]


def test_worker_finds_waiting_runs_without_a_message(owner, build_server):
    stage, paused, locked = (Stage(owner, build_server, step) for step in ("/one", "gate", "/three"))
    for each in (stage, paused, locked):
        each.ask()
    paused.work()
    services.lock_pipeline(actor=owner, pipeline=locked.pipeline)

    assert runner.pipelines_with_work() == [stage.pipeline.pk]
    paused.do("approve")
    assert set(runner.pipelines_with_work()) == {stage.pipeline.pk, paused.pipeline.pk}


# Secrets


def test_secret_is_sent_hidden_in_the_log_and_deleted_after_the_run(owner, build_server):
    build_server.answers["/one"] = (200, "You sent Bearer very-secret-value to me: very-secret-value")
    stage = Stage(owner, build_server, "/one")
    secrets = give_secrets(stage.pipeline.steps.get(), {"Authorization": "Bearer very-secret-value"})
    run = stage.ask()
    assert StepRun.objects.get().secret_headers == secrets

    stage.work()

    assert build_server.next_call()[2]["Authorization"] == "Bearer very-secret-value"
    log = " ".join(map(str, run.log_lines.values()))
    assert "You sent [secret] to me: [secret]" in log
    assert "very-secret-value" not in log
    assert StepRun.objects.get().secret_headers == {}


def test_secret_that_no_key_decrypts_fails_the_step(owner, build_server):
    stage = Stage(owner, build_server, "/one")
    stage.pipeline.steps.update(secret_headers={"Authorization": "gAAAAAnot-ours"})
    run = stage.ask()
    stage.work()

    assert state(run) == ("finished", "failed")
    assert "cannot be decrypted" in run.step_runs.get().message
    assert build_server.called == []


def test_two_requested_runs_get_different_numbers_and_one_begins(owner, build_server):
    stage = Stage(owner, build_server, "gate")
    numbers = [stage.ask().number for _ in range(2)]
    stage.work()

    assert numbers == [1, 2]
    assert sorted(Run.objects.values_list("state", flat=True)) == ["paused", "queued"]
    assert Pipeline.objects.get().run_count == 2
