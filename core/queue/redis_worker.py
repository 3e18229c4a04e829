"""The worker that executes tasks from Redis. Import it only where Redis is used: django-rq reads settings at import."""

from collections.abc import Callable
from typing import Any

import django_rq
from django.conf import settings
from django_rq.workers import get_worker
from rq import SimpleWorker

from core.queue.redis_queue import remove_invalid_entries


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


def queue_is_empty() -> bool:
    return bool(django_rq.get_queue("default").is_empty())
