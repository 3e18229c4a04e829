"""What the worker does for the logs: it seals what has arrived, and once a day removes what is no longer kept."""

import logging
import threading
from collections import Counter
from collections.abc import Callable

from django.db import connection

from auditlog import known_heads, retention, seals
from auditlog.models import Seal
from opsera_portal.api.problems import DATABASE_AWAY

logger = logging.getLogger(__name__)

SEAL_EVERY_SECONDS = 10
PRUNE_EVERY_SECONDS = 24 * 60 * 60
TRY_AGAIN_AFTER_SECONDS = 60

Work = Callable[[Seal.Log, threading.Event], None]


def run(stopping: threading.Event) -> None:
    """Looks after the logs until ``stopping`` is set; then ends between two blocks and between two batches.

    Pruning has a thread of its own: the first one of a large log may take an hour, and sealing must not wait for it.
    """
    pruning = threading.Thread(target=_repeat, args=[prune, PRUNE_EVERY_SECONDS, stopping], name="pruning", daemon=True)
    pruning.start()
    _repeat(seal, SEAL_EVERY_SECONDS, stopping)
    pruning.join()


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


def _repeat(work: Work, seconds: float, stopping: threading.Event) -> None:
    """Does the work for each log, now and every so often. Whatever goes wrong is logged and tried again."""
    pause: float = 0
    while not stopping.wait(pause):
        pause = seconds
        for log in Seal.Log:
            try:
                work(log, stopping)
            except DATABASE_AWAY as error:
                logger.error("The database cannot be used, the logs wait: %s", str(error).splitlines()[0])
                pause = TRY_AGAIN_AFTER_SECONDS
            except (seals.ChainBroken, seals.KeyMissing) as error:
                logger.error("%s: %s See verify_logs.", log.label, error)
                pause = TRY_AGAIN_AFTER_SECONDS
            except Exception:
                logger.exception("%s: could not be looked after", log.label)
                pause = TRY_AGAIN_AFTER_SECONDS
            finally:
                connection.close()
