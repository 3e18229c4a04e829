"""What the worker executes: tasks of the portal, with arguments in JSON, and nothing else that a queue may hold.

Who can write to the queue, which is a table or Redis, can have the portal do what it does anyway, and nothing else.
What cannot be read is refused with one line in the log.
"""

import logging
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django_tasks_db.management.commands.db_worker import Worker
from django_tasks_db.models import DBTaskResult

logger = logging.getLogger(__name__)


class TaskRefused(SuspiciousOperation):
    """The queue holds something that is no task of the portal."""


def check(path: Any, args: Any, kwargs: Any) -> None:
    """Raises ``TaskRefused``, before anything is imported that a queue names."""
    ours = {config.name for config in apps.get_app_configs() if Path(config.path).parent == settings.BASE_DIR}
    if not isinstance(path, str) or path.partition(".")[0] not in ours:
        raise TaskRefused("it names no code of the portal")
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise TaskRefused("its arguments cannot be read")


def tell(task_id: Any, error: Exception) -> None:
    """``task_id`` is what a queue holds as such: only its beginning, on one line."""
    reason = str(error) if isinstance(error, TaskRefused) else type(error).__name__
    logger.error("Refused task %.40r: %s.", str(task_id), reason)


class DatabaseWorker(Worker):
    """Takes tasks from the table of django_tasks_db."""

    def run_task(self, db_task_result: DBTaskResult) -> None:  # type: ignore[type-arg]
        try:
            kept = db_task_result.args_kwargs
            given = kept if isinstance(kept, dict) else {}
            check(db_task_result.task_path, given.get("args"), given.get("kwargs"))
            _ = db_task_result.task
        except (TaskRefused, ImportError, SuspiciousOperation) as error:
            tell(db_task_result.pk, error)
            db_task_result.set_failed(error)
        else:
            super().run_task(db_task_result)
