"""Tasks that web processes queue for the worker."""

import uuid
from typing import TYPE_CHECKING

from django.db import transaction
from django_tasks import task

from pipelines import runner

if TYPE_CHECKING:
    from pipelines.models import Pipeline


@task()
def execute_pipeline(pipeline_id: str) -> None:
    """Executes the queued runs of one pipeline, in order, until none is left."""
    runner.execute_queued(uuid.UUID(pipeline_id))


def enqueue(pipeline: "Pipeline") -> None:
    """Queues the task after the commit.

    Robust: an unreachable queue must not turn an existing run into an error. The worker also looks for runs itself.
    """
    pipeline_id = str(pipeline.pk)
    transaction.on_commit(lambda: execute_pipeline.enqueue(pipeline_id), robust=True)
