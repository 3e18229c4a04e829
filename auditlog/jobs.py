"""What the worker does for the two logs: it seals new entries, and counts the uses of tokens."""

import threading
from datetime import timedelta
from functools import partial

from django.conf import settings

from auditlog import address_names, counting
from auditlog.models import Seal
from auditlog.seals import known_heads, sealing
from auditlog.seals.blocks import ChainBroken
from auditlog.seals.keys import KeyMissing
from core import periodic_jobs

SEAL_EVERY = timedelta(seconds=10)
# Pages count what is not counted yet, so this is for busy portals.
COUNT_EVERY = timedelta(seconds=2)


def register(*, every: timedelta = SEAL_EVERY) -> None:
    for log in Seal.Log:
        periodic_jobs.register(f"{log.label}, sealing", partial(seal, log), every=every)
    periodic_jobs.register("Uses of tokens, counting", count, every=min(every, COUNT_EVERY))
    if settings.REVERSE_DNS:
        periodic_jobs.register("Host names of addresses", address_names.look_up_due, every=address_names.EVERY)


def count(stopping: threading.Event) -> None:
    for _ in counting.count_due(stopping):
        pass


def seal(log: Seal.Log, stopping: threading.Event) -> None:
    try:
        blocks = sum(1 for _ in sealing.seal_due(log, stopping))
        if blocks:
            known_heads.keep_head(log)
    except (ChainBroken, KeyMissing) as error:
        raise periodic_jobs.JobFailed(f"{error} See verify_logs.") from error


register()
