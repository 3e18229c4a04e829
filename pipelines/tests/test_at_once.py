"""Two actions at the same time, each in a thread with its own database connection.

In most tests, the second action begins when the first has done its work but has not committed it.
"""

import concurrent.futures
import threading

import pytest
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from accounts.models import Group, User
from accounts.roles import SiteRole
from accounts.services import GroupInUse, delete_group
from accounts.tests.factories import GroupFactory, UserFactory
from auditlog.models import Activity
from core.errors import NotAllowed
from opsera_portal.tests.kills import before_each_statement
from pipelines import runner, services
from pipelines.access import ItemRole
from pipelines.models import AccessRule, Pipeline, Run
from pipelines.services import RuleInput, StepInput
from pipelines.tests.conftest import PATIENCE
from pipelines.tests.factories import AccessRuleFactory
from pipelines.tests.stages import Stage, state_of, steps_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.each_database]

# How long the first keeps its transaction open. A test fails if the second does not wait for it.
HELD_SECONDS = 0.2


@pytest.fixture
def stage(owner, build_server):
    return Stage(owner, build_server)


@pytest.fixture
def meanwhile(in_thread):
    """Calls ``second`` before ``first`` is committed; returns the result or error of ``second``."""

    def meanwhile(first, second):
        done, ended = threading.Event(), threading.Event()

        def hold():
            with transaction.atomic():
                first()
                done.set()
                assert not ended.wait(HELD_SECONDS), "the second did not wait for the first"

        def follow():
            assert done.wait(PATIENCE)
            try:
                return second()
            except Exception as error:  # noqa: BLE001
                return error
            finally:
                ended.set()

        holding, following = in_thread(hold), in_thread(follow)
        holding.result(PATIENCE)
        return following.result(PATIENCE)

    return meanwhile


@pytest.fixture
def together(in_thread):
    """Calls all actions at once; returns the result or error of each."""

    def together(*actions):
        barrier = threading.Barrier(len(actions))

        def go(action):
            barrier.wait(PATIENCE)
            try:
                return action()
            except Exception as error:  # noqa: BLE001
                return error

        return [future.result(PATIENCE) for future in [in_thread(go, action) for action in actions]]

    return together


def kinds(results):
    return sorted(type(result).__name__ for result in results)


# Lost rights


def test_person_whose_right_is_being_removed_cannot_start_a_run(stage, owner, member, meanwhile):
    result = meanwhile(
        lambda: services.set_access_rule(actor=owner, pipeline=stage.pipeline, subject=owner, role=ItemRole.USER),
        lambda: services.start_run(actor=member, pipeline=stage.pipeline),
    )

    assert isinstance(result, NotAllowed)
    assert not Run.objects.exists()


def test_queued_run_does_not_begin_while_its_requester_loses_the_right(stage, owner, member, meanwhile):
    run = stage.ask(actor=member)

    meanwhile(
        lambda: services.set_access_rule(actor=owner, pipeline=stage.pipeline, subject=owner, role=ItemRole.USER),
        stage.work,
    )

    assert state_of(run) == "finished failed"
    assert stage.build_server.called == []


def test_manager_who_is_being_demoted_cannot_change_rules(stage, owner, member, meanwhile):
    AccessRuleFactory(pipeline=stage.pipeline, user=member, role=ItemRole.MANAGER)

    result = meanwhile(
        lambda: services.set_access_rule(actor=owner, pipeline=stage.pipeline, subject=member, role=ItemRole.USER),
        lambda: services.set_access_rule(actor=member, pipeline=stage.pipeline, subject=member, role=ItemRole.MANAGER),
    )

    assert isinstance(result, NotAllowed)
    assert AccessRule.objects.get().role == "user"


def test_former_owner_cannot_act_while_the_pipeline_is_transferred(stage, owner, member, meanwhile):
    AccessRuleFactory(pipeline=stage.pipeline, user=member)

    result = meanwhile(
        lambda: services.transfer_pipeline(actor=owner, pipeline=stage.pipeline, owner=member),
        lambda: services.delete_pipeline(actor=owner, pipeline=stage.pipeline),
    )

    assert isinstance(result, NotAllowed)
    assert Pipeline.objects.get().owner == member


# A pipeline that is locked, changed or deleted


def test_pipeline_that_is_being_locked_is_not_started(stage, owner, meanwhile):
    result = meanwhile(
        lambda: services.lock_pipeline(actor=owner, pipeline=stage.pipeline),
        lambda: services.start_run(actor=owner, pipeline=stage.pipeline),
    )

    assert isinstance(result, services.CannotStart)
    assert not Run.objects.exists()


