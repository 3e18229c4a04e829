"""Executes runs: the worker takes one after the other and executes their steps.

The end of each step is committed before the next step begins, so the database always shows how far a run has come. A
worker that gets a signal to stop finishes its current step and releases the run. If a worker is killed during a step,
the step is marked failed: nobody can know whether the call went out, and it is never repeated by itself.

A run belongs to the thread that took it until its lease ends; each step renews the lease. When a lease has ended, the
thread counts as lost, and any worker can take the run over, also another thread of the same process. Each time a run is
taken or taken over, its ``attempt`` increases. Every write is conditional on the attempt that the thread got, so a
thread that was only suspended changes nothing when it continues.
"""

import logging
import secrets
import threading
import uuid
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import override

from auditlog.actions import Action
from auditlog.record import record
from core.db.locks import lock_first, lock_if_exists
from pipelines import http_step, notifications, redaction, run_requesters, secret_fields, step_secrets
from pipelines.models import Pipeline, Run, StepRun
from pipelines.querysets import RunQuerySet
from pipelines.run_states import OCCUPYING, RunEvent, RunOutcome, RunState, StepState

logger = logging.getLogger(__name__)

# A step takes at most `http_step.DEADLINE_SECONDS`, and then waits for the database.
LEASE = timedelta(seconds=60)

SECRETS_UNREADABLE = (
    "The secrets of this step cannot be decrypted: the portal has no key for them, or they belong to another step or "
    "server. Nothing was sent. Enter them again in the step."
)

_stop_requested = threading.Event()
_worker = secrets.token_hex(16)


def work_as(worker: str) -> None:
    """Sets the name under which this process takes runs."""
    global _worker
    _worker = worker


def stop_after_step() -> None:
    """Stops this process after its current step. Safe to call from a signal handler."""
    _stop_requested.set()


def execute_queued(pipeline_id: uuid.UUID) -> None:
    while not _stop_requested.is_set() and (run := _take_next(pipeline_id)) is not None:
        try:
            execute(run)
        except Exception:
            logger.exception("Run %s could not be executed", run.pk)
            _end(run, RunOutcome.FAILED, "The portal failed during this run. The reason is in the server's log.")


def execute(run: Run) -> None:
    """Executes the remaining steps of a run that this worker took, until the run ends or waits."""
    for step in run.step_runs.filter(state=StepState.WAITING).order_by("position"):
        if _stop_requested.is_set():
            _release(run)
            return
        if step.is_gate:
            _wait_at(run, step)
            return
        if not _begin(run, step):
            _end_as_stopped(run)
            return
        if not _execute_step(run, step):
            return
    _end_as_succeeded(run)


def recover_lost_runs(*, of_worker: str = "") -> int:
    """Recovers the runs of lost workers: those whose lease has ended, and those of ``of_worker``, which is known to be
    gone. A run that was between two steps continues, and one whose last step had succeeded ends. A run that was in a
    step is marked failed, and can be resumed after that step. Returns how many were marked failed.
    """
    gone = Q(lease_ends_at__isnull=True) | Q(lease_ends_at__lt=timezone.now())
    if of_worker:
        gone |= Q(worker=of_worker)
    lost = Run.objects.filter(gone, state__in=[RunState.RUNNING, RunState.STOPPING])
    return sum(_recover(run_id, gone) for run_id in lost.values_list("pk", flat=True))


def pipelines_with_work() -> list[uuid.UUID]:
    """Pipelines with a run that can be taken now, even if the queue has lost the message about it."""
    takeable = Run.objects.filter(state=RunState.CONTINUING) | Run.objects.filter(
        state=RunState.QUEUED, pipeline__locked_at=None
    ).exclude(pipeline__in=Run.objects.filter(state__in=OCCUPYING).values("pipeline"))
    found = takeable.filter(pipeline__isnull=False).order_by().values_list("pipeline_id", flat=True)
    return [pipeline_id for pipeline_id in set(found) if pipeline_id is not None]


def _take_next(pipeline_id: uuid.UUID) -> Run | None:
    """Takes the run that continues, otherwise the oldest queued one, if no run is in progress.

    Locks the pipeline's row, so that a lock, a change of rules or a stop takes effect before or after it.
    """
    while True:
        with transaction.atomic():
            pipeline = lock_if_exists(Pipeline.objects.all(), pipeline_id)
            run = _next_of(pipeline) if pipeline else None
            if pipeline is None or run is None:
                return None
            if reason := run_requesters.obstacle(run, pipeline):
                _refuse(run, pipeline, reason)
                continue
            if _take(run, pipeline):
                return run
            return None


def _next_of(pipeline: Pipeline) -> Run | None:
    runs = {run.state: run for run in pipeline.runs.filter(state__in=OCCUPYING)}
    if runs:
        return runs.get(RunState.CONTINUING)
    if pipeline.is_locked:
        return None
    found: Run | None = pipeline.runs.filter(state=RunState.QUEUED).order_by("number").first()
    return found


