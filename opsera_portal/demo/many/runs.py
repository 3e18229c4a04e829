"""Runs in every state, with steps in every state, and their logs. No worker has executed them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from accounts.models import User
from opsera_portal.demo.many import names
from opsera_portal.demo.many.pipelines import LONG_NAME, STEPS, lock
from pipelines import step_secrets
from pipelines.models import Pipeline, Run, RunLogLine, Step, StepRun
from pipelines.run_states import RunOutcome, RunState, StepState
from tokens.models import Token

# Workers take over no run whose lease lasts.
WORKER, LEASE = "demo", timedelta(days=365)
ANSWER = f'{{"queued": true, "url": "{names.filled("https://ci.example.com/queue/item/", 600)}"}}'
FAILURE = names.filled("The name jenkins-controller-of-the-platform-team.internal.example.com has no address. ", 500)
REJECTION = names.filled("The report shows new errors in the payment service. ", 500)


@dataclass(frozen=True)
class Invented:
    """``done``: how many steps have succeeded. ``then``: the state of the next step. ``rest``: of those after it."""

    state: RunState
    outcome: RunOutcome | None = None
    done: int = 0
    then: StepState = StepState.WAITING
    rest: StepState = StepState.WAITING


# Step 2 is an approval.
IN_PROGRESS = (
    Invented(RunState.QUEUED),
    Invented(RunState.CONTINUING, done=2),
    Invented(RunState.RUNNING, done=2, then=StepState.RUNNING),
    Invented(RunState.STOPPING, done=2, then=StepState.RUNNING),
    Invented(RunState.PAUSED, done=1, then=StepState.PAUSED),
    Invented(RunState.HALTED, RunOutcome.FAILED, done=2, then=StepState.FAILED),
    Invented(RunState.HALTED, RunOutcome.STOPPED, done=2),
)
SUCCEEDED = Invented(RunState.FINISHED, RunOutcome.SUCCESS, done=STEPS)
REJECTED = Invented(RunState.FINISHED, RunOutcome.FAILED, 1, StepState.FAILED, StepState.SKIPPED)
FINISHED = (
    SUCCEEDED,
    Invented(RunState.FINISHED, RunOutcome.FAILED, 2, StepState.FAILED, StepState.SKIPPED),
    Invented(RunState.FINISHED, RunOutcome.STOPPED, 2, StepState.SKIPPED, StepState.SKIPPED),
    REJECTED,
)
OF_LONG_PIPELINE = (
    SUCCEEDED,
    Invented(RunState.FINISHED, RunOutcome.FAILED, 12, StepState.FAILED, StepState.SKIPPED),
    Invented(RunState.PAUSED, done=9, then=StepState.PAUSED),
)


def add_runs(pipelines: Sequence[Pipeline], person: User, token: Token | None) -> list[Run]:
    """Each pipeline with steps has a finished run and one that has not finished. One run's pipeline was deleted."""
    runs: list[Run] = []
    step_runs: list[StepRun] = []
    lines: list[RunLogLine] = []
    for number, pipeline in enumerate(pipelines):
        steps = list(pipeline.steps.all())
        if not steps:
            continue
        wanted = OF_LONG_PIPELINE if number == 0 else (FINISHED[number % 4], IN_PROGRESS[number % len(IN_PROGRESS)])
        if any(invented.state is RunState.QUEUED for invented in wanted):
            # Otherwise a worker would execute it.
            lock(pipeline, person)
        for count, invented in enumerate(wanted, start=1):
            run = _run(
                pipeline, count, invented, person, token if number % 2 else None, hours_ago=number + 9 - 3 * count
            )
            runs.append(run)
            results = list(_step_runs(run, steps, invented, person))
            step_runs += results
            lines += _lines(run, results)
        pipeline.run_count = len(wanted)
    runs.append(_of_deleted_pipeline(pipelines[0], person))
    Pipeline.objects.bulk_update(pipelines, ["run_count"])
    Run.objects.bulk_create(runs)
    StepRun.objects.bulk_create(step_runs, batch_size=200)
    RunLogLine.objects.bulk_create(lines, batch_size=200)
    return runs


