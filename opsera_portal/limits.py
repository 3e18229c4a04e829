"""How often something may happen: counted in windows of time, shared by all processes.

The counts lie in Redis where there is one and in the database otherwise, in a table of their own: Django's database
cache reads, adds and writes, and would lose what others count in between. A window begins at a multiple of its length:
around the moment between two windows twice the limit can pass, and never more.

Counting costs a write. Where that is too dear for each time, a limit takes ``lease`` of them at once for its process:
the limit is then reached early by what other processes hold and do not use, and never late. What is over its limit
costs nothing until the window ends.
"""

import hashlib
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.utils import timezone

from opsera_portal.models import RateCount

REMEMBERED_AT_MOST = 50_000


@dataclass
class _Lease:
    """What this process may still do in one window before it has to ask again."""

    window: int
    left: int
    is_spent: bool


_lock = threading.Lock()
_leases: dict[str, _Lease] = {}


@dataclass(frozen=True)
class Limit:
    """``amount`` times in ``seconds``, for each key. Keys may hold anything; only a digest of them is kept."""

    name: str
    amount: int
    seconds: int
    lease: int = 1

    def take(self, key: str) -> int | None:
        """Counts one more. ``None`` if that is within the limit, or else the seconds until it may be tried again."""
        name, now = self._name_of(key), time.time()
        window = int(now // self.seconds)
        with _lock:
            held = _leases.get(name)
            if held is not None and held.window == window:
                if held.left > 0:
                    held.left -= 1
                    return None
                if held.is_spent:
                    return self._wait(now)
        counted = _add(name, window, self.lease, self.seconds)
        granted = self.lease - max(0, counted - self.amount)
        self._hold(name, window, granted)
        return None if granted > 0 else self._wait(now)

    def wait(self, key: str) -> int | None:
        """The seconds until it may be tried again where the limit is reached, and else ``None``. Counts nothing."""
        name, now = self._name_of(key), time.time()
        return self._wait(now) if _read(name, int(now // self.seconds)) >= self.amount else None

    def forget(self, key: str) -> None:
        """Begins anew for this key."""
        name = self._name_of(key)
        with _lock:
            _leases.pop(name, None)
        _drop(name, int(time.time() // self.seconds))

    def _hold(self, name: str, window: int, granted: int) -> None:
        with _lock:
            held = _leases.get(name)
            if held is None or held.window != window:
                if len(_leases) >= REMEMBERED_AT_MOST:
                    _leases.clear()
                held = _leases[name] = _Lease(window, 0, is_spent=False)
            # Two threads may have asked at once: both grants count.
            held.left += max(0, granted - 1)
            held.is_spent = granted <= 0

    def _wait(self, now: float) -> int:
        return self.seconds - int(now % self.seconds)

    def _name_of(self, key: str) -> str:
        digest = hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:40]
        return f"{self.name}:{digest}"


def forget_past_windows() -> int:
    """Removes counts of windows that have ended; returns how many. Redis does so by itself."""
    return RateCount.objects.filter(ends_at__lt=timezone.now()).delete()[0]


def forget_leases() -> None:
    """As after a start of the process."""
    with _lock:
        _leases.clear()


def _add(name: str, window: int, amount: int, seconds: int) -> int:
    """The count of the window after ``amount`` were added, atomically."""
    key = f"{name}:{window}"
    if settings.REDIS_URL:
        cache.add(f"limit:{key}", 0, timeout=seconds * 2)
        return int(cache.incr(f"limit:{key}", amount))
    table = connection.ops.quote_name(RateCount._meta.db_table)
    ends_at = connection.ops.adapt_datetimefield_value(datetime.fromtimestamp((window + 1) * seconds, UTC))
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} (key, count, ends_at) VALUES (%s, %s, %s) "  # noqa: S608
            f"ON CONFLICT (key) DO UPDATE SET count = {table}.count + excluded.count RETURNING count",
            [key, amount, ends_at],
        )
        return int(cursor.fetchone()[0])


def _read(name: str, window: int) -> int:
    key = f"{name}:{window}"
    if settings.REDIS_URL:
        return int(cache.get(f"limit:{key}") or 0)
    return RateCount.objects.filter(key=key).values_list("count", flat=True).first() or 0


def _drop(name: str, window: int) -> None:
    key = f"{name}:{window}"
    if settings.REDIS_URL:
        cache.delete(f"limit:{key}")
    else:
        RateCount.objects.filter(key=key).delete()