def _refuse(run: Run, pipeline: Pipeline, reason: str) -> None:
    """Ends a queued run. Halts a run that has begun, so that someone else can resume it; a gate that was approved
    last waits again then.
    """
    has_begun = run.state == RunState.CONTINUING
    requester, gate = run_requesters.requester_of(run), run_requesters.approved_gate(run)
    if not run.move(RunEvent.REFUSED, outcome=RunOutcome.FAILED, finished_at=timezone.now()):
        return
    if gate is not None:
        _update(gate, state=StepState.WAITING, started_at=None, finished_at=None, message="", decided_by_email="")
    said = f"{reason} {'The run does not continue.' if has_begun else 'It was not started.'}"
    run.log("run", RunOutcome.FAILED, said)
    if requester.person is not None:
        record(
            actor=requester.person,
            action=Action.PIPELINE_RUN_REFUSED,
            target=pipeline,
            run_number=run.number,
            with_token=requester.token_name,
            reason=said,
        )
    notifications.announce(run, notifications.Event.FAILED)


def _take(run: Run, pipeline: Pipeline) -> bool:
    goes_on = run.state == RunState.CONTINUING
    if not goes_on:
        for halted in pipeline.runs.filter(state=RunState.HALTED):
            halted.move(RunEvent.SUPERSEDED)
    now = timezone.now()
    started_at = Coalesce("started_at", now)
    try:
        with transaction.atomic():
            taken = run.move(RunEvent.TAKEN, started_at=started_at, **_ownership(run, now))
    except IntegrityError:
        # Another worker runs this pipeline; it takes the next queued run when it is done.
        return False
    if taken:
        run.refresh_from_db()
        run.log("run", RunState.RUNNING, f"Run {run.number} {'continues' if goes_on else 'started'}.")
    return taken


def _begin(run: Run, step: StepRun) -> bool:
    """Marks the step as begun if the run still belongs to this attempt and continues. Returns whether it does."""
    now = timezone.now()
    with transaction.atomic():
        if not _mine(run).filter(state=RunState.RUNNING).update(lease_ends_at=now + LEASE):
            return False
        _update(step, state=StepState.RUNNING, started_at=now)
        run.log(step.method.lower(), StepState.RUNNING, f"{step.method} {step.public_url}", step)
    return True


def _execute_step(run: Run, step: StepRun) -> bool:
    """Executes the step and commits its end; if it failed, together with that of the run. Returns whether the run
    continues.
    """
    try:
        # Forms show the same errors, translated. The log of a run is stored in English.
        with override("en"):
            answer = _call(step)
    except step_secrets.SecretMissing as error:
        return _end_step(run, step, StepState.FAILED, f"The secret {error} has no value. Enter it in the step.")
    except step_secrets.SecretUnreadable:
        return _end_step(run, step, StepState.FAILED, SECRETS_UNREADABLE)
    except http_step.HttpStepError as error:
        return _end_step(run, step, StepState.FAILED, str(error))
    except Exception:
        logger.exception("Step %s of run %s could not be executed", step.position, run.pk)
        return _end_step(run, step, StepState.FAILED, "The portal failed while it executed this step.")
    said = f"Answered {answer.status} in {answer.duration_ms} ms."
    if answer.status != step.expected_status:
        return _end_step(run, step, StepState.FAILED, f"{said} The step expects {step.expected_status}.", answer)
    return _end_step(run, step, StepState.SUCCESS, said, answer)


def _call(step: StepRun) -> http_step.HttpAnswer:
    """Makes the call with the step's secrets. The returned response does not contain them."""
    headers, query, body = (step_secrets.decrypt(step, place) for place in step_secrets.PLACES)
    try:
        url = secret_fields.url_with(step.url, query)
        content = secret_fields.body_with(step.headers, step.body, body)
    except ValueError as error:
        raise http_step.HttpStepError(str(error)) from None
    return http_step.call(
        method=step.method,
        url=url,
        headers={**step.headers, **headers},
        body=content,
        secrets=redaction.secrets_of(headers, [*query.values(), *body.values()]),
    )


def _end_step(
    run: Run,
    step: StepRun,
    state: StepState,
    message: str,
    answer: http_step.HttpAnswer | None = None,
) -> bool:
    with transaction.atomic():
        if _lock_if_mine(run) is None:
            # This thread counted as lost, and the step was marked failed.
            return False
        _update(
            step,
            state=state,
            finished_at=timezone.now(),
            message=message,
            response_status=answer.status if answer else None,
            response_bytes=answer.size if answer else None,
        )
        run.log(step.method.lower(), state, message, step)
        if answer and answer.size:
            run.log_answer(state, _words_about(answer), step, answer.body)
        if state == StepState.FAILED:
            # Not later: if the worker were killed in between, the next one would continue after the failed step.
            _end(run, RunOutcome.FAILED, f"Failed at step {step.position}, “{step.name}”.")
    return state == StepState.SUCCESS


