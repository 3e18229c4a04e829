from datetime import timedelta

from accounts.security import kept_forms, sessions
from core import periodic_jobs

periodic_jobs.register("past sessions", sessions.forget_past_sessions, every=timedelta(hours=1))
periodic_jobs.register("kept forms", kept_forms.forget_old, every=timedelta(hours=1))