def test_a_queued_run_of_a_pipeline_that_is_being_locked_waits(stage, owner, meanwhile):
    run = stage.ask()

    meanwhile(lambda: services.lock_pipeline(actor=owner, pipeline=stage.pipeline), stage.work)

    assert state_of(run) == "queued"


def test_a_pipeline_that_is_being_deleted_is_not_started(stage, owner, meanwhile):
    result = meanwhile(
        lambda: services.delete_pipeline(actor=owner, pipeline=stage.pipeline),
        lambda: services.start_run(actor=owner, pipeline=stage.pipeline),
    )

    assert isinstance(result, NotAllowed)
    assert not Run.objects.exists()


def test_a_pipeline_that_is_being_started_is_not_deleted(stage, owner, meanwhile):
    result = meanwhile(
        lambda: services.start_run(actor=owner, pipeline=stage.pipeline),
        lambda: services.delete_pipeline(actor=owner, pipeline=stage.pipeline),
    )

    assert isinstance(result, services.Refused)
    assert Run.objects.get().pipeline == stage.pipeline


def test_run_during_an_edit_has_only_old_or_only_new_steps(stage, owner, meanwhile):
    steps = [StepInput(name=name, url=f"{stage.build_server.url}/new") for name in ("A", "B")]

    run = meanwhile(
        lambda: services.replace_steps(actor=owner, pipeline=stage.pipeline, steps=steps),
        lambda: services.start_run(actor=owner, pipeline=stage.pipeline),
    )

    assert [step.name for step in run.step_runs.all()] == ["A", "B"]


def test_steps_added_at_the_same_time_get_different_positions(stage, owner, together):
    new = StepInput(name="New", url=stage.build_server.url)

    together(*[lambda: services.add_step(actor=owner, pipeline=stage.pipeline, step=new)] * 3)

    assert [step.position for step in stage.pipeline.steps.all()] == [1, 2, 3, 4, 5, 6]


# Groups


def test_group_that_is_being_added_to_a_rule_is_not_deleted(stage, owner, administrator, meanwhile):
    group = GroupFactory(organization=owner.organization)

    result = meanwhile(
        lambda: services.set_access_rule(actor=owner, pipeline=stage.pipeline, subject=group, role=ItemRole.USER),
        lambda: delete_group(actor=administrator, group=group),
    )

    assert isinstance(result, GroupInUse)
    assert AccessRule.objects.get().group == group


def test_a_group_that_is_being_deleted_gets_no_rule(stage, owner, administrator, meanwhile):
    group = GroupFactory(organization=owner.organization)

    result = meanwhile(
        lambda: delete_group(actor=administrator, group=group),
        lambda: services.replace_access_rules(
            actor=owner, pipeline=stage.pipeline, rules=[RuleInput(group, ItemRole.USER)]
        ),
    )

    assert isinstance(result, ValidationError)
    assert not AccessRule.objects.exists()
    assert not Group.objects.exists()


def test_person_who_is_added_twice_at_the_same_time_has_one_rule(stage, owner, member, together):
    def give(role):
        return lambda: services.set_access_rule(actor=owner, pipeline=stage.pipeline, subject=member, role=role)

    results = together(give(ItemRole.USER), give(ItemRole.MANAGER))

    assert kinds(results) == ["AccessRule", "AccessRule"]
    assert AccessRule.objects.count() == 1


# Gates


def at_gate(stage):
    stage.has_steps("gate", "/after")
    stage.ask()
    return stage.work()


def test_one_of_two_simultaneous_approvals_counts(stage, owner, together):
    at_gate(stage)
    approver = UserFactory(organization=owner.organization, site_role=SiteRole.POWER_USER)

    results = together(lambda: stage.do("approve"), lambda: stage.do("approve", actor=approver))

    assert kinds(results) == ["Refused", "Run"]
    assert Activity.objects.filter(action="pipeline.approved").count() == 1
    stage.work()
    assert (stage.state, stage.build_server.called) == ("finished success", ["/after"])


def test_one_of_a_simultaneous_approval_and_rejection_counts(stage, together):
    at_gate(stage)

    results = together(lambda: stage.do("approve"), lambda: stage.do("reject"))

    assert kinds(results) == ["Refused", "Run"]
    decided = "approve" if isinstance(results[0], Run) else "reject"
    assert stage.state == {"approve": "continuing", "reject": "finished failed"}[decided]
    assert stage.run.log_lines.filter(action__in=["approve", "reject"]).get().action == decided


