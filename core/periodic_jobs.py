"""Jobs that every worker repeats: each app registers its own in its `jobs.py`, which `core.apps` loads."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection

from core.db.unavailable import DATABASE_UNAVAILABLE

logger = logging.getLogger(__name__)

TRY_AGAIN_AFTER_SECONDS = 60

Work = Callable[[threading.Event], None]


class JobFailed(Exception):
    """The job failed for a reason that its message explains to the operator. No traceback is logged."""


@dataclass(frozen=True)
class Job:
    """``name`` appears in the worker's log."""

    name: str
    work: Work
    every_seconds: float


_registered: dict[str, Job] = {}


def register(name: str, work: Work, *, every: timedelta) -> None:
    """Makes every worker run ``work`` when it starts and then at this interval, in a separate thread.

    ``work`` gets an event that is set when the worker should stop, and checks it between batches. Workers on several
    machines run the same job at the same time, so running it twice must be harmless. A failure is logged, and the job
    is tried again after a minute.
    """
    _registered[name] = Job(name, work, every.total_seconds())


def run(stopping: threading.Event) -> None:
    """Repeats all registered jobs until ``stopping`` is set; then each ends between two batches.

    Each job has its own thread, so that a long one (the first pruning of a large log may take an hour) does not delay
    the others.
    """
    threads = [
        threading.Thread(target=_repeat, args=[job, stopping], name=job.name, daemon=True)
        for job in _registered.values()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _repeat(job: Job, stopping: threading.Event) -> None:
    pause: float = 0
    while not stopping.wait(pause):
        pause = job.every_seconds if _succeeds(job, stopping) else TRY_AGAIN_AFTER_SECONDS


def _succeeds(job: Job, stopping: threading.Event) -> bool:
    try:
        job.work(stopping)
    except DATABASE_UNAVAILABLE as error:
        logger.error("%s: the database is unavailable: %s", job.name, str(error).splitlines()[0])
    except JobFailed as error:
        logger.error("%s: %s", job.name, error)
    except Exception:
        logger.exception("%s: failed", job.name)
    else:
        return True
    finally:
        connection.close()
    return False
