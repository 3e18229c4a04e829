"""The state machine of runs and steps, and how each state is shown.

- Queued: waits for its pipeline and for a worker.
- Running: a worker executes its steps.
- Paused: a gate waits for a person.
- Continuing: waits for a worker again: after an approval, after Resume, or because its worker stopped between steps.
- Halted: was stopped or failed with steps left. It can be resumed with the next step, or reset.
- Finished: has ended.
"""

from enum import Enum

from django.db import models
from django.utils.translation import gettext_lazy, pgettext_lazy

from core.badges import Badge
from core.text import Text


class RunState(models.TextChoices):
    QUEUED = "queued", pgettext_lazy("run", "Queued")
    CONTINUING = "continuing", pgettext_lazy("run", "Continuing")
    RUNNING = "running", pgettext_lazy("run", "Running")
    STOPPING = "stopping", pgettext_lazy("run", "Stopping")
    PAUSED = "paused", pgettext_lazy("run", "Waiting for approval")
    HALTED = "halted", pgettext_lazy("run", "Halted")
    FINISHED = "finished", pgettext_lazy("run", "Finished")


class RunOutcome(models.TextChoices):
    SUCCESS = "success", pgettext_lazy("run", "Success")
    FAILED = "failed", pgettext_lazy("run", "Failed")
    STOPPED = "stopped", pgettext_lazy("run", "Stopped")


class StepState(models.TextChoices):
    WAITING = "waiting", pgettext_lazy("step", "Waiting")
    RUNNING = "running", pgettext_lazy("step", "Running")
    PAUSED = "paused", pgettext_lazy("step", "Waiting for approval")
    SUCCESS = "success", pgettext_lazy("step", "Success")
    FAILED = "failed", pgettext_lazy("step", "Failed")
    SKIPPED = "skipped", pgettext_lazy("step", "Not run")


class RunAction(Enum):
    """What people can do with a run."""

    STOP = "stop"
    RESUME = "resume"
    RESET = "reset"
    APPROVE = "approve"
    REJECT = "reject"


class RunEvent(Enum):
    """What happens while the worker executes a run."""

    TAKEN = "taken"
    REFUSED = "not taken: its person lost the right, or its token was ended"
    GATE_REACHED = "gate reached"
    ENDED_WITH_STEPS_LEFT = "ended with steps left"
    ENDED = "ended"
    RELEASED = "left by its worker between two steps"
    SUPERSEDED = "a later run begins, or the pipeline is deleted"


# Every transition. Anything else is refused.
TRANSITIONS: dict[RunState, dict[RunAction | RunEvent, RunState]] = {
    RunState.QUEUED: {
        RunAction.STOP: RunState.FINISHED,
        RunAction.RESET: RunState.FINISHED,
        RunEvent.TAKEN: RunState.RUNNING,
        RunEvent.REFUSED: RunState.FINISHED,
    },
    RunState.CONTINUING: {
        RunAction.STOP: RunState.HALTED,
        RunAction.RESET: RunState.FINISHED,
        RunEvent.TAKEN: RunState.RUNNING,
        RunEvent.REFUSED: RunState.HALTED,
    },
    RunState.RUNNING: {
        RunAction.STOP: RunState.STOPPING,
        RunEvent.GATE_REACHED: RunState.PAUSED,
        RunEvent.ENDED_WITH_STEPS_LEFT: RunState.HALTED,
        RunEvent.ENDED: RunState.FINISHED,
        RunEvent.RELEASED: RunState.CONTINUING,
    },
    RunState.STOPPING: {
        RunEvent.ENDED_WITH_STEPS_LEFT: RunState.HALTED,
        RunEvent.ENDED: RunState.FINISHED,
    },
    RunState.PAUSED: {
        RunAction.STOP: RunState.HALTED,
        RunAction.RESET: RunState.FINISHED,
        RunAction.APPROVE: RunState.CONTINUING,
        RunAction.REJECT: RunState.FINISHED,
    },
    RunState.HALTED: {
        RunAction.RESUME: RunState.CONTINUING,
        RunAction.RESET: RunState.FINISHED,
        RunEvent.SUPERSEDED: RunState.FINISHED,
    },
    RunState.FINISHED: {},
}

# Why an action is refused, and what to do instead. Shown to people and scripts.
REFUSALS: dict[RunAction, dict[RunState, Text]] = {
    RunAction.STOP: {
        RunState.STOPPING: gettext_lazy("It is already stopping: the current step finishes first."),
        RunState.HALTED: gettext_lazy("It is not running."),
        RunState.FINISHED: gettext_lazy("It is not running."),
    },
    RunAction.RESUME: {
        RunState.QUEUED: gettext_lazy("It has not stopped: its run is queued."),
        RunState.CONTINUING: gettext_lazy("It is already continuing."),
        RunState.RUNNING: gettext_lazy("It has not stopped: its run continues."),
        RunState.STOPPING: gettext_lazy("It is still stopping. Resume it when its step has finished."),
        RunState.PAUSED: gettext_lazy("It waits for an approval. Approve it to continue."),
        RunState.FINISHED: gettext_lazy("Its last run has ended and has no steps left. Start a new run."),
    },
    RunAction.RESET: {
        RunState.RUNNING: gettext_lazy("It is running. Stop it first."),
        RunState.STOPPING: gettext_lazy("It is still stopping. Reset it when its step has finished."),
        RunState.FINISHED: gettext_lazy("Its last run has ended. There is nothing to reset."),
    },
    RunAction.APPROVE: dict.fromkeys(set(RunState) - {RunState.PAUSED}, gettext_lazy("No gate waits for an approval.")),
    RunAction.REJECT: dict.fromkeys(set(RunState) - {RunState.PAUSED}, gettext_lazy("No gate waits for an approval.")),
}