def test_approval_while_the_run_is_being_stopped_does_not_continue_it(stage, meanwhile):
    at_gate(stage)

    result = meanwhile(lambda: stage.do("stop"), lambda: stage.do("approve"))

    assert isinstance(result, services.Refused)
    assert (stage.state, stage.steps) == ("halted stopped", "waiting waiting")


def taken_at(stage, step):
    """A run that a worker has taken, and its first step, which is ``step``."""
    stage.has_steps(step, "/after")
    stage.ask()
    run = runner._take_next(stage.pipeline.pk)
    return run, run.step_runs.get(position=1)


def test_stop_while_the_run_reaches_a_gate_halts_it_there(stage, meanwhile):
    run, gate = taken_at(stage, "gate")

    result = meanwhile(lambda: runner._wait_at(run, gate), lambda: stage.do("stop"))

    assert isinstance(result, Run)
    assert (stage.state, stage.steps) == ("halted stopped", "waiting waiting")


def test_gate_that_is_reached_while_the_run_is_being_stopped_does_not_wait(stage, meanwhile):
    run, gate = taken_at(stage, "gate")

    meanwhile(lambda: stage.do("stop"), lambda: runner._wait_at(run, gate))

    assert (stage.state, stage.steps) == ("halted stopped", "waiting waiting")


def test_stop_while_the_worker_releases_the_run_halts_it(stage, meanwhile):
    run, _ = taken_at(stage, "/one")

    result = meanwhile(lambda: runner._release(run), lambda: stage.do("stop"))

    assert isinstance(result, Run)
    assert (stage.state, stage.steps) == ("halted stopped", "waiting waiting")


@pytest.mark.parametrize("action", ["wait at the gate", "release"])
def test_run_is_not_taken_over_between_reading_and_changing_it(stage, in_thread, action):
    runner.work_as("late")
    run, gate = taken_at(stage, "gate")
    Run.objects.update(lease_ends_at=timezone.now())
    others = []

    def take_over():
        runner.recover_lost_runs()
        return runner._take_next(stage.pipeline.pk)

    def let_another_worker_try(sql):
        if sql.startswith('UPDATE "pipelines_run"') and not others:
            runner.work_as("another")
            others.append(in_thread(take_over))
            concurrent.futures.wait(others, timeout=HELD_SECONDS)

    with before_each_statement(let_another_worker_try):
        runner._wait_at(run, gate) if action == "wait at the gate" else runner._release(run)

    (taken,) = [other.result(PATIENCE) for other in others]
    if action == "wait at the gate":
        assert (taken, stage.state, stage.steps) == (None, "paused", "paused waiting")
    else:
        assert (taken.worker, stage.state) == ("another", "running")
        assert [line for line in stage.log if "continues" in line] == [
            "The worker was stopped between two steps. The run continues.",
            "Run 1 continues.",
        ]


# Runs


def test_two_runs_requested_at_the_same_time_run_one_after_the_other(stage, together):
    runs = together(stage_start(stage), stage_start(stage))

    together(stage.work, stage.work)
    # One worker may have found no work because the other was between two runs.
    stage.work()

    assert sorted(run.number for run in runs) == [1, 2]
    assert [state_of(run) for run in runs] == ["finished success"] * 2
    assert stage.build_server.called == ["/one", "/two", "/three"] * 2


def stage_start(stage):
    return lambda: services.start_run(actor=stage.owner, pipeline=stage.pipeline)


def test_a_resumed_run_is_executed_by_one_of_two_workers(stage, together):
    stage.build_server.answers["/one"] = (500, "broken")
    stage.ask()
    stage.work()
    stage.do("resume")

    together(stage.work, stage.work)

    assert stage.state == "finished success"
    assert stage.build_server.called == ["/one", "/two", "/three"]


def test_stop_finishes_the_current_step_and_cancels_queued_runs(stage, in_thread):
    stage.build_server.held_path = "/two"
    first, second = stage.ask(), stage.ask()
    working = in_thread(stage.work)
    stage.build_server.next_calls("/one", "/two")

    stage.do("stop")
    while_stopping = state_of(first), steps_of(first), state_of(second)
    stage.build_server.let_go.set()
    working.result(PATIENCE)

    assert while_stopping == ("stopping", "success running waiting", "finished stopped")
    assert (state_of(first), steps_of(first)) == ("halted stopped", "success success waiting")
    assert (state_of(second), steps_of(second)) == ("finished stopped", "skipped skipped skipped")
    stage.do("resume")
    stage.work()
    assert stage.build_server.called == ["/one", "/two", "/three"]


