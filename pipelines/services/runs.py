"""Starts, stops, resumes and resets runs; approves and rejects gates."""

from collections.abc import Iterable

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.models import User
from auditlog.actions import Action
from auditlog.open_use import token_in_use
from auditlog.record import record
from core.db.locks import lock_all
from core.http.request_context import without_tokens
from core.service_accounts import handle_of
from pipelines import notifications
from pipelines.access import PipelineAction
from pipelines.models import Pipeline, Run, Step, StepRun
from pipelines.run_states import OCCUPYING, REFUSALS, RunAction, RunEvent, RunOutcome, RunState, StepState
from pipelines.services.guard import Refused, locked_for
from pipelines.tasks import enqueue

QUEUE_LIMIT = 100
MESSAGE_MAX_LENGTH = 500

# The states of the run that an action is about, from the first to the last choice.
_CURRENT = [*OCCUPYING, RunState.HALTED, RunState.QUEUED]


class CannotStart(Refused):
    """The pipeline cannot be run in its present state. The message says why and what to do."""


def start_run(*, actor: User, pipeline: Pipeline, request: HttpRequest | None = None) -> Run:
    """Queues a run. The worker executes the runs of a pipeline in order.

    Raises ``NotAllowed`` or ``CannotStart``. The number comes from the pipeline's counter, in a locked row, so that two
    requests at once get two numbers.
    """
    token = token_in_use(request)
    with transaction.atomic():
        locked = locked_for(actor, pipeline, PipelineAction.RUN)
        _check_can_start(locked)
        steps = list(locked.steps.all())
        if not steps:
            raise CannotStart(
                _("“%(pipeline)s” has no steps yet. Add a step, then run it.") % {"pipeline": locked.name}
            )
        _check_secrets(locked, steps)
        Pipeline.objects.filter(pk=locked.pk).update(run_count=F("run_count") + 1)
        locked.refresh_from_db(fields=["run_count"])
        run = Run.objects.create(
            pipeline=locked,
            pipeline_public_id=locked.pk,
            pipeline_name=locked.name,
            organization_id=locked.organization_id,
            number=locked.run_count,
            started_by=actor,
            started_by_email=actor.email,
            token_id=token.pk if token else None,
            token_name=token.name if token else "",
        )
        StepRun.objects.bulk_create([StepRun(run=run, step_public_id=step.pk, **step.definition()) for step in steps])
        run.log("run", Run.State.QUEUED, f"Requested by {_who(actor, request)}.")
        for halted in locked.runs.filter(state=RunState.HALTED):
            halted.move(RunEvent.SUPERSEDED)
            halted.log("run", halted.outcome, f"Replaced by run {run.number}.")
        _record(actor, Action.PIPELINE_STARTED, locked, run, request)
        enqueue(locked)
    return run


def stop_pipeline(*, actor: User, pipeline: Pipeline, request: HttpRequest | None = None) -> Run:
    """Stops the run in progress after its current step, and removes queued runs from the queue.

    Raises ``NotAllowed``, or ``Refused`` if nothing runs.
    """
    with transaction.atomic():
        locked = locked_for(actor, pipeline, PipelineAction.RUN)
        run = _lock_current_run(locked)
        queued = [other for other in locked.runs.filter(state=RunState.QUEUED).order_by("number") if other != run]
        # Queued runs can be stopped even if the run before them has already halted.
        if not queued or run.state not in {RunState.STOPPING, RunState.HALTED}:
            _move(run, RunAction.STOP, actor, request)
        for other in queued:
            _move(other, RunAction.STOP, actor, request)
        _record(actor, Action.PIPELINE_STOPPED, locked, run, request, taken_back=[other.number for other in queued])
    return run


def resume_pipeline(*, actor: User, pipeline: Pipeline, request: HttpRequest | None = None) -> Run:
    """Continues after the last step, which is never repeated. Raises ``NotAllowed`` or ``Refused``."""
    with transaction.atomic():
        locked = locked_for(actor, pipeline, PipelineAction.RUN)
        run = _lock_current_run(locked)
        if run.state == RunState.HALTED:
            _check_not_locked(locked)
        _move(run, RunAction.RESUME, actor, request)
        _record(actor, Action.PIPELINE_RESUMED, locked, run, request)
        enqueue(locked)
    return run


def reset_pipeline(*, actor: User, pipeline: Pipeline, request: HttpRequest | None = None) -> Run:
    """Ends the current run for good; queued runs begin.

    Raises ``NotAllowed``, or ``Refused`` during a step.
    """
    with transaction.atomic():
        locked = locked_for(actor, pipeline, PipelineAction.RUN)
        run = _lock_current_run(locked)
        _move(run, RunAction.RESET, actor, request)
        _record(actor, Action.PIPELINE_RESET, locked, run, request)
        enqueue(locked)
    return run