def _run(
    pipeline: Pipeline, number: int, invented: Invented, person: User, token: Token | None, *, hours_ago: int
) -> Run:
    requested_at = timezone.now() - timedelta(hours=hours_ago, minutes=number)
    run = Run(
        pipeline=pipeline,
        pipeline_public_id=pipeline.pk,
        pipeline_name=pipeline.name,
        organization_id=pipeline.organization_id,
        number=number,
        state=invented.state,
        outcome=invented.outcome or "",
        started_by=person,
        started_by_email=person.email,
        token=token,
        token_name=token.name if token else "",
        requested_at=requested_at,
    )
    if invented.state is not RunState.QUEUED:
        run.started_at, run.attempt = requested_at + timedelta(seconds=2), 1
    if invented.done > 1:
        run.continued_by, run.continued_by_email = person, person.email
    if invented.state in {RunState.RUNNING, RunState.STOPPING}:
        run.worker, run.lease_ends_at = WORKER, timezone.now() + LEASE
    return run


def _step_runs(run: Run, steps: Sequence[Step], invented: Invented, person: User) -> Iterator[StepRun]:
    moment = run.started_at
    for done, step in enumerate(steps):
        state = StepState.SUCCESS if done < invented.done else invented.then if done == invented.done else invented.rest
        result = StepRun(run=run, step_public_id=step.pk, **step.definition(), state=state)
        if run.state == RunState.FINISHED:
            # Finished runs have no secrets.
            for place in step_secrets.PLACES:
                setattr(result, place, {})
        if moment and state not in {StepState.WAITING, StepState.SKIPPED}:
            result.started_at = moment
            moment += timedelta(milliseconds=137) * (done + 1) ** 3
        if moment and state in {StepState.SUCCESS, StepState.FAILED}:
            result.finished_at = moment
            _finish(result, person)
        yield result
    if invented.outcome:
        run.finished_at = moment


def _finish(result: StepRun, person: User) -> None:
    has_failed = result.state == StepState.FAILED
    if result.is_gate:
        result.decided_by_email = person.email
        what = f"Rejected by {person.email}: {REJECTION}" if has_failed else f"Approved by {person.email}."
        result.message = what
    elif has_failed:
        result.message = FAILURE
    else:
        result.response_status, result.response_bytes = 200, len(ANSWER)
        result.message = f"Answered 200 in {137 * result.position} ms."


def _lines(run: Run, results: Sequence[StepRun]) -> Iterator[RunLogLine]:
    """What a worker would have logged."""
    yield _line(run, run.requested_at, "run", RunState.QUEUED, f"Requested by {run.started_by_email}.")
    if run.started_at:
        yield _line(run, run.started_at, "run", RunState.RUNNING, f"Run {run.number} started.")
    for step in results:
        action = step.method.lower()
        if step.started_at and step.state == StepState.PAUSED:
            yield _line(run, step.started_at, "gate", step.state, "Waits for an approval.", step)
        elif step.started_at and not step.is_gate:
            yield _line(run, step.started_at, action, StepState.RUNNING, f"{step.method} {step.public_url}", step)
        if step.finished_at:
            yield _line(run, step.finished_at, "approve" if step.is_gate else action, step.state, step.message, step)
        if step.finished_at and step.response_bytes:
            said = f"The answer has {step.response_bytes:,} bytes."
            yield _line(run, step.finished_at, "answer", step.state, said, step, answer=ANSWER)
    if run.finished_at:
        yield _line(run, run.finished_at, "run", run.outcome, f"The run has ended: {run.outcome}.")


def _line(
    run: Run, at: datetime, action: str, status: str, message: str, step: StepRun | None = None, answer: str = ""
) -> RunLogLine:
    is_error = status == StepState.FAILED and action != "answer"
    return RunLogLine(
        run=run,
        at=at,
        step_name=step.name if step else "",
        action=action,
        level=RunLogLine.Level.ERROR if is_error else RunLogLine.Level.INFO,
        status=status,
        message=message,
        answer=answer,
    )


def _of_deleted_pipeline(like: Pipeline, person: User) -> Run:
    run = _run(like, 1, SUCCEEDED, person, None, hours_ago=400)
    run.pipeline, run.pipeline_name, run.pipeline_public_id = None, LONG_NAME, run.pk
    run.finished_at = run.requested_at + timedelta(days=11)
    return run