def test_run_that_is_stopped_in_its_last_step_succeeds(stage, in_thread):
    stage.build_server.held_path = "/three"
    run = stage.ask()
    working = in_thread(stage.work)
    stage.build_server.next_calls("/one", "/two", "/three")

    stage.do("stop")
    stage.build_server.let_go.set()
    working.result(PATIENCE)

    assert state_of(run) == "finished success"
    assert "the last one was already running when the run was stopped" in stage.log[-1]


def test_step_that_fails_during_a_stop_fails_the_run(stage, in_thread):
    stage.build_server.held_path, stage.build_server.answers["/two"] = "/two", (500, "broken")
    run = stage.ask()
    working = in_thread(stage.work)
    stage.build_server.next_calls("/one", "/two")

    stage.do("stop")
    stage.build_server.let_go.set()
    working.result(PATIENCE)

    assert (state_of(run), steps_of(run)) == ("halted failed", "success failed waiting")


def test_run_requested_during_another_waits_and_then_runs(stage, in_thread):
    stage.build_server.held_path = "/two"
    stage.ask()
    working = in_thread(stage.work)
    stage.build_server.next_calls("/one", "/two")

    later = services.start_run(actor=stage.owner, pipeline=stage.pipeline)
    meanwhile = state_of(later)
    stage.build_server.held_path = None
    stage.build_server.let_go.set()
    working.result(PATIENCE)

    assert (meanwhile, state_of(later)) == ("queued", "finished success")


def test_run_in_progress_ignores_edits_and_lost_rights(stage, owner, in_thread):
    member = UserFactory(organization=owner.organization)
    stage.build_server.held_path = "/one"
    run = stage.ask(actor=member)
    working = in_thread(stage.work)
    stage.build_server.next_calls("/one")

    services.replace_steps(actor=owner, pipeline=stage.pipeline, steps=[])
    User.objects.filter(pk=member.pk).update(is_active=False)
    stage.build_server.let_go.set()
    working.result(PATIENCE)

    assert state_of(run) == "finished success"
    assert stage.build_server.called == ["/one", "/two", "/three"]


@pytest.fixture(params=["asleep", "awake"], ids=["thread of the same worker", "other worker"])
def successor(request):
    """The name of the worker that takes the run over."""
    return request.param


def test_thread_that_lost_its_lease_during_a_step_changes_nothing(stage, successor, in_thread):
    """Its run was taken over, resumed and finished while it waited for an answer."""
    runner.work_as("asleep")
    stage.build_server.held_path = "/one"
    run = stage.ask()
    working = in_thread(stage.work)
    stage.build_server.next_calls("/one")
    Run.objects.update(lease_ends_at=timezone.now())

    runner.work_as(successor)
    assert runner.recover_lost_runs() == 1
    stage.build_server.held_path = None
    stage.do("resume")
    stage.work()
    before = (state_of(run), steps_of(run), stage.log)
    runner.work_as("asleep")
    stage.build_server.let_go.set()
    working.result(PATIENCE)

    assert before[:2] == ("finished success", "failed success success")
    assert (state_of(run), steps_of(run), stage.log) == before
    assert stage.build_server.called == ["/one", "/two", "/three"]


def test_thread_that_lost_its_lease_leaves_the_run_to_its_successor(stage, successor, in_thread):
    runner.work_as("asleep")
    stage.build_server.held_path = "/one"
    run = stage.ask()
    working = in_thread(stage.work)
    stage.build_server.next_calls("/one")
    Run.objects.update(lease_ends_at=timezone.now())
    runner.work_as(successor)
    runner.recover_lost_runs()
    stage.do("resume")
    taken = runner._take_next(stage.pipeline.pk)

    runner.work_as("asleep")
    stage.build_server.let_go.set()
    working.result(PATIENCE)

    assert (state_of(run), steps_of(run), run.worker) == ("running", "failed waiting waiting", successor)
    runner.work_as(successor)
    runner.execute(taken)
    assert (state_of(run), stage.build_server.called) == ("finished success", ["/one", "/two", "/three"])


def test_a_lease_is_renewed_by_each_step(stage, in_thread):
    stage.build_server.held_path = "/two"
    run = stage.ask()
    Run.objects.update(lease_ends_at=None)
    working = in_thread(stage.work)
    stage.build_server.next_calls("/one", "/two")

    run.refresh_from_db()
    step = run.step_runs.get(position=2)
    lost = runner.recover_lost_runs()
    stage.build_server.let_go.set()
    working.result(PATIENCE)

    assert run.lease_ends_at - step.started_at == runner.LEASE
    assert (lost, state_of(run)) == (0, "finished success")
