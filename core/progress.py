"""Shows the progress of a command on a terminal, once it takes longer than two seconds."""

import time

from django.core.management.base import OutputWrapper

SILENT_SECONDS = 2
BETWEEN_SECONDS = 0.5


class Progress:
    """One line that is overwritten. Nothing is written if the output is not a terminal."""

    def __init__(self, stream: OutputWrapper) -> None:
        self._stream = stream
        self._next_at = time.monotonic() + SILENT_SECONDS
        self._width = 0

    def say(self, text: str) -> None:
        if not self._stream.isatty() or time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + BETWEEN_SECONDS
        self._stream.write(f"\r{text.ljust(self._width)}", ending="")
        self._stream.flush()
        self._width = len(text)

    def clear(self) -> None:
        """Before anything else is written."""
        if self._width:
            self._stream.write(f"\r{' ' * self._width}\r", ending="")
            self._stream.flush()
            self._width = 0
