"""Mails to those chosen on a pipeline: when a run fails, and when a gate waits for someone."""

import logging
import uuid
from enum import StrEnum
from smtplib import SMTPException

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.template.loader import render_to_string
from django.urls import reverse
from django_tasks import task

from accounts.models import User
from pipelines.access import PipelineAction, may
from pipelines.models import Pipeline, Run, RunLogLine, StepRun
from pipelines.run_states import RunOutcome, StepState

logger = logging.getLogger(__name__)


class Event(StrEnum):
    FAILED = "failed"
    GATE_WAITS = "gate_waits"


def announce(run: Run, event: Event) -> None:
    """Has the mails sent by the worker, once what they tell is committed."""
    transaction.on_commit(lambda: send_mails.enqueue(str(run.pk), event.value), robust=True)


@task()
def send_mails(run_id: str, event: str) -> None:
    """One mail to each, so that nobody learns who else gets it. Whoever does not see the pipeline any more gets none.

    A mail that cannot be sent is a line in the run's log, and keeps no other from being sent.
    """
    run = Run.objects.select_related("pipeline").filter(pk=uuid.UUID(run_id)).first()
    if run is None or run.pipeline is None or not _still_so(run, Event(event)):
        return
    for person in recipients(run.pipeline):
        message = _message(run, run.pipeline, Event(event), person)
        try:
            message.send()
        except (SMTPException, OSError):
            logger.exception("A mail about run %s could not be sent", run.pk)
            run.log("mail", "", f"The mail to {person.email} could not be sent.")


def recipients(pipeline: Pipeline) -> list[User]:
    chosen = pipeline.notified_people.filter(is_active=True).order_by("email")
    return [person for person in chosen if may(person, PipelineAction.SEE, pipeline)]


def _still_so(run: Run, event: Event) -> bool:
    """A gate may have been passed, and a failed run resumed, before the worker came to the mail."""
    if event is Event.GATE_WAITS:
        return run.step_runs.filter(state=StepState.PAUSED).exists()
    return run.outcome == RunOutcome.FAILED


def _latest_error(run: Run) -> str:
    """Why a run failed of which no step did."""
    line = run.log_lines.filter(level=RunLogLine.Level.ERROR).first()
    return line.message if line else ""


def _message(run: Run, pipeline: Pipeline, event: Event, person: User) -> EmailMessage:
    step: StepRun | None = None
    if event is Event.GATE_WAITS:
        step = run.step_runs.filter(state=StepState.PAUSED).first()
    else:
        step = run.step_runs.filter(state=StepState.FAILED).order_by("-position").first()
    what = "waits for an approval" if event is Event.GATE_WAITS else "failed"
    path = reverse("pipelines:run_detail", args=[pipeline.pk, run.number])
    context = {
        "person": person,
        "pipeline": pipeline,
        "run": run,
        "step": step,
        "reason": "" if step else _latest_error(run),
        "url": f"{settings.PORTAL_URL}{path}",
        "may_approve": may(person, PipelineAction.APPROVE, pipeline),
    }
    # Names cannot hold line breaks, and Django refuses a subject that does.
    return EmailMessage(
        subject=f"Run {run.number} of {pipeline.name} {what}",
        body=render_to_string(f"pipelines/mail/{event.value}.txt", context),
        to=[person.email],
    )
