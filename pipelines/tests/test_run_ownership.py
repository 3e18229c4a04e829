"""A run belongs to one thread of one worker. A thread that lost its run changes nothing, wherever it was."""

import itertools

import pytest
from django.db import connection
from django.utils import timezone

from core.models import OutgoingMail
from opsera_portal.tests.kills import before_each_statement
from pipelines import runner
from pipelines.models import Run, RunLogLine, StepRun
from pipelines.tests.conftest import PATIENCE
from pipelines.tests.stages import Stage

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.each_database, pytest.mark.slow]


class BeforeTransaction:
    """Does something once, before this thread's transaction of this number has locked anything."""

    def __init__(self, number, act):
        self._left, self._act, self._last = number, act, None
        self.is_done = False

    def __call__(self, sql):
        if self._begins():
            self._left -= 1
            if self._left == 0:
                self.is_done = True
                self._act()

    def _begins(self):
        """Whether the statement begins a transaction, or is one by itself."""
        outermost = next(iter(connection.atomic_blocks), None)
        is_first, self._last = outermost is None or outermost is not self._last, outermost
        # On SQLite, BEGIN is a statement and takes the lock.
        return is_first and (outermost is None or connection.vendor != "sqlite")


def take_over(stage):
    """As another thread of the same worker. Returns the run, if it has steps left."""
    Run.objects.update(lease_ends_at=timezone.now())
    runner.recover_lost_runs()
    if stage.state == "halted failed":
        stage.do("resume")
    return runner._take_next(stage.pipeline.pk)


def rows():
    return [list(rows.order_by("pk").values_list()) for rows in (Run.objects, StepRun.objects, RunLogLine.objects)] + [
        OutgoingMail.objects.count()
    ]


@pytest.mark.parametrize("steps", [["/one", "/two"], ["/one", "gate"]], ids=["calls", "gate"])
def test_thread_whose_run_is_taken_over_at_any_moment_changes_nothing(owner, build_server, in_thread, steps):
    for number in itertools.count(1):
        stage = Stage(owner, build_server, *steps)
        stage.ask()
        build_server.called.clear()
        taken, left_behind, in_last_step = [], [], []

        def lose_the_run(stage=stage, taken=taken, left_behind=left_behind, in_last_step=in_last_step):
            in_last_step.extend(stage.run.step_runs.filter(position=2, state="running"))
            taken.append(in_thread(take_over, stage).result(PATIENCE))
            left_behind.extend(rows())

        moment = BeforeTransaction(number, lose_the_run)
        with before_each_statement(moment):
            stage.work()
        if not moment.is_done:
            break

        assert rows() == left_behind, f"before transaction {number}"
        for run in filter(None, taken):
            runner.execute(run)
        stage.to_the_end()
        assert stage.state == ("finished failed" if in_last_step else "finished success")
        assert build_server.called == [step for step in steps if step != "gate"]

    assert number > 5
