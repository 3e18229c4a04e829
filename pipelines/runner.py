"""What the worker does: takes queued runs one after the other and executes their steps.

Each step's end is a row before the next begins, so that whatever happens to the worker, the database tells how far a
run has come. A worker that is asked to stop finishes the step on its way, and the next worker goes on behind it. Where
a worker was killed in the middle of a step, the run is marked failed with that reason: whether the call went out cannot
be known, and it is never made twice without someone asking for it.
"""

import logging
import threading
import uuid

from django.db import IntegrityError, transaction
from django.db.models.functions import Coalesce
from django.utils import timezone

from opsera_portal.request_context import without_tokens
from pipelines import http_step
from pipelines.models import Run, RunLogLine, StepRun
from pipelines.run_states import RunOutcome, RunState, StepState

logger = logging.getLogger(__name__)


_stop_requested = threading.Event()


def stop_after_step() -> None:
    """Asks this process to execute no further step. Safe to call from a signal handler."""
    _stop_requested.set()


def execute_queued(pipeline_id: uuid.UUID) -> None:
    while not _stop_requested.is_set() and (run := _take_next(pipeline_id)) is not None:
        try:
            execute(run)
        except Exception:
            logger.exception("Run %s could not be executed", run.pk)
            _finish(run, RunOutcome.FAILED, "The portal made a mistake during this run. Its own log says which.")


def execute(run: Run) -> None:
    """The steps of a run that was taken, from the first that was not executed yet, until one fails."""
    for step in run.step_runs.order_by("position"):
        if step.state == StepState.SUCCESS:
            continue
        if _stop_requested.is_set():
            return
        if step.state == StepState.FAILED or not _execute_step(run, step):
            _finish(run, RunOutcome.FAILED, f"Failed at step {step.position}, “{step.name}”.")
            return
    _finish(run, RunOutcome.SUCCESS, "All steps succeeded.")


def recover_interrupted_runs() -> int:
    """Takes up what a worker left behind. Call it before any worker executes runs.

    A run that was between two steps is queued again, and goes on with its next step. One that was in the middle of a
    step is marked failed. Returns how many were marked failed.
    """
    failed = 0
    for run in Run.objects.filter(state=RunState.RUNNING):
        with transaction.atomic():
            reason = "The worker was stopped in the middle of this step. Whether the call went out is not known."
            in_the_middle = run.step_runs.filter(state=StepState.RUNNING).update(
                state=StepState.FAILED, finished_at=timezone.now(), message=reason
            )
            if in_the_middle:
                message = "The worker was stopped during this run. Start it again if it is safe to."
                _finish(run, RunOutcome.FAILED, message)
                failed += 1
            else:
                Run.objects.filter(pk=run.pk).update(state=RunState.QUEUED)
                _log(run, "run", RunState.QUEUED, "The worker was stopped between two steps. The run goes on.")
    return failed


def _take_next(pipeline_id: uuid.UUID) -> Run | None:
    """The oldest queued run, if none is running: a conditional update and the database's constraint decide."""
    run: Run | None = (
        Run.objects.filter(pipeline_id=pipeline_id, state=RunState.QUEUED)
        .select_related("pipeline")
        .order_by("number")
        .first()
    )
    if run is None:
        return None
    try:
        with transaction.atomic():
            taken = Run.objects.filter(pk=run.pk, state=RunState.QUEUED).update(
                state=RunState.RUNNING, started_at=Coalesce("started_at", timezone.now())
            )
            if not taken:
                return None
            _log(run, "run", RunState.RUNNING, f"Run {run.number} started.")
    except IntegrityError:
        # Another worker runs this pipeline; it takes the next queued run when it is done.
        return None
    return run


def _execute_step(run: Run, step: StepRun) -> bool:
    """Whether the step succeeded. Its end is committed when this returns."""
    _update(step, state=StepState.RUNNING, started_at=timezone.now())
    _log(run, step.method.lower(), StepState.RUNNING, f"{step.method} {step.public_url}", step)
    try:
        answer = http_step.call(method=step.method, url=step.url, headers=step.headers, body=step.body)
    except http_step.HttpStepError as error:
        return _end_step(run, step, StepState.FAILED, str(error))
    except Exception:
        logger.exception("Step %s of run %s could not be executed", step.position, run.pk)
        return _end_step(run, step, StepState.FAILED, "The portal made a mistake while executing this step.")
    said = f"Answered {answer.status} in {answer.duration_ms} ms."
    if answer.status != step.expected_status:
        return _end_step(run, step, StepState.FAILED, f"{said} Expected was {step.expected_status}.", answer)
    return _end_step(run, step, StepState.SUCCESS, said, answer)


def _end_step(
    run: Run, step: StepRun, state: StepState, message: str, answer: http_step.HttpAnswer | None = None
) -> bool:
    with transaction.atomic():
        _update(
            step,
            state=state,
            finished_at=timezone.now(),
            message=message,
            response_status=answer.status if answer else None,
        )
        _log(run, step.method.lower(), state, message, step)
        if answer and answer.body:
            _log(run, "answer", state, without_tokens(answer.body), step)
        if answer and answer.is_truncated:
            _log(run, "answer", state, "The answer was longer; what stands above is its beginning.", step)
    return state == StepState.SUCCESS


def _finish(run: Run, outcome: RunOutcome, message: str) -> None:
    with transaction.atomic():
        run.step_runs.filter(state=StepState.WAITING).update(state=StepState.SKIPPED)
        Run.objects.filter(pk=run.pk, state=RunState.RUNNING).update(
            state=RunState.FINISHED, outcome=outcome, finished_at=timezone.now()
        )
        _log(run, "run", outcome, message)


def _log(run: Run, action: str, status: str, message: str, step: StepRun | None = None) -> None:
    failed = status in {StepState.FAILED, RunOutcome.FAILED}
    RunLogLine.objects.create(
        run=run,
        step_name=step.name if step else "",
        action=action,
        level=RunLogLine.Level.ERROR if failed else RunLogLine.Level.INFO,
        status=status,
        message=message,
    )


def _update(step: StepRun, **values: object) -> None:
    for name, value in values.items():
        setattr(step, name, value)
    step.save(update_fields=list(values))
