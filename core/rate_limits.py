"""Limits how often something can happen, with counts in windows of time that all processes share.

The counts are in Redis or, without Redis, in a database table. Django's database cache can't be used: it reads, adds
and writes in separate steps, and would lose counts of other processes. A window begins at a multiple of its length, so
up to twice the limit can pass around the end of a window.

Each count costs a write. A limit for frequent events counts in batches: each process only stores full batches. Rare
keys then cost nothing, and each process lets at most one batch minus one pass above the limit. Once a key is over its
limit, further attempts in that window cost no write.

Count outside of transactions: a rollback would undo the count, and others who count the same key would have to wait for
the end of the transaction.
"""

import hashlib
import ipaddress
import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from django.conf import settings
from django.db import connection
from django.utils import timezone

from core.models import RateCount

if settings.REDIS_URL:
    from core import redis_counts

logger = logging.getLogger(__name__)

REMEMBERED_AT_MOST = 10_000


@dataclass
class _Here:
    """What this process knows about one key in one window."""

    window_ends_at: float
    taken: int = 0
    is_spent: bool = False
    # The count of all processes when this one last stored a batch.
    counted: int = 0


_lock = threading.Lock()
_here: dict[str, _Here] = {}


@dataclass(frozen=True)
class Limit:
    """``amount`` times in ``seconds``, for each key: a text, or an id. Only the digest of a key is stored."""

    name: str
    amount: int
    seconds: int
    batch: int = 1

    def take(self, key: object) -> int | None:
        """Counts one more. Returns ``None`` within the limit, otherwise the seconds until the next try."""
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

    def left(self, key: object) -> tuple[int, int]:
        """How many times are left in this window, and the seconds until it ends. Counts nothing and reads nothing.

        Only as far as this process knows, without what others counted since it last stored a batch.
        """
        now = time.time()
        here = _here.get(self._name_of(key, now))
        if here is None:
            return self.amount, self._wait(now)
        taken = self.amount if here.is_spent else max(here.taken, here.counted + here.taken % self.batch)
        return max(0, self.amount - taken), self._wait(now)

    def wait(self, key: str) -> int | None:
        """The seconds until the next try if the limit is reached, otherwise ``None``. Counts nothing."""
        now = time.time()
        return self._wait(now) if _read(self._name_of(key, now)) >= self.amount else None

    def forget(self, key: str) -> None:
        """Resets this key. A process that has seen the limit reached refuses it until the window ends."""
        name = self._name_of(key, time.time())
        with _lock:
            _here.pop(name, None)
        _drop(name)

    def _is_spent_here(self, here: _Here) -> bool:
        """Whether this process alone is over the limit, while other threads are still storing their batches.

        Without batches, only the stored count decides, because another process may have reset it.
        """
        return self.batch > 1 and here.taken > self.amount

    def _name_of(self, key: object, now: float) -> str:
        """The name of the stored count of ``key`` in this window."""
        return f"{self.name}:{_digest(key)}:{int(now // self.seconds)}"

    def _window_ends_at(self, now: float) -> float:
        return (now // self.seconds + 1) * self.seconds

    def _wait(self, now: float) -> int:
        return self.seconds - int(now % self.seconds)


# Each request of a script counts the same keys, and reads what is left of them.
@lru_cache(maxsize=1000)
def _digest(key: object) -> str:
    return hashlib.sha256(str(key).encode(errors="surrogatepass")).hexdigest()[:40]


def forget_past_windows(stopping: threading.Event) -> None:
    """Removes counts of past windows, in one statement. Redis does so itself."""
    RateCount.objects.filter(ends_at__lt=timezone.now()).delete()


def _here_of(name: str, now: float, window_ends_at: float) -> _Here:
    """Called with the lock held. A stranger with many addresses must not be able to fill the memory."""
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
    """Adds ``amount`` atomically and returns the new count."""
    if settings.REDIS_URL:
        try:
            return redis_counts.add(name, amount, lasts=int(max(1, window_ends_at - time.time())) + 60)
        except redis_counts.UNAVAILABLE as error:
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


def _read(name: str) -> int:
    if settings.REDIS_URL:
        try:
            return redis_counts.read(name)
        except redis_counts.UNAVAILABLE as error:
            _warn_of(error)
    return RateCount.objects.filter(key=name).values_list("count", flat=True).first() or 0


def _drop(name: str) -> None:
    if settings.REDIS_URL:
        try:
            redis_counts.drop(name)
        except redis_counts.UNAVAILABLE as error:
            _warn_of(error)
    RateCount.objects.filter(key=name).delete()


def _warn_of(error: Exception) -> None:
    """Without Redis, counts continue in the database, which all processes share, too."""
    logger.warning("Redis cannot be reached, limits are counted in the database: %s", type(error).__name__)


def network_of(address: str | None) -> str:
    """The key under which an address is counted. IPv6 addresses count by /64 network, because each customer has one."""
    if address is None or ":" not in address:
        return address or ""
    return str(ipaddress.ip_network((address, 64), strict=False))
