"""The states of a run and of its steps, what leads from one to the other, and how they are shown. Written down once.

A run goes from Queued through Running to its end. It is Paused while a gate waits for a person, and Halted where it
was stopped or failed with steps left: from there it can be resumed with the next step, or cleared. Continuing is a run
that was approved or resumed, or whose worker went away between two steps, until a worker takes it.
"""

from dataclasses import dataclass
from enum import Enum

from django.db import models


class RunState(models.TextChoices):
    QUEUED = "queued", "Queued"
    CONTINUING = "continuing", "Continuing"
    RUNNING = "running", "Running"
    STOPPING = "stopping", "Stopping"
    PAUSED = "paused", "Waiting for approval"
    HALTED = "halted", "Halted"
    FINISHED = "finished", "Finished"


class RunOutcome(models.TextChoices):
    SUCCESS = "success", "Success"
    FAILED = "failed", "Failed"
    STOPPED = "stopped", "Stopped"


class StepState(models.TextChoices):
    WAITING = "waiting", "Waiting"
    RUNNING = "running", "Running"
    PAUSED = "paused", "Waiting for approval"
    SUCCESS = "success", "Success"
    FAILED = "failed", "Failed"
    SKIPPED = "skipped", "Not run"


class RunAction(Enum):
    """What people ask for."""

    STOP = "stop"
    RESUME = "resume"
    RESET = "reset"
    APPROVE = "approve"
    REJECT = "reject"


class RunEvent(Enum):
    """What happens while the worker executes."""

    TAKEN = "taken"
    REFUSED = "not taken: its person lost the right, or its token was ended"
    GATE_REACHED = "gate reached"
    ENDED_WITH_STEPS_LEFT = "ended with steps left"
    ENDED = "ended"
    RELEASED = "left by its worker between two steps"
    SUPERSEDED = "a later run begins, or the pipeline is deleted"


# What is not here cannot happen.
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

# Why something cannot be done, and what can: told to people and to scripts.
REFUSALS: dict[RunAction, dict[RunState, str]] = {
    RunAction.STOP: {
        RunState.STOPPING: "It is already stopping: the current step finishes first.",
        RunState.HALTED: "It is not running.",
        RunState.FINISHED: "It is not running.",
    },
    RunAction.RESUME: {
        RunState.QUEUED: "It has not stopped: its run is queued.",
        RunState.CONTINUING: "It is already continuing.",
        RunState.RUNNING: "It has not stopped: its run continues.",
        RunState.STOPPING: "It is still stopping. Resume it when its step has finished.",
        RunState.PAUSED: "It waits for an approval. Approve it to continue.",
        RunState.FINISHED: "Its last run has ended and has no steps left. Start a new run.",
    },
    RunAction.RESET: {
        RunState.RUNNING: "It is running. Stop it first.",
        RunState.STOPPING: "It is still stopping. Reset it when its step has finished.",
        RunState.FINISHED: "Its last run has ended. There is nothing to reset.",
    },
    RunAction.APPROVE: dict.fromkeys(set(RunState) - {RunState.PAUSED}, "No gate waits for an approval."),
    RunAction.REJECT: dict.fromkeys(set(RunState) - {RunState.PAUSED}, "No gate waits for an approval."),
}

# Of one pipeline at most one run is in one of these, by the database's constraint.
OCCUPYING = (RunState.CONTINUING, RunState.RUNNING, RunState.STOPPING, RunState.PAUSED)
# These must end, or be ended, before the pipeline can be deleted.
UNDER_WAY = (RunState.QUEUED, *OCCUPYING)


def after(state: str, what: RunAction | RunEvent) -> RunState | None:
    """The state that follows; ``None`` where this cannot happen."""
    return TRANSITIONS[RunState(state)].get(what)


def states_before(what: RunAction | RunEvent) -> list[RunState]:
    """Where this can happen: the condition of the update that does it."""
    return [state for state, following in TRANSITIONS.items() if what in following]


@dataclass(frozen=True)
class RunLook:
    sign: str
    label: str
    tone: str


RUN_LOOKS: dict[str, RunLook] = {
    RunState.QUEUED: RunLook("◌", "Queued", "waiting"),
    RunState.CONTINUING: RunLook("◌", "Continuing", "waiting"),
    RunState.RUNNING: RunLook("◐", "Running", "waiting"),
    RunState.STOPPING: RunLook("◐", "Stopping", "waiting"),
    RunState.PAUSED: RunLook("◑", "Waiting for approval", "waiting"),
    RunOutcome.SUCCESS: RunLook("●", "Success", "good"),
    RunOutcome.FAILED: RunLook("⊘", "Failed", "bad"),
    RunOutcome.STOPPED: RunLook("○", "Stopped", "neutral"),
}
STEP_LOOKS: dict[str, RunLook] = {
    StepState.WAITING: RunLook("◌", "Waiting", "neutral"),
    StepState.RUNNING: RunLook("◐", "Running", "waiting"),
    StepState.PAUSED: RunLook("◑", "Waiting for approval", "waiting"),
    StepState.SUCCESS: RunLook("●", "Success", "good"),
    StepState.FAILED: RunLook("⊘", "Failed", "bad"),
    StepState.SKIPPED: RunLook("○", "Not run", "neutral"),
}


class PipelineState(models.TextChoices):
    """What a pipeline is doing, in the published words."""

    STOPPED = "stopped", "Stopped"
    RUNNING = "running", "Running"
    PAUSED = "paused", "Paused"


PIPELINE_LOOKS: dict[str, RunLook] = {
    PipelineState.STOPPED: RunLook("○", "Stopped", "neutral"),
    PipelineState.RUNNING: RunLook("◐", "Running", "waiting"),
    PipelineState.PAUSED: RunLook("◑", "Waiting for approval", "waiting"),
}
LOCKED = RunLook("⊠", "Locked", "neutral")


def pipeline_state(states_of_runs: set[str]) -> PipelineState:
    """From the states that the pipeline's runs are in."""
    if RunState.PAUSED in states_of_runs:
        return PipelineState.PAUSED
    return PipelineState.RUNNING if states_of_runs & set(OCCUPYING) else PipelineState.STOPPED


def look_of_run(state: str, outcome: str | None) -> RunLook:
    """How a run is shown: by its state while it goes on, by its outcome afterwards."""
    return RUN_LOOKS[outcome or state]


def status_of_run(state: str, outcome: str | None) -> str:
    """The published word: the outcome of a run that has one, otherwise its state in fewer words."""
    is_running = state in {RunState.CONTINUING, RunState.STOPPING}
    return outcome or (RunState.RUNNING.value if is_running else state)