def approve_gate(
    *,
    actor: User,
    pipeline: Pipeline,
    message: str = "",
    run_number: int | None = None,
    position: int | None = None,
    request: HttpRequest | None = None,
) -> Run:
    """Approves the waiting gate; the run continues. Raises ``NotAllowed``, ``Refused`` if no gate waits, or
    ``ValidationError`` if the message is too long.

    ``run_number`` and ``position`` name the gate that the person saw. If another gate waits now, it is not approved.
    """
    message = _reason(message, is_required=False)
    with transaction.atomic():
        locked = locked_for(actor, pipeline, PipelineAction.APPROVE)
        run, gate = _waiting_gate(locked, RunAction.APPROVE, run_number, position)
        _check_not_locked(locked)
        said = f"Approved by {_who(actor, request)}{f': {message}' if message else '.'}"
        _decide(gate, StepState.SUCCESS, said, actor)
        _move(run, RunAction.APPROVE, actor, request)
        run.log("approve", StepState.SUCCESS, said, gate)
        _record(
            actor,
            Action.PIPELINE_APPROVED,
            locked,
            run,
            request,
            gate=gate.name,
            **({"message": message} if message else {}),
        )
        enqueue(locked)
    return run


def reject_gate(
    *,
    actor: User,
    pipeline: Pipeline,
    message: str,
    run_number: int | None = None,
    position: int | None = None,
    request: HttpRequest | None = None,
) -> Run:
    """Fails the waiting run for good. Raises ``NotAllowed``, ``Refused``, or ``ValidationError`` without a message."""
    message = _reason(message, is_required=True)
    with transaction.atomic():
        locked = locked_for(actor, pipeline, PipelineAction.APPROVE)
        run, gate = _waiting_gate(locked, RunAction.REJECT, run_number, position)
        said = f"Rejected by {_who(actor, request)}: {message}"
        _decide(gate, StepState.FAILED, said, actor)
        _move(run, RunAction.REJECT, actor, request)
        run.log("reject", StepState.FAILED, said, gate)
        _record(actor, Action.PIPELINE_REJECTED, locked, run, request, gate=gate.name, message=message)
        notifications.announce(run, notifications.Event.FAILED)
        enqueue(locked)
    return run


def current_run(pipeline: Pipeline) -> Run:
    """The run in progress, otherwise the waiting one, otherwise the latest. Raises ``Refused`` if there is none."""
    return _current_of(pipeline, pipeline.runs.filter(state__in=_CURRENT))


def _lock_current_run(pipeline: Pipeline) -> Run:
    """As `current_run`, and locks it, so that a worker changes its state before or after this transaction."""
    return _current_of(pipeline, lock_all(pipeline.runs.filter(state__in=_CURRENT)))


def _current_of(pipeline: Pipeline, unfinished: Iterable[Run]) -> Run:
    by_choice = sorted(unfinished, key=lambda run: (_CURRENT.index(RunState(run.state)), run.number))
    current: Run | None = by_choice[0] if by_choice else pipeline.runs.order_by("-number").first()
    if current is None:
        raise Refused(_("“%(pipeline)s” has not been run yet.") % {"pipeline": pipeline.name})
    return current


# A run that continues has no end yet.
_GOES_ON = {"outcome": "", "finished_at": None, "worker": "", "lease_ends_at": None}
_SAID = {
    RunAction.STOP: "Stopped by {who}.",
    RunAction.RESUME: "Resumed by {who}, with the next step.",
    RunAction.RESET: "Cleared by {who}.",
}


def _move(run: Run, action: RunAction, actor: User, request: HttpRequest | None) -> None:
    """Applies the action of the state machine, or raises ``Refused`` with its reason."""
    before = run.state
    if refusal := REFUSALS[action].get(RunState(before)):
        raise Refused(_("“%(pipeline)s”: %(reason)s") % {"pipeline": run.pipeline_name, "reason": refusal})
    if not run.move(action, **_values(run, action), **_continued(action, actor, request)):
        raise Refused(_("“%(pipeline)s” has just changed. Reload it and try again.") % {"pipeline": run.pipeline_name})
    if action in {RunAction.STOP, RunAction.RESET} and before == RunState.PAUSED:
        # A resumed run waits at this gate again.
        left = StepState.WAITING if run.state == RunState.HALTED else StepState.SKIPPED
        run.step_runs.filter(state=StepState.PAUSED).update(state=left, started_at=None)
    if action in _SAID:
        said = _SAID[action].format(who=_who(actor, request))
        if run.state == RunState.STOPPING:
            said += " The current step finishes first."
        run.log(action.value, run.status, said)


