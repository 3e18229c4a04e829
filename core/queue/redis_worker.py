"""The worker that executes tasks from Redis. Import it only where Redis is used: django-rq reads settings at import."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import django_rq
from django.conf import settings
from django_rq.workers import get_worker
from rq import SimpleWorker
from rq.exceptions import NoSuchJobError

from core.queue.redis_queue import JSONJob, remove_invalid_entries


def create(stop: Callable[[], None]) -> Any:
    """A worker that executes one task after the other. It calls ``stop`` when it gets a signal to stop."""

    class StoppingWorker(SimpleWorker):
        """Executes tasks in this process, so that the signal reaches the task too."""

        def request_stop(self, signum: Any, frame: Any) -> None:
            stop()
            super().request_stop(signum, frame)  # type: ignore[no-untyped-call]

    serializer = settings.RQ_QUEUES["default"]["SERIALIZER"]
    worker = get_worker("default", worker_class=StoppingWorker, serializer=serializer)  # type: ignore[arg-type]
    remove_invalid_entries(worker.queues[0])
    return worker


def waiting_arguments() -> Iterator[Any]:
    """The arguments of each waiting task. Leaves out what the worker would refuse."""
    queue = django_rq.get_queue("default")
    for job_id in queue.get_job_ids():
        with suppress(NoSuchJobError):
            yield JSONJob.fetch(job_id, connection=queue.connection).args
