"""The server's own log: every line goes through this module.

Strangers can cause lines. So the number of lines of each kind and their length are limited, and no text from outside
can begin a new line or add a token or a link that signs someone in.
"""

import logging
import re
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from core.http.request_context import printable, without_tokens

# At most so many lines from one place in the code, in each process. A real problem is visible with far fewer.
LINES = 60
SECONDS = 60
MESSAGE_MAX_LENGTH = 2_000
TRACEBACK_MAX_LENGTH = 16_000
KINDS_AT_MOST = 1_000

# The rest of these addresses signs someone in, or confirms an e-mail address.
_SECRET_LINKS = re.compile(r"/(invitation|password/reset|confirm-email)/(?!sent/|done/)[^\s'\"]+")

Exception_ = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def safe(text: str, max_length: int = MESSAGE_MAX_LENGTH) -> str:
    """``text`` on one line, cut, without tokens and without links that sign someone in."""
    # Cut before the search, too, so that a very long text is not searched. A token is at most 4 KiB.
    clean = _SECRET_LINKS.sub(r"/\1/...", without_tokens(printable(text[: max_length + 5_000])))
    return clean if len(clean) <= max_length else f"{clean[:max_length]} [cut]"


class SafeFormatter(logging.Formatter):
    """One line for each record. The traceback of a bug follows indented, so that text from outside in it doesn't look
    like a line of the log."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (the library's name)
        return safe(super().formatMessage(record))

    def formatException(self, ei: Exception_) -> str:  # noqa: N802
        return self._indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        return self._indented(super().formatStack(stack_info))

    def _indented(self, text: str) -> str:
        if len(text) > TRACEBACK_MAX_LENGTH:
            half = TRACEBACK_MAX_LENGTH // 2
            text = f"{text[:half]}\n[cut]\n{text[-half:]}"
        return "\n".join(f"  {safe(line)}" for line in text.splitlines())


class BoundedHandler(logging.StreamHandler[Any]):
    """Writes at most ``LINES`` records in ``SECONDS`` from each place in the code, then how many were left out.

    By place instead of by text, because strangers can vary the text.
    """

    def __init__(self, stream: Any = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._clock = clock
        self._windows: dict[tuple[str, str, int], _Window] = {}

    def emit(self, record: logging.LogRecord) -> None:
        now = self._clock()
        self._close_windows(now)
        kind = (record.name, record.pathname, record.lineno)
        if kind not in self._windows and len(self._windows) >= KINDS_AT_MOST:
            self._close_windows(float("inf"))
        window = self._windows.setdefault(kind, _Window(now + SECONDS))
        window.lines += 1
        if window.lines <= LINES:
            super().emit(record)
        else:
            window.last = record

    def close(self) -> None:
        self._close_windows(float("inf"))
        super().close()

    def _close_windows(self, now: float) -> None:
        for kind in [kind for kind, window in self._windows.items() if window.ends_at <= now]:
            window = self._windows.pop(kind)
            if window.last is not None:
                super().emit(_summary(window.last, window.lines - LINES))


class _Window:
    """The records from one place in the code since the window began."""

    def __init__(self, ends_at: float) -> None:
        self.ends_at = ends_at
        self.lines = 0
        self.last: logging.LogRecord | None = None


def _summary(last: logging.LogRecord, left_out: int) -> logging.LogRecord:
    text = "%d more lines like the last ones were left out within %d seconds. The last one: %s"
    arguments = (left_out, SECONDS, last.getMessage())
    return logging.LogRecord(last.name, last.levelno, last.pathname, last.lineno, text, arguments, None)


class NotToldAlready(logging.Filter):
    """Drops Django's line for a server error if the portal has logged the cause itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(getattr(record, "request", None), "is_told", False)


_lock = threading.Lock()
_told: dict[str, float] = {}


def told_lately(what: str, seconds: float, *, among: tuple[str, int] | None = None) -> bool:
    """Whether this process has logged ``what`` within the last ``seconds``. If not, it counts as logged now.

    ``among`` is a prefix and a number: at most so many different ``what`` with this prefix are logged. It is for values
    that strangers can choose.
    """
    now = time.monotonic()
    with _lock:
        for past in [name for name, until in _told.items() if until <= now]:
            del _told[past]
        if what in _told:
            return True
        if among is not None and sum(name.startswith(among[0]) for name in _told) >= among[1]:
            return True
        _told[what] = now + seconds
        return False
