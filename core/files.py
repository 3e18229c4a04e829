"""Writes files that only the portal's own user can read (mode 0600), completely or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PRIVATE = 0o600


def private_opener(path: str, flags: int) -> int:
    """For ``open(path, mode, opener=private_opener)``: a file that is created has mode 0600, whatever the umask."""
    return os.open(path, flags, PRIVATE)


@contextmanager
def private_draft(path: Path) -> Iterator[Path]:
    """Creates an empty file beside ``path`` for the block to fill and to move or link to its name.

    The draft is removed at the end, also after an error. Its name starts with a dot and ends with random characters,
    so that no pattern such as ``*.pem`` finds it.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE))
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def replace_private(path: Path, content: bytes) -> None:
    """Replaces the content of ``path``. Readers see the old content or the new, never a part of it."""
    with private_draft(path) as draft:
        _write(draft, content)
        draft.replace(path)


def create_private(path: Path, content: bytes) -> None:
    """Like ``replace_private`` for a new file. Raises ``FileExistsError`` and changes nothing if ``path`` exists."""
    with private_draft(path) as draft:
        _write(draft, content)
        os.link(draft, path)


def read_or_create_private(path: Path, *, default: str) -> str:
    """Reads the file, after creating it with ``default`` if it does not exist.

    Processes that start at the same time agree: the first one creates the file, the others read what it wrote.
    """
    if not path.exists():
        with suppress(FileExistsError):
            create_private(path, default.encode())
    return path.read_text()


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