def _values(run: Run, action: RunAction) -> dict[str, object]:
    if action in {RunAction.RESUME, RunAction.APPROVE}:
        return dict(_GOES_ON)
    if run.state == RunState.RUNNING:
        return {}
    if action is RunAction.REJECT:
        return {"outcome": RunOutcome.FAILED, "finished_at": timezone.now()}
    # A halted run keeps its outcome when it is reset.
    return {} if run.outcome else {"outcome": RunOutcome.STOPPED, "finished_at": timezone.now()}


def _continued(action: RunAction, actor: User, request: HttpRequest | None) -> dict[str, object]:
    """Notes who continued the run. The worker checks that person's rights again when it takes the run."""
    if action not in {RunAction.RESUME, RunAction.APPROVE}:
        return {}
    token = token_in_use(request)
    return {
        "continued_by": actor,
        "continued_by_email": actor.email,
        "continued_token": token,
        "continued_token_name": token.name if token else "",
    }


def _waiting_gate(
    pipeline: Pipeline, action: RunAction, run_number: int | None, position: int | None
) -> tuple[Run, StepRun]:
    run = _lock_current_run(pipeline)
    gate = run.step_runs.filter(state=StepState.PAUSED).first() if run.state == RunState.PAUSED else None
    if gate is None:
        reason = REFUSALS[action][RunState.FINISHED]
        raise Refused(_("“%(pipeline)s”: %(reason)s") % {"pipeline": pipeline.name, "reason": reason})
    if run_number not in {None, run.number} or position not in {None, gate.position}:
        raise Refused(
            _("“%(pipeline)s” now waits at another gate: “%(gate)s” of run %(number)s. Look at it.")
            % {"pipeline": pipeline.name, "gate": gate.name, "number": run.number}
        )
    return run, gate


def _reason(message: str, *, is_required: bool) -> str:
    message = without_tokens(message.strip())
    if (is_required and not message) or len(message) > MESSAGE_MAX_LENGTH:
        say_why = ngettext(
            "Say why, in at most %(limit)s character.", "Say why, in at most %(limit)s characters.", MESSAGE_MAX_LENGTH
        )
        raise ValidationError({"message": say_why % {"limit": MESSAGE_MAX_LENGTH}})
    return message


def _decide(gate: StepRun, state: StepState, said: str, actor: User) -> None:
    gate.state, gate.finished_at, gate.message = state, timezone.now(), said
    gate.decided_by_email = actor.email
    gate.save(update_fields=["state", "finished_at", "message", "decided_by_email"])


def _check_can_start(pipeline: Pipeline) -> None:
    _check_not_locked(pipeline)
    states = list(pipeline.runs.filter(state__in=[RunState.PAUSED, RunState.QUEUED]).values_list("state", flat=True))
    if RunState.PAUSED in states:
        raise CannotStart(
            _("“%(pipeline)s” waits for an approval. Approve or reject the gate, or reset the run first.")
            % {"pipeline": pipeline.name}
        )
    if len(states) >= QUEUE_LIMIT:
        raise CannotStart(
            ngettext(
                "%(limit)s run of “%(pipeline)s” is queued already. Let it finish, or stop the pipeline.",
                "%(limit)s runs of “%(pipeline)s” are queued already. Let them finish, or stop the pipeline.",
                QUEUE_LIMIT,
            )
            % {"limit": QUEUE_LIMIT, "pipeline": pipeline.name}
        )


def _check_secrets(pipeline: Pipeline, steps: list[Step]) -> None:
    if incomplete := [step for step in steps if step.missing_secrets]:
        missing = "; ".join(
            _("step %(position)s, “%(step)s”: %(secrets)s")
            % {"position": step.position, "step": step.name, "secrets": ", ".join(step.missing_secrets)}
            for step in incomplete
        )
        raise CannotStart(
            _("“%(pipeline)s” cannot run: secrets have no value (%(missing)s). Enter them in the steps, then run it.")
            % {"pipeline": pipeline.name, "missing": missing}
        )


def _check_not_locked(pipeline: Pipeline) -> None:
    if pipeline.is_locked:
        raise CannotStart(
            _("“%(pipeline)s” is locked by %(person)s. Nobody can run it until it is unlocked.")
            % {"pipeline": pipeline.name, "person": handle_of(pipeline.locked_by_email)}
        )


def _who(actor: User, request: HttpRequest | None) -> str:
    token = token_in_use(request)
    return f"{actor.email} with the token “{token.name}”" if token else actor.email


def _record(
    actor: User, action: Action, pipeline: Pipeline, run: Run, request: HttpRequest | None, **details: object
) -> None:
    record(actor=actor, action=action, target=pipeline, request=request, run_number=run.number, **details)