def _words_about(answer: http_step.HttpAnswer) -> str:
    size = f"The answer has {'more than ' if answer.is_truncated else ''}{answer.size:,} bytes."
    if answer.why_not_kept:
        return f"{size} It is not kept. {answer.why_not_kept}"
    return f"{size} Its beginning is kept." if answer.is_truncated else size


def _wait_at(run: Run, gate: StepRun) -> None:
    """Pauses the run until a person approves it. The worker continues with other runs."""
    with transaction.atomic():
        current = _lock_if_mine(run)
        if current is not None and current.move(RunEvent.GATE_REACHED):
            _update(gate, state=StepState.PAUSED, started_at=timezone.now())
            current.log("gate", StepState.PAUSED, "Waits for an approval.", gate)
            notifications.announce(current, notifications.Event.GATE_WAITS)
            return
    _end_as_stopped(run)


def _release(run: Run) -> None:
    """Releases the run because this worker stops. The next worker continues after the last step."""
    with transaction.atomic():
        current = _lock_if_mine(run)
        if current is not None and current.move(RunEvent.RELEASED):
            current.log("run", RunState.CONTINUING, "The worker was stopped between two steps. The run continues.")
            return
    _end_as_stopped(run)


def _end_as_stopped(run: Run) -> None:
    _end(run, RunOutcome.STOPPED, "Stopped. The steps above have run; the others have not.")


def _end_as_succeeded(run: Run) -> None:
    with transaction.atomic():
        current = _lock_if_mine(run)
        if current is not None:
            _end(current, RunOutcome.SUCCESS, _words_of_success(current))


def _end(run: Run, outcome: RunOutcome, message: str) -> None:
    """Ends the run if it still belongs to this attempt: finished, or halted if steps are left."""
    with transaction.atomic():
        current = _lock_if_mine(run)
        if current is None:
            return
        # A step that this process itself could not finish.
        current.step_runs.filter(state=StepState.RUNNING).update(
            state=StepState.FAILED, finished_at=timezone.now(), message=message
        )
        left = current.step_runs.filter(state=StepState.WAITING).exists()
        event = RunEvent.ENDED_WITH_STEPS_LEFT if left else RunEvent.ENDED
        if current.move(event, outcome=outcome, finished_at=timezone.now(), lease_ends_at=None):
            current.log("run", outcome, message)
            if outcome == RunOutcome.FAILED:
                notifications.announce(current, notifications.Event.FAILED)


def _recover(run_id: uuid.UUID, gone: Q) -> bool:
    """Recovers one run. Returns whether it was marked failed."""
    with transaction.atomic():
        lost = Run.objects.filter(gone, state__in=[RunState.RUNNING, RunState.STOPPING])
        run = lock_if_exists(lost, run_id)
        if run is None:
            return False
        _take_over(run)
        reason = "The worker stopped in the middle of this step. The portal cannot tell whether the call was sent."
        in_the_middle = run.step_runs.filter(state=StepState.RUNNING).update(
            state=StepState.FAILED, finished_at=timezone.now(), message=reason
        )
        if in_the_middle:
            _end(run, RunOutcome.FAILED, f"{reason} Check there, then resume after it or start a new run.")
        elif not run.step_runs.filter(state=StepState.WAITING).exists():
            _end_as_succeeded(run)
        elif run.state == RunState.STOPPING:
            _end_as_stopped(run)
        elif run.move(RunEvent.RELEASED):
            run.log("run", RunState.CONTINUING, "The worker stopped between two steps. The run continues.")
        return bool(in_the_middle)


def _take_over(run: Run) -> None:
    """From here on, the run's last owner can't change it, even if it continues."""
    for name, value in _ownership(run, timezone.now()).items():
        setattr(run, name, value)
    run.save(update_fields=["attempt", "worker", "lease_ends_at"])


def _ownership(run: Run, now: datetime) -> dict[str, Any]:
    """The values of a run that this thread takes."""
    return {"attempt": run.attempt + 1, "worker": _worker, "lease_ends_at": now + LEASE}


def _words_of_success(run: Run) -> str:
    failed = run.step_runs.filter(state=StepState.FAILED).count()
    if failed:
        passed_over = "one that had failed was" if failed == 1 else f"{failed} that had failed were"
        return f"The remaining steps succeeded; {passed_over} passed over when the run was resumed."
    if run.state == RunState.STOPPING:
        return "All steps succeeded: the last one was already running when the run was stopped."
    return "All steps succeeded."


def _lock_if_mine(run: Run) -> Run | None:
    """The run as it is now, locked, so that nobody takes it over or stops it before the transaction ends.

    ``None`` if it no longer belongs to this attempt, or is no longer being executed.
    """
    return lock_first(_mine(run).filter(state__in=[RunState.RUNNING, RunState.STOPPING]))


def _mine(run: Run) -> RunQuerySet:
    return Run.objects.filter(pk=run.pk, attempt=run.attempt)


def _update(step: StepRun, **values: object) -> None:
    for name, value in values.items():
        setattr(step, name, value)
    step.save(update_fields=list(values))
