from datetime import timedelta

from core import periodic_jobs, rate_limits
from core.api import idempotency
from core.db import statistics
from core.mail import delivery
from core.pages import submissions

periodic_jobs.register("past limits", rate_limits.forget_past_windows, every=timedelta(hours=1))
periodic_jobs.register("kept answers", idempotency.forget_old, every=timedelta(hours=1))
periodic_jobs.register("past submissions", submissions.forget_past, every=timedelta(hours=1))
periodic_jobs.register("statistics of the database", statistics.refresh, every=timedelta(days=1))
periodic_jobs.register("mail", delivery.send_due, every=delivery.EVERY)
periodic_jobs.register("past mail", delivery.forget_old, every=timedelta(hours=1))
