"""Reads request bodies with a time limit, so that slow clients do not block the threads that answer requests.

The web server (granian) gives a request to a thread when its headers have arrived. Reading the body then blocks the
thread, and the server has no time limit: as many slow clients as there are threads would stop the portal. nginx reads
bodies before it calls the portal (deploy/nginx), so this matters for a portal without nginx.

There are therefore more threads than may answer requests at the same time; the others can wait for bodies. The
connection of a body that takes too long is closed, which ends the wait.
"""

import os
import socket
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from queue import SimpleQueue
from typing import Any, NoReturn

from django.conf import settings

# 256 KiB over a bad mobile connection take a few seconds.
LONGEST_WAIT = 20.0
# The limit while many threads wait for bodies.
LONGEST_WAIT_IN_A_CROWD = 1.5
CROWD = settings.WEB_WAITING_THREADS // 4
LOOK_EVERY = 0.25


class Turns:
    """A context that at most ``number`` threads are in at the same time; others wait.

    Does what ``threading.BoundedSemaphore`` does with nine calls of Python functions in each request.
    """

    def __init__(self, number: int) -> None:
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(number):
            self._free.put(None)

    def __enter__(self) -> None:
        self._free.get()

    def __exit__(self, *error: object) -> None:
        self._free.put(None)


# `WEB_THREADS` threads may answer requests at the same time.
TURN_TO_WORK = Turns(settings.WEB_THREADS)


class BodyIncomplete(OSError):
    """The client closed the connection or took too long. Django raises `UnreadablePostError` for it."""


class IncompleteBody:
    """Takes the place of a body that did not arrive; reading it raises ``BodyIncomplete``."""

    def read(self, size: int = -1) -> NoReturn:
        raise BodyIncomplete

    readline = read


def collect_body(environ: dict[str, Any]) -> None:
    """Reads the whole body before the request is handled, so that no database connection or lock is held meanwhile.

    A body that is too large is not read; the portal refuses it by its `Content-Length`.
    """
    length = declared_length(environ)
    if length is not None and "CONTENT_LENGTH" in environ:
        # Django converts it again, and would fail on thousands of leading zeros.
        environ["CONTENT_LENGTH"] = str(length)
    if not length or length > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        return
    with WATCH.waiting():
        body = _read(environ["wsgi.input"], length)
    environ["wsgi.input"] = IncompleteBody() if body is None else BytesIO(body)


def declared_length(environ: dict[str, Any]) -> int | None:
    """The length of the body in bytes, as `Content-Length` declares it; ``None`` if that is not a number.

    Leading zeros are allowed (RFC 9110 section 8.6). Only the first 20 digits after them count, which is always too
    large: Python refuses to convert thousands of digits.
    """
    text = environ.get("CONTENT_LENGTH") or "0"
    if not (text.isascii() and text.isdecimal()):
        return None
    return int(text.lstrip("0")[:20] or "0")


def _read(raw: Any, length: int) -> bytes | None:
    parts = []
    while length:
        try:
            part = raw.read(length)
        except OSError:
            return None
        if not part:
            return None
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


class Watch:
    """Closes connections whose request has been arriving for too long.

    The server neither says on which connection a request came nor offers a way to close it. But Linux knows which
    connections have received data that has not been answered. Without `/proc`, no connection is closed.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self._lock = threading.Lock()
        self._waiting = 0
        self._is_running = False

    @contextmanager
    def waiting(self) -> Iterator[None]:
        with self._lock:
            self._waiting += 1
            starts = not self._is_running
            self._is_running = True
        if starts:
            threading.Thread(target=self._run, name="slow bodies", daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1

    def _run(self) -> None:
        """Runs until no thread waits for a body. Most bodies arrive before the first check."""
        seen: dict[tuple[Any, ...], tuple[int, float]] = {}
        while True:
            time.sleep(LOOK_EVERY)
            with self._lock:
                if not self._waiting:
                    self._is_running = False
                    return
                limit = LONGEST_WAIT_IN_A_CROWD if self._waiting > CROWD else LONGEST_WAIT
            with suppress(OSError):
                seen = end_slow_connections(self.port, seen, limit=limit, now=time.monotonic())


WATCH = Watch(settings.PORTAL_PORT)


def end_slow_connections(
    port: int, seen: dict[tuple[Any, ...], tuple[int, float]], *, limit: float, now: float
) -> dict[tuple[Any, ...], tuple[int, float]]:
    """``seen`` has for each client how many bytes it had been answered, and since when it has been sending.

    Returns the same for the connections that are still sending.
    """
    sending = {}
    for connection, answered in _sending_connections(port):
        with connection:
            caller = connection.getpeername()
            before, since = seen.get(caller, (answered, now))
            if before != answered:
                since = now
            if now - since >= limit:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            else:
                sending[caller] = (answered, since)
    return sending


def _sending_connections(port: int) -> Iterable[tuple[socket.socket, int]]:
    """Yields the connections to ``port`` that sent data after our last answer, and how much they were answered."""
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                continue
            connection = _duplicate(int(name))
            if connection.family in (socket.AF_INET, socket.AF_INET6) and connection.getsockname()[1] == port:
                answered = _answered_bytes(connection)
                if answered is not None:
                    yield connection, answered
                    continue
            connection.close()


def _duplicate(descriptor: int) -> socket.socket:
    """Raises `OSError` if ``descriptor`` was closed, or reused for something else, in the meantime."""
    copy = os.dup(descriptor)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise


# struct tcp_info of Linux: tcpi_last_data_sent, tcpi_last_data_recv (milliseconds ago); tcpi_bytes_acked,
# tcpi_bytes_received.
_TIMES = struct.Struct("44xI4xI")
_BYTES = struct.Struct("120xQQ")


def _answered_bytes(connection: socket.socket) -> int | None:
    """``None`` if the client is not sending: not connected, nothing received, or answered since."""
    with suppress(OSError, struct.error):
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        sent_ago, received_ago = _TIMES.unpack_from(info)
        answered, received = _BYTES.unpack_from(info)
        # The opening of the connection counts as one byte.
        if received and (answered <= 1 or received_ago <= sent_ago):
            return int(answered)
    return None
