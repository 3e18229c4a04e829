"""The door to the queue: what web processes hand to the worker."""

import uuid
from typing import TYPE_CHECKING

from django.db import transaction
from django_tasks import task

from pipelines import runner

if TYPE_CHECKING:
    from pipelines.models import Pipeline


@task()
def execute_pipeline(pipeline_id: str) -> None:
    """Runs what is queued for one pipeline, in order, until nothing is."""
    runner.execute_queued(uuid.UUID(pipeline_id))


def enqueue(pipeline: "Pipeline") -> None:
    """Tells the worker, once what it is to do is committed.

    Robust: a queue that is away must not turn a run that exists into an error. The worker looks for itself as well.
    """
    pipeline_id = str(pipeline.pk)
    transaction.on_commit(lambda: execute_pipeline.enqueue(pipeline_id), robust=True)
