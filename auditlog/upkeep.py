"""What the worker does again and again, without anyone asking for it.

For the logs: it seals what has arrived, and once a day removes what is no longer kept. Apps on the floors above add
what is to be done for them in their ``AppConfig.ready``, with `register`.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from django.db import connection

from auditlog import known_heads, retention, seals
from auditlog.models import Seal
from opsera_portal.api.problems import DATABASE_AWAY

logger = logging.getLogger(__name__)

SEAL_EVERY_SECONDS = 10
PRUNE_EVERY_SECONDS = 24 * 60 * 60
TRY_AGAIN_AFTER_SECONDS = 60

Work = Callable[[threading.Event], None]


@dataclass(frozen=True)
class Job:
    """``name`` is what the worker's own log calls it."""

    name: str
    work: Work
    every_seconds: float


_registered: dict[str, Job] = {}


def register(name: str, work: Work, *, every: timedelta) -> None:
    """Has every worker do ``work`` when it starts and every so often after that, in a thread of its own.

    ``work`` is given the event that is set when the worker is to end, and looks at it between two batches. Workers of
    several machines do it at the same time: it must be harmless to do twice. If it fails, that is logged, and it is
    tried again after a minute.
    """
    _registered[name] = Job(name, work, every.total_seconds())


def run(stopping: threading.Event) -> None:
    """Looks after the logs and does what was registered until ``stopping`` is set; then ends between two batches.

    Each job has a thread of its own: the first pruning of a large log may take an hour, and nothing else must wait for
    it.
    """
    sealing = [Job(log.label, partial(seal, log), SEAL_EVERY_SECONDS) for log in Seal.Log]
    pruning = [Job(log.label, partial(prune, log), PRUNE_EVERY_SECONDS) for log in Seal.Log]
    threads = [
        threading.Thread(target=_repeat, args=[jobs, stopping], name=jobs[0].name, daemon=True)
        for jobs in [sealing, pruning, *([job] for job in _registered.values())]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def seal(log: Seal.Log, stopping: threading.Event) -> None:
    blocks = sum(1 for _ in seals.seal_due(log, stopping))
    if blocks:
        known_heads.keep_head(log)


def prune(log: Seal.Log, stopping: threading.Event) -> None:
    removed: Counter[retention.Cut] = Counter()
    for cut, count in retention.prune(log, retention.due(log), stopping=stopping):
        removed[cut] += count
    for cut, count in (+removed).items():
        logger.info("%s, organization %s: removed %d older than %s", log.label, cut.name, count, cut.before.date())


def _repeat(jobs: Sequence[Job], stopping: threading.Event) -> None:
    """Does the jobs one after the other, now and every so often. Whatever goes wrong is logged and tried again."""
    pause: float = 0
    while not stopping.wait(pause):
        pause = jobs[0].every_seconds
        for job in jobs:
            try:
                job.work(stopping)
            except DATABASE_AWAY as error:
                logger.error("%s: the database cannot be used: %s", job.name, str(error).splitlines()[0])
                pause = TRY_AGAIN_AFTER_SECONDS
            except (seals.ChainBroken, seals.KeyMissing) as error:
                logger.error("%s: %s See verify_logs.", job.name, error)
                pause = TRY_AGAIN_AFTER_SECONDS
            except Exception:
                logger.exception("%s: could not be looked after", job.name)
                pause = TRY_AGAIN_AFTER_SECONDS
            finally:
                connection.close()
