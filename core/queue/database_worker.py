"""The worker that executes tasks from the database."""

import threading
from time import sleep

from django.core.exceptions import SuspiciousOperation
from django.db import OperationalError, close_old_connections
from django_tasks_db.management.commands.db_worker import Worker
from django_tasks_db.models import DBTaskResult
from django_tasks_db.utils import exclusive_transaction, is_locked_database_exception

from core.queue.allowed_tasks import TaskRefused, check, log_refusal

# Held by the thread that looks for the next task. An idle worker with four threads needs a quarter of the queries.
_TURN_TO_LOOK = threading.Lock()


class DatabaseWorker(Worker):
    """Takes tasks from the table of django_tasks_db, and refuses those that are not the portal's."""

    def run(self) -> None:
        """Executes tasks until ``running`` is false, or with ``batch`` until there are none.

        Only one thread of a process looks for the next task at a time. The library's own loop looks, executes and waits
        in one method. It has no hook between these, and ends if SQLite is locked when its transaction begins.
        """
        while self.running:
            with _TURN_TO_LOOK:
                task = self._next_task()
            if task is not None:
                self.run_task(task)
            elif self.batch:
                return

    def _next_task(self) -> DBTaskResult | None:  # type: ignore[type-arg]
        """The next task, which now belongs to this thread. If there is none, waits for ``interval`` seconds."""
        if not self.running:
            return None
        close_old_connections()
        ready = DBTaskResult.objects.ready().filter(backend_name=self.backend_name, queue_name__in=self.queue_names)
        try:
            with exclusive_transaction(ready.db):
                task = ready.get_locked()
                if task is not None:
                    task.claim(self.worker_id)
        except OperationalError as error:
            if not is_locked_database_exception(error):
                raise
            task = None
        close_old_connections()
        if task is None and self.running:
            sleep(self.interval)
        return task

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
