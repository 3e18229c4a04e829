"""The queue in Redis, with JSON instead of pickle: people who can write to Redis must not be able to run code here.

A job in Redis can name functions to call and addresses to notify when it has ended. These are ignored: only the
library's own callbacks for tasks are called.
"""

import re
from typing import Any

import django_rq
from django_tasks_rq import Job, RQBackend
from django_tasks_rq.backend import failed_callback, success_callback
from redis.exceptions import RedisError, ResponseError
from rq import serializers
from rq.exceptions import NoSuchJobError
from rq.results import Result

from core.queue import allowed_tasks

# Parts of the library that get no serializer would use pickle.
serializers.PickleSerializer = serializers.JSONSerializer  # type: ignore[assignment]

JOB_ID = re.compile(rb"[A-Za-z0-9_-]+")


def remove_invalid_entries(queue: Any) -> None:
    """Call this before a worker starts: the library stops at an entry that is not an id."""
    for key in (queue.key, queue.intermediate_queue.key):
        for entry in queue.connection.lrange(key, 0, -1):
            if not JOB_ID.fullmatch(entry):
                allowed_tasks.log_refusal(entry, allowed_tasks.TaskRefused("it has no id"))
                queue.connection.lrem(key, 0, entry)


class JSONJob(Job):
    """A job whose content is always read as JSON."""

    def __init__(self, id: str | None = None, connection: Any = None, serializer: Any = None) -> None:  # noqa: A002
        super().__init__(id, connection, serializer=serializers.JSONSerializer)

    @classmethod
    def fetch(cls, id: str, connection: Any = None, serializer: Any = None) -> Any:  # noqa: A002
        try:
            return super().fetch(id, connection)
        except (ValueError, ResponseError) as error:
            # The queued entry is not an id, or its key has a value of another type.
            if isinstance(error, ResponseError) and "WRONGTYPE" not in str(error):
                raise
            allowed_tasks.log_refusal(id, error)
            raise NoSuchJobError("This job cannot be read.") from None

    def restore(self, raw_data: Any) -> None:
        """Marks a job that can't be read as failed, and then treats it like one that does not exist."""
        try:
            super().restore(raw_data)
            allowed_tasks.check(self.func_name, self.args, self.kwargs)
            if self.instance is not None or not isinstance(self.meta.get("backend_name"), str):
                raise allowed_tasks.TaskRefused("it is no task")
        except NoSuchJobError:
            raise
        except Exception as error:  # noqa: BLE001  (the library's errors for content that it did not write)
            allowed_tasks.log_refusal(self.id, error)
            self.connection.hset(self.key, "status", "failed")
            raise NoSuchJobError(f"Job {self.id} cannot be read.") from None
        self.webhooks = []

    def results(self) -> list[Result]:
        try:
            return super().results()
        except RedisError:
            raise
        except Exception as error:  # noqa: BLE001  (as above)
            allowed_tasks.log_refusal(self.id, error)
            return []

    @property
    def success_callback(self) -> Any:
        return success_callback

    @property
    def failure_callback(self) -> Any:
        return failed_callback

    @property
    def stopped_callback(self) -> None:
        return None


class JSONBackend(RQBackend):
    """Writes jobs with the serializer of RQ_QUEUES, which is JSON, and reads them as JSON."""

    def _get_job(self, result_id: str) -> Job | None:
        try:
            job: Job = JSONJob.fetch(result_id, connection=django_rq.get_connection())
        except NoSuchJobError:
            return None
        return job
