"""The buttons of a pipeline's page: what the person is allowed and the state of the run permits."""

from dataclasses import dataclass

from django.utils.translation import gettext as _

from core.service_accounts import handle_of
from pipelines import services
from pipelines.access import PipelineAction
from pipelines.models import Pipeline, Run, StepRun
from pipelines.run_states import RunAction, RunState, StepState, after


@dataclass(frozen=True)
class Controls:
    """``why_not``: why the person can't start a run now, if their role allows it. ``gate``: the waiting step."""

    run: Run | None
    can_run: bool = False
    can_stop: bool = False
    can_resume: bool = False
    can_reset: bool = False
    can_decide: bool = False
    why_not: str = ""
    gate: StepRun | None = None


def controls_of(pipeline: Pipeline, allowed: frozenset[PipelineAction]) -> Controls:
    try:
        run = services.current_run(pipeline)
    except services.Refused:
        run = None
    state = RunState(run.state) if run else None
    gate = run.step_runs.filter(state=StepState.PAUSED).first() if run and state is RunState.PAUSED else None
    may_run = PipelineAction.RUN in allowed
    why_not = _why_not(pipeline, state, may_edit=PipelineAction.EDIT_STEPS in allowed) if may_run else ""

    def can(action: RunAction) -> bool:
        return may_run and state is not None and after(state, action) is not None

    return Controls(
        run=run,
        can_run=may_run and not why_not,
        can_stop=can(RunAction.STOP),
        can_resume=can(RunAction.RESUME) and not pipeline.is_locked,
        can_reset=can(RunAction.RESET),
        can_decide=gate is not None and PipelineAction.APPROVE in allowed,
        why_not=why_not,
        gate=gate,
    )


def _why_not(pipeline: Pipeline, state: RunState | None, *, may_edit: bool) -> str:
    if pipeline.is_locked:
        person = handle_of(pipeline.locked_by_email)
        return _("Locked by %(person)s: nobody can run it until it is unlocked.") % {"person": person}
    if state is RunState.PAUSED:
        return _("A run waits for an approval. No other run starts until someone approves, rejects or resets it.")
    steps = list(pipeline.steps.all())
    if not steps:
        if may_edit:
            return _("It has no steps yet. Add a step first.")
        return _("It has no steps yet. Its Managers and Administrators, and Power Users, can add them.")
    if any(step.missing_secrets for step in steps):
        if may_edit:
            return _("Some secrets of its steps have no value yet. Enter them before you run it.")
        return _(
            "Some secrets of its steps have no value yet. Its Managers and Administrators, and Power Users, can enter"
            " them."
        )
    return ""