# A pipeline has at most one run in these states; the database's constraint holds that.
OCCUPYING = (RunState.CONTINUING, RunState.RUNNING, RunState.STOPPING, RunState.PAUSED)
# Runs in these states must end before the pipeline can be deleted.
UNDER_WAY = (RunState.QUEUED, *OCCUPYING)


def after(state: str, what: RunAction | RunEvent) -> RunState | None:
    """The next state; ``None`` if the state does not allow this."""
    return TRANSITIONS[RunState(state)].get(what)


def states_before(what: RunAction | RunEvent) -> list[RunState]:
    """All states that allow this: the condition of the update."""
    return [state for state, following in TRANSITIONS.items() if what in following]


RUN_BADGES: dict[str, Badge] = {
    RunState.QUEUED: Badge("◌", pgettext_lazy("run", "Queued"), "waiting"),
    RunState.CONTINUING: Badge("◌", pgettext_lazy("run", "Continuing"), "waiting"),
    RunState.RUNNING: Badge("◐", pgettext_lazy("run", "Running"), "waiting"),
    RunState.STOPPING: Badge("◐", pgettext_lazy("run", "Stopping"), "waiting"),
    RunState.PAUSED: Badge("◑", pgettext_lazy("run", "Waiting for approval"), "waiting"),
    RunOutcome.SUCCESS: Badge("●", pgettext_lazy("run", "Success"), "good"),
    RunOutcome.FAILED: Badge("⊘", pgettext_lazy("run", "Failed"), "bad"),
    RunOutcome.STOPPED: Badge("○", pgettext_lazy("run", "Stopped"), "neutral"),
}
STEP_BADGES: dict[str, Badge] = {
    StepState.WAITING: Badge("◌", pgettext_lazy("step", "Waiting"), "neutral"),
    StepState.RUNNING: Badge("◐", pgettext_lazy("step", "Running"), "waiting"),
    StepState.PAUSED: Badge("◑", pgettext_lazy("step", "Waiting for approval"), "waiting"),
    StepState.SUCCESS: Badge("●", pgettext_lazy("step", "Success"), "good"),
    StepState.FAILED: Badge("⊘", pgettext_lazy("step", "Failed"), "bad"),
    StepState.SKIPPED: Badge("○", pgettext_lazy("step", "Not run"), "neutral"),
}


class RunStatus(models.TextChoices):
    """The published status of a run, and the label that people read."""

    QUEUED = "queued", pgettext_lazy("run", "Queued")
    RUNNING = "running", pgettext_lazy("run", "Running")
    PAUSED = "paused", pgettext_lazy("run", "Waiting for approval")
    SUCCESS = "success", pgettext_lazy("run", "Success")
    FAILED = "failed", pgettext_lazy("run", "Failed")
    STOPPED = "stopped", pgettext_lazy("run", "Stopped")


class PipelineState(models.TextChoices):
    """The state of a pipeline: the published value, and the label that people read.

    A pipeline without a run in progress is idle for people: nobody has to have stopped it.
    """

    STOPPED = "stopped", pgettext_lazy("pipeline", "Idle")
    RUNNING = "running", pgettext_lazy("pipeline", "Running")
    PAUSED = "paused", pgettext_lazy("pipeline", "Paused")


PIPELINE_BADGES: dict[str, Badge] = {
    PipelineState.STOPPED: Badge("○", pgettext_lazy("pipeline", "Idle"), "neutral"),
    PipelineState.RUNNING: Badge("◐", pgettext_lazy("pipeline", "Running"), "waiting"),
    PipelineState.PAUSED: Badge("◑", pgettext_lazy("pipeline", "Waiting for approval"), "waiting"),
}
LOCKED = Badge("⊠", pgettext_lazy("pipeline", "Locked"), "neutral")


def pipeline_state(states_of_runs: set[str]) -> PipelineState:
    """The pipeline's state, from the states of its runs."""
    if RunState.PAUSED in states_of_runs:
        return PipelineState.PAUSED
    return PipelineState.RUNNING if states_of_runs & set(OCCUPYING) else PipelineState.STOPPED


def badge_of_run(state: str, outcome: str | None) -> Badge:
    """The look of a run: of its state while it is in progress, then of its outcome."""
    return RUN_BADGES[outcome or state]


def status_of_run(state: str, outcome: str | None) -> str:
    """The published `RunStatus`: the outcome of a finished run, otherwise its state in fewer words."""
    is_running = state in {RunState.CONTINUING, RunState.STOPPING}
    return outcome or (RunState.RUNNING.value if is_running else state)


def states_with_status(status: RunStatus) -> list[RunState]:
    """The states in which a run without an outcome has this status; none if the status is an outcome."""
    return [state for state in RunState if status_of_run(state, None) == status]
