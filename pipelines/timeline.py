"""The steps of a run as a timeline: which is the current one, and which part of the run's time each of them took."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext

from pipelines.models import Run, StepRun
from pipelines.run_states import StepState

# In percent, so that a short step is visible in a long run.
NARROWEST = 1.0


@dataclass(frozen=True)
class Bar:
    """Where a step starts, and how long it takes, as parts of the run's time: `12.50%`. Text, because a decimal comma
    would be wrong in an SVG."""

    start: str
    width: str


@dataclass(frozen=True)
class TimelineStep:
    """``bar``: ``None`` if the step has not started. ``is_current``: it is running or waits for an approval."""

    step_run: StepRun
    bar: Bar | None
    is_current: bool


def of(run: Run) -> list[TimelineStep]:
    now = timezone.now()
    steps: Any = run.step_runs.all()
    return [
        TimelineStep(step, _bar(run, step, now), is_current=step.state in {StepState.RUNNING, StepState.PAUSED})
        for step in steps
    ]


def in_words(run: Run, steps: list[TimelineStep]) -> str:
    """The run's state, and the current step: `Run 7: Running. Step 2 of 3, Compile: Running`."""
    texts = [gettext("Run %(number)s: %(state)s") % {"number": run.number, "state": run.badge.label}]
    for step in (step.step_run for step in steps if step.is_current):
        values = {"position": step.position, "total": len(steps), "name": step.name, "state": step.badge.label}
        texts.append(gettext("Step %(position)s of %(total)s, %(name)s: %(state)s") % values)
    return ". ".join(texts)


def _bar(run: Run, step: StepRun, now: datetime) -> Bar | None:
    """A run or a step that has not finished ends now."""
    if run.started_at is None or step.started_at is None:
        return None
    whole = ((run.finished_at or now) - run.started_at).total_seconds()
    if whole <= 0:
        return None
    start = _percent((step.started_at - run.started_at).total_seconds() / whole)
    end = _percent(((step.finished_at or run.finished_at or now) - run.started_at).total_seconds() / whole)
    width = max(end - start, NARROWEST)
    return Bar(f"{min(start, 100 - width):.2f}%", f"{width:.2f}%")


def _percent(part: float) -> float:
    return min(max(part, 0), 1) * 100
