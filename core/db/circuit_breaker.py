"""Circuit breaker for a database that cannot be reached (Nygard, Release It!, "Circuit Breaker").

Waiting for a connection takes seconds, and a thread that waits answers nobody. After the first wait in vain, everybody
else is refused at once, and one caller at a time tries, once a second, until a connection is there again.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECONDS_BETWEEN_TRIES = 1.0


class CircuitOpen(Exception):
    """The database could not be reached a moment ago, and this caller is not the one that tries again."""


class CircuitBreaker:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._is_open = False
        self._is_tried = False
        self._next_try_at = 0.0

    @contextmanager
    def guard(self, failures: type[Exception] | tuple[type[Exception], ...]) -> Iterator[None]:
        """Around a try to connect. Raises ``CircuitOpen`` instead of running it while the circuit is open. One of
        ``failures`` opens the circuit, and the end of the block without an exception closes it."""
        # Read without the lock: while all is well, nobody waits for anybody.
        if self._is_open:
            self._take_the_try()
        try:
            yield
        except failures:
            self.open()
            raise
        except BaseException:
            self._is_tried = False
            raise
        if self._is_open:
            with self._lock:
                self._is_open = self._is_tried = False

    def open(self) -> None:
        """Call it also for a connection that stopped answering: the next one would not answer either."""
        with self._lock:
            self._is_open, self._is_tried = True, False
            self._next_try_at = self._clock() + SECONDS_BETWEEN_TRIES

    def _take_the_try(self) -> None:
        with self._lock:
            if self._is_open and (self._is_tried or self._clock() < self._next_try_at):
                raise CircuitOpen
            self._is_tried = self._is_open
