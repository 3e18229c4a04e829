"""The worker that executes tasks from the database."""

from django.core.exceptions import SuspiciousOperation
from django_tasks_db.management.commands.db_worker import Worker
from django_tasks_db.models import DBTaskResult

from core.queue.allowed_tasks import TaskRefused, check, log_refusal


class DatabaseWorker(Worker):
    """Takes tasks from the table of django_tasks_db, and refuses those that are not the portal's."""

    def run_task(self, db_task_result: DBTaskResult) -> None:  # type: ignore[type-arg]
        try:
            kept = db_task_result.args_kwargs
            given = kept if isinstance(kept, dict) else {}
            check(db_task_result.task_path, given.get("args"), given.get("kwargs"))
            _ = db_task_result.task
        except (TaskRefused, ImportError, SuspiciousOperation) as error:
            log_refusal(db_task_result.pk, error)
            db_task_result.set_failed(error)
        else:
            super().run_task(db_task_result)
