"""System checks: no setting may enable pickle, with which people who can write to a store could run code here."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

# Each of these stores JSON, or nothing.
CACHES = {
    "core.cache.json_cache.JSONDatabaseCache",
    "django_redis.cache.RedisCache",
    "django.core.cache.backends.dummy.DummyCache",
}
REDIS_CACHE = {
    "CLIENT_CLASS": "core.cache.redis_cache.JSONClient",
    "SERIALIZER": "core.cache.redis_cache.JSONSerializer",
}
TASKS = {
    "django_tasks_db.DatabaseBackend",
    "core.queue.redis_queue.JSONBackend",
    "django_tasks.backends.dummy.DummyBackend",
    "django_tasks.backends.immediate.ImmediateBackend",
}
SINGLE = {
    "SESSION_ENGINE": "accounts.security.session_store",
    "SESSION_SERIALIZER": "django.contrib.sessions.serializers.JSONSerializer",
    "MESSAGE_STORAGE": "django.contrib.messages.storage.session.SessionStorage",
}


@register
def check_for_pickle(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    return [
        Error(f"{setting} may read pickle: {value!r}.", hint="core/checks.py lists the allowed values.")
        for setting, value in _wrong_settings()
    ]


def _wrong_settings() -> list[tuple[str, Any]]:
    wrong: list[tuple[str, Any]] = [
        (name, getattr(settings, name)) for name, value in SINGLE.items() if getattr(settings, name) != value
    ]
    for alias, cache in settings.CACHES.items():
        backend, options = cache.get("BACKEND"), cache.get("OPTIONS", {})
        if backend not in CACHES:
            wrong.append((f"CACHES[{alias!r}]", backend))
        elif backend == "django_redis.cache.RedisCache" and not REDIS_CACHE.items() <= options.items():
            wrong.append((f"CACHES[{alias!r}]['OPTIONS']", options))
    for alias, queue in settings.TASKS.items():
        if queue.get("BACKEND") not in TASKS:
            wrong.append((f"TASKS[{alias!r}]", queue.get("BACKEND")))
    for alias, queue in getattr(settings, "RQ_QUEUES", {}).items():
        if queue.get("SERIALIZER") != "rq.serializers.JSONSerializer":
            wrong.append((f"RQ_QUEUES[{alias!r}]['SERIALIZER']", queue.get("SERIALIZER")))
    job_class = getattr(settings, "RQ", {}).get("JOB_CLASS")
    if hasattr(settings, "RQ_QUEUES") and job_class != "core.queue.redis_queue.JSONJob":
        wrong.append(("RQ['JOB_CLASS']", job_class))
    return wrong
