"""Which queued tasks the worker executes: those of the portal's own code, with arguments in JSON.

People who can write to the queue, a table or Redis, can start the portal's own tasks, but nothing else. A task that
can't be read is refused with one line in the log.
"""

import logging
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.exceptions import SuspiciousOperation

logger = logging.getLogger(__name__)


class TaskRefused(SuspiciousOperation):
    """The queue has something that is not a task of the portal."""


def check(path: Any, args: Any, kwargs: Any) -> None:
    """Raises ``TaskRefused``, before any module that the queue names is imported."""
    ours = {config.name for config in apps.get_app_configs() if Path(config.path).parent == settings.BASE_DIR}
    if not isinstance(path, str) or path.partition(".")[0] not in ours:
        raise TaskRefused("it names no code of the portal")
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise TaskRefused("its arguments cannot be read")


def log_refusal(task_id: Any, error: Exception) -> None:
    """``task_id`` comes from the queue, so only its beginning is logged, on one line."""
    reason = str(error) if isinstance(error, TaskRefused) else type(error).__name__
    logger.error("Refused task %.40r: %s.", str(task_id), reason)
