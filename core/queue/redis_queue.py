"""The queue in Redis, with JSON instead of pickle: who can write to Redis must not run code here.

A job in Redis names functions to call when it has ended, and addresses to tell. What is called here are the library's
own functions for tasks, whatever the job says.
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

from core.queue import task_queue

# For the library's own code that is told no serializer: it would take pickle.
serializers.PickleSerializer = serializers.JSONSerializer  # type: ignore[assignment]

JOB_ID = re.compile(rb"[A-Za-z0-9_-]+")


def remove_what_is_no_id(queue: Any) -> None:
    """Call it before a worker begins: the library gives up where a queue holds what is no id."""
    for key in (queue.key, queue.intermediate_queue.key):
        for entry in queue.connection.lrange(key, 0, -1):
            if not JOB_ID.fullmatch(entry):
                task_queue.tell(entry, task_queue.TaskRefused("it has no id"))
                queue.connection.lrem(key, 0, entry)


class JSONJob(Job):
    """A job whose content is JSON, whatever serializer it is read with."""

    def __init__(self, id: str | None = None, connection: Any = None, serializer: Any = None) -> None:  # noqa: A002
        super().__init__(id, connection, serializer=serializers.JSONSerializer)

    @classmethod
    def fetch(cls, id: str, connection: Any = None, serializer: Any = None) -> Any:  # noqa: A002
        try:
            return super().fetch(id, connection)
        except (ValueError, ResponseError) as error:
            # What is queued is no id, or Redis holds something else under it.
            if isinstance(error, ResponseError) and "WRONGTYPE" not in str(error):
                raise
            task_queue.tell(id, error)
            raise NoSuchJobError("This job cannot be read.") from None

    def restore(self, raw_data: Any) -> None:
        """A job that cannot be read is marked as failed, and treated as one that is not there."""
        try:
            super().restore(raw_data)
            task_queue.check(self.func_name, self.args, self.kwargs)
            if self.instance is not None or not isinstance(self.meta.get("backend_name"), str):
                raise task_queue.TaskRefused("it is no task")
        except NoSuchJobError:
            raise
        except Exception as error:  # noqa: BLE001  (what the library raises for content that it did not write)
            task_queue.tell(self.id, error)
            self.connection.hset(self.key, "status", "failed")
            raise NoSuchJobError(f"Job {self.id} cannot be read.") from None
        self.webhooks = []

    def results(self) -> list[Result]:
        try:
            return super().results()
        except RedisError:
            raise
        except Exception as error:  # noqa: BLE001  (as above)
            task_queue.tell(self.id, error)
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
    """Writes jobs with the serializer of RQ_QUEUES, which is JSON, and reads them as such."""

    def _get_job(self, result_id: str) -> Job | None:
        try:
            job: Job = JSONJob.fetch(result_id, connection=django_rq.get_connection())
        except NoSuchJobError:
            return None
        return job
