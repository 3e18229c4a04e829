"""How often something may happen: counted in windows of time, shared by all processes.

The counts lie in Redis where there is one and in the database otherwise, in a table of their own: Django's database
cache reads, adds and writes, and would lose what others count in between. A window begins at a multiple of its length:
around the moment between two windows twice the limit can pass.

Counting costs a write. Where that is too dear for each time, a limit counts in batches: each process tells the others
only of each full batch. Who asks seldom then costs nothing, and at most one batch less one of each process passes
beyond the limit. What is over its limit costs nothing until the window ends.

Count outside of transactions: what is rolled back was not counted, and who counts the same would wait for its end.
"""

import hashlib
import ipaddress
import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.utils import timezone
from django_redis import get_redis_connection
from redis.exceptions import RedisError, ResponseError

from core.models import RateCount

logger = logging.getLogger(__name__)

REMEMBERED_AT_MOST = 10_000
REDIS_AWAY = (RedisError, OSError)
# How Redis refuses to count what is no number: a text, a list, or one beyond 64 bits.
NO_NUMBER = ("not an integer", "WRONGTYPE", "overflow")


@dataclass
class _Here:
    """What this process knows of one key in one window."""

    window_ends_at: float
    taken: int = 0
    is_spent: bool = False
    # What all processes together had taken when this one last wrote a batch down.
    counted: int = 0


_lock = threading.Lock()
_here: dict[str, _Here] = {}


@dataclass(frozen=True)
class Limit:
    """``amount`` times in ``seconds``, for each key. Keys may hold anything; only a digest of them is kept."""

    name: str
    amount: int
    seconds: int
    batch: int = 1

    def take(self, key: str) -> int | None:
        """Counts one more. ``None`` if that is within the limit, or else the seconds until it may be tried again."""
        now = time.time()
        name = self._name_of(key, now)
        with _lock:
            here = _here_of(name, now, self._window_ends_at(now))
            here.taken += 1
            if here.is_spent or self._is_spent_here(here):
                return self._wait(now)
            if here.taken % self.batch:
                return None
        counted = here.counted = _add(name, self.batch, self._window_ends_at(now))
        if counted <= self.amount:
            return None
        here.is_spent = True
        return self._wait(now)

    def left(self, key: str) -> tuple[int, int]:
        """How many times are left in this window, and the seconds until it ends. Counts nothing and asks nobody.

        As far as this process knows: what others took since it last wrote a batch down is missing.
        """
        now = time.time()
        here = _here.get(self._name_of(key, now))
        if here is None:
            return self.amount, self._wait(now)
        taken = self.amount if here.is_spent else max(here.taken, here.counted + here.taken % self.batch)
        return max(0, self.amount - taken), self._wait(now)

    def wait(self, key: str) -> int | None:
        """The seconds until it may be tried again where the limit is reached, and else ``None``. Counts nothing."""
        now = time.time()
        return self._wait(now) if _read(self._name_of(key, now)) >= self.amount else None

    def forget(self, key: str) -> None:
        """Begins anew for this key. A process that has found the limit reached keeps to that until the window ends."""
        name = self._name_of(key, time.time())
        with _lock:
            _here.pop(name, None)
        _drop(name)

    def _is_spent_here(self, here: _Here) -> bool:
        """What threads of this process let pass while others of them are writing a batch down is in no count yet.

        Without batches there is no such thing, and the count alone is asked: another process may have forgotten it.
        """
        return self.batch > 1 and here.taken > self.amount

    def _name_of(self, key: str, now: float) -> str:
        """What the count of ``key`` in this window is kept as."""
        return f"{self.name}:{_digest(key)}:{int(now // self.seconds)}"

    def _window_ends_at(self, now: float) -> float:
        return (now // self.seconds + 1) * self.seconds

    def _wait(self, now: float) -> int:
        return self.seconds - int(now % self.seconds)


# Each request of a script counts the same keys, and asks what is left of them.
@lru_cache(maxsize=1000)
def _digest(key: str) -> str:
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:40]


def forget_past_windows(stopping: threading.Event) -> None:
    """Removes counts of windows that have ended, in one statement. Redis does so by itself."""
    RateCount.objects.filter(ends_at__lt=timezone.now()).delete()


def _here_of(name: str, now: float, window_ends_at: float) -> _Here:
    """With the lock held. So many keys as a stranger may have addresses must not fill the memory."""
    here = _here.get(name)
    if here is None:
        if len(_here) >= REMEMBERED_AT_MOST:
            for past in [key for key, value in _here.items() if value.window_ends_at <= now]:
                del _here[past]
        if len(_here) >= REMEMBERED_AT_MOST:
            _here.clear()
        here = _here[name] = _Here(window_ends_at)
    return here


def _add(name: str, amount: int, window_ends_at: float) -> int:
    """The count after ``amount`` were added, atomically."""
    if settings.REDIS_URL:
        try:
            return _add_in_redis(name, amount, lasts=int(max(1, window_ends_at - time.time())) + 60)
        except REDIS_AWAY as error:
            _warn_of(error)
    table = connection.ops.quote_name(RateCount._meta.db_table)
    ends_at = connection.ops.adapt_datetimefield_value(datetime.fromtimestamp(window_ends_at, UTC))
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} (key, count, ends_at) VALUES (%s, %s, %s) "  # noqa: S608  (the table's name is ours)
            f"ON CONFLICT (key) DO UPDATE SET count = {table}.count + excluded.count RETURNING count",
            [name, amount, ends_at],
        )
        return int(cursor.fetchone()[0])


def _add_in_redis(name: str, amount: int, *, lasts: int) -> int:
    """Redis counts by itself: what it holds is a number, or is removed. ``lasts`` in seconds."""
    redis, key = get_redis_connection("default"), _key_in_redis(name)
    try:
        return int(redis.pipeline(transaction=False).incrby(key, amount).expire(key, lasts).execute()[0])
    except ResponseError as error:
        if not any(sign in str(error) for sign in NO_NUMBER):
            raise
    _refuse(redis, key)
    return int(redis.pipeline(transaction=False).incrby(key, amount).expire(key, lasts).execute()[0])


def _key_in_redis(name: str) -> str:
    return str(cache.make_key(f"limit:{name}"))


def _refuse(redis: Any, key: str) -> None:
    logger.warning("Refused what Redis held as a count: it is no number.")
    redis.delete(key)


def _read(name: str) -> int:
    if settings.REDIS_URL:
        try:
            redis, key = get_redis_connection("default"), _key_in_redis(name)
            try:
                return int(redis.get(key) or 0)
            except (ValueError, ResponseError):
                _refuse(redis, key)
                return 0
        except REDIS_AWAY as error:
            _warn_of(error)
    return RateCount.objects.filter(key=name).values_list("count", flat=True).first() or 0


def _drop(name: str) -> None:
    if settings.REDIS_URL:
        try:
            get_redis_connection("default").delete(_key_in_redis(name))
        except REDIS_AWAY as error:
            _warn_of(error)
    RateCount.objects.filter(key=name).delete()


def _warn_of(error: Exception) -> None:
    """Without Redis the counts go on in the database, which all processes share as well."""
    logger.warning("Redis cannot be reached, limits are counted in the database: %s", type(error).__name__)


def network_of(address: str | None) -> str:
    """What an address is counted as. Of IPv6 its /64: whoever has one address there has all of them."""
    if address is None or ":" not in address:
        return address or ""
    return str(ipaddress.ip_network((address, 64), strict=False))
