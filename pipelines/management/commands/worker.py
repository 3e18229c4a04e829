"""The process that executes pipeline runs."""

import fcntl
import logging
import os
import secrets
import time
from argparse import ArgumentParser
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django_tasks_db.compat import DEFAULT_TASK_BACKEND_ALIAS, DEFAULT_TASK_QUEUE_NAME
from django_tasks_db.management.commands.db_worker import Worker

from opsera_portal.api.problems import DATABASE_AWAY
from pipelines.models import Run
from pipelines.run_states import RunState
from pipelines.runner import recover_interrupted_runs, stop_after_step
from pipelines.tasks import execute_pipeline

logger = logging.getLogger(__name__)

WAIT_FOR_DATABASE_SECONDS = 1


class StoppingWorker(Worker):
    """The library's worker, which finishes its task before it stops. Our task may be many runs: it stops at a step."""

    def shutdown(self, signum: int, frame: FrameType | None) -> None:
        stop_after_step()
        super().shutdown(signum, frame)


class Command(BaseCommand):
    help = (
        "Executes pipeline runs until it is stopped with Ctrl-C or SIGTERM; the step on its way is finished first. "
        "Runs that a worker which was killed left behind are marked failed, queued ones are taken up again. "
        "One worker runs for each data directory."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--interval", type=float, default=0.5, help="seconds between looks at the queue")

    def handle(self, *args: Any, interval: float, **options: Any) -> None:
        with open(os.open(settings.DATA_DIR / "worker.lock", os.O_WRONLY | os.O_CREAT, 0o600), "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CommandError("Another worker runs already with this data directory.") from None
            if settings.REDIS_URL:
                self._recover()
                call_command("rqworker", "default", verbosity=0)
            else:
                self._work(interval)

    def _work(self, interval: float) -> None:
        """Works until it is stopped. A database that is away for a while is waited for."""
        worker = StoppingWorker(
            queue_names=[DEFAULT_TASK_QUEUE_NAME],
            interval=interval,
            batch=False,
            backend_name=DEFAULT_TASK_BACKEND_ALIAS,
            startup_delay=False,
            max_tasks=None,
            worker_id=secrets.token_hex(16),
            excluded_queue_names=[],
        )
        worker.configure_signals()
        while worker.running:
            try:
                self._recover()
                worker.run()
            except DATABASE_AWAY as error:
                logger.error("The database cannot be used, trying again: %s", str(error).splitlines()[0])
                connection.close()
                time.sleep(WAIT_FOR_DATABASE_SECONDS)

    def _recover(self) -> None:
        interrupted = recover_interrupted_runs()
        if interrupted:
            self.stdout.write(f"Marked {interrupted} interrupted runs as failed.")
        waiting = Run.objects.filter(state=RunState.QUEUED).order_by().values_list("pipeline_id", flat=True)
        for pipeline_id in waiting.distinct():
            execute_pipeline.enqueue(str(pipeline_id))
