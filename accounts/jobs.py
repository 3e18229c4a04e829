from datetime import timedelta
from functools import partial

from accounts import erasure, log_retention
from accounts.security import kept_forms, sessions
from auditlog.models import Seal
from core import periodic_jobs

periodic_jobs.register("past sessions", sessions.forget_past_sessions, every=timedelta(hours=1))
periodic_jobs.register("kept forms", kept_forms.forget_old, every=timedelta(hours=1))


def register_pruning(*, every: timedelta = log_retention.EVERY) -> None:
    for log in Seal.Log:
        periodic_jobs.register(f"{log.label}, pruning", partial(log_retention.prune, log), every=every)


register_pruning()
periodic_jobs.register("erasures", erasure.run_due, every=erasure.EVERY)
