"""The door to the queue: what web processes hand to the worker."""

import uuid

from django_tasks import task

from pipelines import runner


@task()
def execute_pipeline(pipeline_id: str) -> None:
    """Runs what is queued for one pipeline, in order, until nothing is."""
    runner.execute_queued(uuid.UUID(pipeline_id))
