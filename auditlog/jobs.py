"""What the worker does for the two logs: it seals new entries, and once a day removes those past their retention."""

import logging
import threading
from collections import Counter
from datetime import timedelta
from functools import partial

from auditlog import retention
from auditlog.models import Seal
from auditlog.seals import known_heads, sealing
from core import periodic_jobs

logger = logging.getLogger(__name__)

SEAL_EVERY = timedelta(seconds=10)
PRUNE_EVERY = timedelta(days=1)


def register(*, seal_every: timedelta = SEAL_EVERY, prune_every: timedelta = PRUNE_EVERY) -> None:
    for log in Seal.Log:
        periodic_jobs.register(f"{log.label}, sealing", partial(seal, log), every=seal_every)
        periodic_jobs.register(f"{log.label}, pruning", partial(prune, log), every=prune_every)


def seal(log: Seal.Log, stopping: threading.Event) -> None:
    try:
        blocks = sum(1 for _ in sealing.seal_due(log, stopping))
        if blocks:
            known_heads.keep_head(log)
    except (sealing.ChainBroken, sealing.KeyMissing) as error:
        raise periodic_jobs.JobFailed(f"{error} See verify_logs.") from error


def prune(log: Seal.Log, stopping: threading.Event) -> None:
    removed: Counter[retention.Cut] = Counter()
    try:
        for cut, count in retention.prune(log, retention.due(log), stopping=stopping):
            removed[cut] += count
    except (sealing.ChainBroken, sealing.KeyMissing) as error:
        raise periodic_jobs.JobFailed(f"{error} See verify_logs.") from error
    for cut, count in (+removed).items():
        logger.info("%s, organization %s: removed %d older than %s", log.label, cut.name, count, cut.before.date())


register()
