from core import periodic_jobs
from gateway import service_sessions

periodic_jobs.register("past sessions at services", service_sessions.forget_past, every=service_sessions.REMOVED_EVERY)
