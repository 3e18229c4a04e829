from datetime import timedelta
from functools import partial

from accounts import erasure, log_retention
from accounts.notifications import erasure as notification_erasure
from accounts.notifications import jobs as notification_jobs
from accounts.security import kept_forms, sessions
from accounts.webhooks import delivery, outbox
from accounts.webhooks import erasure as webhook_erasure
from auditlog.models import Seal
from core import periodic_jobs

periodic_jobs.register("past sessions", sessions.forget_past_sessions, every=timedelta(hours=1))
periodic_jobs.register("kept forms", kept_forms.forget_old, every=timedelta(hours=1))
periodic_jobs.register("daily mails", notification_jobs.put_digests, every=notification_jobs.DIGEST_EVERY)
periodic_jobs.register("past notifications", notification_jobs.prune, every=notification_jobs.PRUNE_EVERY)
periodic_jobs.register("webhooks, reading", outbox.fill, every=outbox.EVERY)
periodic_jobs.register("webhooks, sending", delivery.send_due, every=delivery.EVERY)
periodic_jobs.register("past deliveries", delivery.forget_old, every=timedelta(hours=1))


def register_pruning(*, every: timedelta = log_retention.EVERY) -> None:
    for log in Seal.Log:
        periodic_jobs.register(f"{log.label}, pruning", partial(log_retention.prune, log), every=every)


register_pruning()
periodic_jobs.register("erasures", erasure.run_due, every=erasure.EVERY)
erasure.register("notifications", notification_erasure.erase)
erasure.register("service_accounts", erasure.erase_service_accounts)
erasure.register("webhooks", webhook_erasure.erase)
erasure.register("webhook_deliveries", webhook_erasure.erase_deliveries, copies_logs=True)
