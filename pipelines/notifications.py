"""E-mails to the notified people of a pipeline: a run failed, or a gate waits."""

import uuid
from enum import StrEnum

from django.core.mail import EmailMessage
from django.utils.translation import gettext, gettext_lazy

from accounts.models import User
from core.http.public_address import public_url
from core.mail.kinds import mail_kind
from core.mail.messages import mail_from
from core.models import OutgoingMail
from pipelines.access import PipelineAction, may
from pipelines.models import Pipeline, Run, RunLogLine, StepRun
from pipelines.run_states import RunOutcome, StepState


class Event(StrEnum):
    FAILED = "failed"
    GATE_WAITS = "gate_waits"


def announce(run: Run, event: Event) -> None:
    """Queues the e-mails. Call it in the transaction of the event."""
    run_announcement.put(None, str(run.pk), event.value)


@mail_kind(gettext_lazy("News of a run"))
def run_announcement(run_id: str, event: str) -> None:
    """Queues one e-mail per person, so that nobody sees the other recipients."""
    run = Run.objects.select_related("pipeline").filter(pk=uuid.UUID(run_id)).first()
    if run is None or run.pipeline is None or not _still_so(run, Event(event)):
        return
    for person in recipients(run.pipeline):
        run_mail.put(person.pk, run_id, event, str(person.pk))


def _note_in_run(row: OutgoingMail) -> None:
    run = Run.objects.filter(pk=uuid.UUID(row.arguments["run_id"])).first()
    if run is not None:
        run.log("mail", "", f"The mail to {row.address} could not be sent.")


@mail_kind(gettext_lazy("News of a run"), when_given_up=_note_in_run)
def run_mail(run_id: str, event: str, person_id: str) -> EmailMessage | None:
    """The e-mail to one person; ``None`` if they can no longer see the pipeline or the event is over."""
    run = Run.objects.select_related("pipeline").filter(pk=uuid.UUID(run_id)).first()
    person = User.objects.people().active().filter(pk=uuid.UUID(person_id)).first()
    if run is None or run.pipeline is None or person is None or not _still_so(run, Event(event)):
        return None
    if not may(person, PipelineAction.SEE, run.pipeline):
        return None
    return _message(run, run.pipeline, Event(event), person)


def recipients(pipeline: Pipeline) -> list[User]:
    chosen = pipeline.notified_people.filter(is_active=True, is_service_account=False).order_by("email")
    return [person for person in chosen if may(person, PipelineAction.SEE, pipeline)]


def _still_so(run: Run, event: Event) -> bool:
    """Whether the event still applies: the gate may be approved, or the failed run resumed, by now."""
    if event is Event.GATE_WAITS:
        return run.step_runs.filter(state=StepState.PAUSED).exists()
    return run.outcome == RunOutcome.FAILED


def _latest_error(run: Run) -> str:
    """Why a run failed although no step did."""
    line = run.log_lines.filter(level=RunLogLine.Level.ERROR).first()
    return line.message if line else ""


def _message(run: Run, pipeline: Pipeline, event: Event, person: User) -> EmailMessage:
    step: StepRun | None = None
    if event is Event.GATE_WAITS:
        step = run.step_runs.filter(state=StepState.PAUSED).first()
    else:
        step = run.step_runs.filter(state=StepState.FAILED).order_by("-position").first()
    context = {
        "person": person,
        "pipeline": pipeline,
        "run": run,
        "step": step,
        "message": step.message if step else _latest_error(run),
        "url": public_url("pipelines:run_detail", pipeline.pk, run.number),
        "may_approve": may(person, PipelineAction.APPROVE, pipeline),
    }
    if event is Event.GATE_WAITS:
        subject = gettext("Run %(number)s of %(pipeline)s waits for an approval")
    else:
        subject = gettext("Run %(number)s of %(pipeline)s failed")
    return mail_from(
        f"pipelines/mail/{event.value}.txt",
        context,
        subject=subject % {"number": run.number, "pipeline": pipeline.name},
        to=person.email,
    )
