"""The states of a run and of its steps, and how they are shown. Written down here, once."""

from dataclasses import dataclass

from django.db import models


class RunState(models.TextChoices):
    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    FINISHED = "finished", "Finished"


class RunOutcome(models.TextChoices):
    SUCCESS = "success", "Success"
    FAILED = "failed", "Failed"


class StepState(models.TextChoices):
    WAITING = "waiting", "Waiting"
    RUNNING = "running", "Running"
    SUCCESS = "success", "Success"
    FAILED = "failed", "Failed"
    SKIPPED = "skipped", "Not run"


@dataclass(frozen=True)
class RunLook:
    sign: str
    label: str
    tone: str


RUN_LOOKS: dict[str, RunLook] = {
    RunState.QUEUED: RunLook("◌", "Queued", "waiting"),
    RunState.RUNNING: RunLook("◐", "Running", "waiting"),
    RunOutcome.SUCCESS: RunLook("●", "Success", "good"),
    RunOutcome.FAILED: RunLook("⊘", "Failed", "bad"),
}
STEP_LOOKS: dict[str, RunLook] = {
    StepState.WAITING: RunLook("◌", "Waiting", "neutral"),
    StepState.RUNNING: RunLook("◐", "Running", "waiting"),
    StepState.SUCCESS: RunLook("●", "Success", "good"),
    StepState.FAILED: RunLook("⊘", "Failed", "bad"),
    StepState.SKIPPED: RunLook("○", "Not run", "neutral"),
}
STOPPED = RunLook("○", "Stopped", "neutral")


def look_of_run(state: str, outcome: str | None) -> RunLook:
    """How a run is shown: by its state while it goes on, by its outcome afterwards."""
    return RUN_LOOKS[outcome if state == RunState.FINISHED and outcome else state]
