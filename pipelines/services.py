"""What people and scripts can do with pipelines. Every door leads here."""

from django.db import transaction
from django.db.models import F
from django.http import HttpRequest

from accounts.models import User
from auditlog.actions import Action, record
from opsera_portal.request_context import token_in_use
from pipelines.access import PipelineAction, may
from pipelines.models import Pipeline, Run, RunLogLine, StepRun


class NotAllowed(Exception):
    """The actor may not do this to this pipeline."""


class CannotStart(Exception):
    """The pipeline cannot be run as it is; the message says why and what to do."""


def start_run(*, actor: User, pipeline: Pipeline, request: HttpRequest | None = None) -> Run:
    """Asks for a run, which the worker executes after those asked for before it.

    Raises ``NotAllowed`` or ``CannotStart``. The number comes from the pipeline's counter, in one update, so that two
    requests at once get two numbers.
    """
    if not may(actor, PipelineAction.RUN, pipeline):
        raise NotAllowed
    token = token_in_use(request)
    with transaction.atomic():
        Pipeline.objects.filter(pk=pipeline.pk).update(run_count=F("run_count") + 1)
        pipeline.refresh_from_db(fields=["run_count"])
        steps = list(pipeline.steps.all())
        if not steps:
            raise CannotStart(f"“{pipeline.name}” has no steps yet. Add one, then run it.")
        run = Run.objects.create(
            pipeline=pipeline,
            number=pipeline.run_count,
            started_by=actor,
            started_by_email=actor.email,
            token=token,
            token_name=token.name if token else "",
        )
        StepRun.objects.bulk_create([StepRun(run=run, **step.definition()) for step in steps])
        RunLogLine.objects.create(
            run=run, action="run", status=Run.State.QUEUED, message=f"Asked for by {actor.email}."
        )
        record(
            actor=actor,
            action=Action.PIPELINE_STARTED,
            target=pipeline,
            request=request,
            run_number=run.number,
        )
        # Robust: a queue that is away must not turn a run that exists into an error; the worker finds it at its start.
        transaction.on_commit(lambda: _enqueue(pipeline), robust=True)
    return run


def save_pipeline(*, actor: User, pipeline: Pipeline, is_new: bool, request: HttpRequest | None = None) -> Pipeline:
    """Saves a pipeline that was filled in by a form."""
    action = Action.PIPELINE_CREATED if is_new else Action.PIPELINE_EDITED
    with transaction.atomic():
        pipeline.save()
        record(actor=actor, action=action, target=pipeline, request=request)
    return pipeline


def _enqueue(pipeline: Pipeline) -> None:
    from pipelines.tasks import execute_pipeline

    execute_pipeline.enqueue(str(pipeline.pk))
