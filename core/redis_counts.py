"""The counts of rate limits in Redis (core/rate_limits.py).

A module of its own, because importing `redis` takes a tenth of a start and 6 MB of memory, which portals without Redis
save.
"""

import logging
from typing import Any

from django.core.cache import cache
from django_redis import get_redis_connection
from redis.exceptions import RedisError, ResponseError

logger = logging.getLogger(__name__)

UNAVAILABLE = (RedisError, OSError)
# Redis's errors for counting a value that is not a number: a text, a list, or more than 64 bits.
NOT_A_NUMBER = ("not an integer", "WRONGTYPE", "overflow")


def add(name: str, amount: int, *, lasts: int) -> int:
    """Redis does the counting. A stored value that is not a number is removed. ``lasts`` is in seconds."""
    redis, key = get_redis_connection("default"), _key_of(name)
    try:
        return int(redis.pipeline(transaction=False).incrby(key, amount).expire(key, lasts).execute()[0])
    except ResponseError as error:
        if not any(sign in str(error) for sign in NOT_A_NUMBER):
            raise
    _refuse(redis, key)
    return int(redis.pipeline(transaction=False).incrby(key, amount).expire(key, lasts).execute()[0])


def read(name: str) -> int:
    redis, key = get_redis_connection("default"), _key_of(name)
    try:
        return int(redis.get(key) or 0)
    except (ValueError, ResponseError):
        _refuse(redis, key)
        return 0


def drop(name: str) -> None:
    get_redis_connection("default").delete(_key_of(name))


def _key_of(name: str) -> str:
    return str(cache.make_key(f"limit:{name}"))


def _refuse(redis: Any, key: str) -> None:
    logger.warning("Removed a count in Redis that was not a number.")
    redis.delete(key)
