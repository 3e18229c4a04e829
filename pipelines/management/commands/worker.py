"""The process that executes pipeline runs, sends e-mails, and seals and prunes the logs."""

import fcntl
import gc
import json
import logging
import secrets
import signal
import threading
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from types import FrameType
from typing import IO, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.models import TextField
from django.db.models.functions import Cast
from django.utils import timezone
from django_tasks_db.compat import DEFAULT_TASK_BACKEND_ALIAS, DEFAULT_TASK_QUEUE_NAME
from django_tasks_db.models import DBTaskResult

from core import periodic_jobs
from core.db.unavailable import DATABASE_UNAVAILABLE
from core.files import private_opener
from core.queue.database_worker import DatabaseWorker
from core.text import counted
from pipelines import runner
from pipelines.tasks import execute_pipeline

if settings.REDIS_URL:
    # django-rq reads its settings when it is imported, and fails without them.
    from core.queue import redis_worker

logger = logging.getLogger(__name__)

WAIT_FOR_DATABASE_SECONDS = 1
LOOK_AROUND_SECONDS = 10
# Rows of finished tasks are kept for a while, for people who look for the reason of a failure.
KEEP_TASKS = timedelta(days=7)


def at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError("give a whole number from 1")
    return int(text)


class Command(BaseCommand):
    help = (
        "Executes pipeline runs, sends mails, seals the logs, removes old entries and does other regular work, until "
        "Ctrl-C or SIGTERM; it then finishes the current step. Runs of different pipelines execute side by side, runs "
        "of one pipeline one after the other. If a worker was killed, its runs continue after their last step, and a "
        "step that it was executing is marked as failed. Each data directory can have one worker."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--interval", type=float, default=0.5, help="seconds between two looks at the queue")
        parser.add_argument(
            "--threads",
            type=at_least_one,
            default=4,
            help="how many tasks execute side by side (with Redis always one: start more workers)",
        )

    def handle(self, *args: Any, interval: float, threads: int, **options: Any) -> None:
        path = settings.DATA_DIR / "worker.lock"
        with open(path, "a+", opener=private_opener) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CommandError("Another worker runs already with this data directory.") from None
            name = _name_of(lock)
            # What the start created stays. A search for garbage among it takes a seventh of a second: in a transaction
            # on SQLite, all requests would wait for it.
            gc.freeze()
            runner.work_as(name)
            self._stopping = threading.Event()
            work = self._work_from_redis if settings.REDIS_URL else self._work_from_database
            # This process has the lock of the data directory, so the worker before it is gone: recover its runs.
            self._patiently(lambda: self._take_up(of_worker=name))
            caretaker = threading.Thread(target=self._look_around, name="caretaker", daemon=True)
            caretaker.start()
            # In a thread of its own: pruning a large log can take longer than a lease.
            keeper = threading.Thread(target=periodic_jobs.run, args=[self._stopping], name="upkeep", daemon=True)
            keeper.start()
            work(interval, threads)
            self._stopping.set()
            for thread in (caretaker, keeper):
                thread.join(timeout=LOOK_AROUND_SECONDS)

    def _work_from_database(self, interval: float, threads: int) -> None:
        workers = [_worker(interval) for _ in range(threads)]

        def stop(number: int, frame: FrameType | None) -> None:
            self._stop()
            for worker in workers:
                worker.running = False

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        if self._stopping.is_set():
            return
        pool = [
            threading.Thread(target=self._patiently, args=[worker.run], name=f"worker-{number}")
            for number, worker in enumerate(workers, start=1)
        ]
        for thread in pool:
            thread.start()
        for thread in pool:
            thread.join()

    def _work_from_redis(self, interval: float, threads: int) -> None:
        # The library stops at entries of Redis that no portal queued. They are removed at the next start.
        while not self._stopping.is_set():
            redis_worker.create(self._stop).work(logging_level="WARNING")
            self._stopping.wait(interval)

    def _stop(self) -> None:
        runner.stop_after_step()
        self._stopping.set()

    def _patiently(self, work: Callable[[], Any]) -> None:
        """Repeats the work until it succeeds, and waits while the database is unreachable."""
        try:
            while not self._stopping.is_set():
                try:
                    work()
                    return
                except DATABASE_UNAVAILABLE as error:
                    logger.error("The database is unavailable, trying again: %s", str(error).splitlines()[0])
                    connection.close()
                    self._stopping.wait(WAIT_FOR_DATABASE_SECONDS)
        finally:
            connection.close()

    def _look_around(self) -> None:
        """Regular checks: lost workers, lost messages, and old rows."""
        while not self._stopping.wait(LOOK_AROUND_SECONDS):
            try:
                self._take_up()
                DBTaskResult.objects.filter(finished_at__lt=timezone.now() - KEEP_TASKS).delete()
            except Exception:
                logger.exception("The worker could not look around")
            finally:
                connection.close()

    def _take_up(self, *, of_worker: str = "") -> None:
        failed = runner.recover_lost_runs(of_worker=of_worker)
        if failed:
            runs = counted(failed, "interrupted run", "interrupted runs")
            self.stdout.write(f"Marked {runs} as failed.")
        # A message is lost if it could not be sent after the commit, or if the database was away during its task.
        known = set() if of_worker else _pipelines_in_queue()
        for pipeline_id in runner.pipelines_with_work():
            if str(pipeline_id) not in known:
                execute_pipeline.enqueue(str(pipeline_id))


def _worker(interval: float) -> DatabaseWorker:
    return DatabaseWorker(
        queue_names=[DEFAULT_TASK_QUEUE_NAME],
        interval=interval,
        batch=False,
        backend_name=DEFAULT_TASK_BACKEND_ALIAS,
        startup_delay=False,
        max_tasks=None,
        worker_id=secrets.token_hex(16),
        excluded_queue_names=[],
    )


def _pipelines_in_queue() -> set[str]:
    """The pipelines that waiting messages are about."""
    waiting = redis_worker.waiting_arguments() if settings.REDIS_URL else _arguments_in_table()
    return {str(arguments[0]) for arguments in waiting if isinstance(arguments, list | tuple) and arguments}


def _arguments_in_table() -> Iterator[Any]:
    ready = DBTaskResult.objects.ready().filter(
        queue_name=DEFAULT_TASK_QUEUE_NAME, backend_name=DEFAULT_TASK_BACKEND_ALIAS
    )
    # As text, because somebody may have written anything into the table.
    for text in ready.values_list(Cast("args_kwargs", TextField()), flat=True):
        with suppress(ValueError, TypeError, AttributeError):
            yield json.loads(text).get("args")


def _name_of(lock: IO[str]) -> str:
    """The name under which the workers of this data directory take runs. It stays the same after a restart."""
    lock.seek(0)
    name = lock.read().strip()
    if not name:
        name = secrets.token_hex(16)
        lock.write(name)
        lock.flush()
    return name
