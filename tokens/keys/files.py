"""The directory of the signing keys (``TOKEN_SIGNING_KEYS_DIR``): one PEM file for each key, mode 0600.

A file's name is ``{created}_{signs from}_{id}.pem``. The times are in the name because file times do not survive a copy
to another machine.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from core.files import replace_private
from tokens.keys.signing_key import SigningKey, describe, read_pem, to_pem

_MOMENT = "%Y%m%dT%H%M%S%fZ"


def key_files() -> list[Path]:
    """The files, with the key first that starts to sign last."""
    files = Path(settings.TOKEN_SIGNING_KEYS_DIR).glob("[!.]*.pem")
    return sorted(files, key=lambda path: (_signs_from(path), path.name), reverse=True)


@sensitive_variables()
def read(path: Path) -> SigningKey:
    """Raises ``FileNotFoundError``, and ``ImproperlyConfigured`` for a file that exists and cannot be read."""
    try:
        pem = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ImproperlyConfigured(f"The signing key {path} cannot be read ({error.strerror}).") from None
    return describe(read_pem(pem, str(path)), signs_from=_signs_from(path))


@sensitive_variables()
def write(key: SigningKey, *, signs_from: datetime) -> SigningKey:
    directory = Path(settings.TOKEN_SIGNING_KEYS_DIR)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_private(directory / _file_name(key, signs_from), to_pem(key))
    _mark_as_changed()
    return replace(key, signs_from=signs_from)


def set_signs_from(key: SigningKey, signs_from: datetime) -> SigningKey:
    for path in key_files():
        if read(path).id == key.id:
            path.rename(path.with_name(_file_name(key, signs_from)))
    _mark_as_changed()
    return replace(key, signs_from=signs_from)


def remove(key_id: str) -> None:
    """Removes every file with this key: somebody may have left a copy beside it."""
    for path in key_files():
        if key_id in read(path).ids:
            path.unlink()
    _mark_as_changed()


def state() -> object:
    """Another value after each change of the directory; ``None`` if it does not exist."""
    try:
        status = os.stat(settings.TOKEN_SIGNING_KEYS_DIR)
    except FileNotFoundError:
        return None
    return (str(settings.TOKEN_SIGNING_KEYS_DIR), status.st_mtime_ns, status.st_ino)


@contextmanager
def locked(*, exclusive: bool) -> Iterator[None]:
    """Locks the directory, which must exist, against other processes and other threads."""
    directory = os.open(settings.TOKEN_SIGNING_KEYS_DIR, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(directory)


def _mark_as_changed() -> None:
    """Sets the directory's time with nanoseconds.

    The system's own clock for files ticks every few milliseconds. After two changes within one tick, a process that
    looked in between would not notice the second one.
    """
    now = time.time_ns()
    os.utime(settings.TOKEN_SIGNING_KEYS_DIR, ns=(now, now))


def _file_name(key: SigningKey, signs_from: datetime) -> str:
    return f"{timezone.now():{_MOMENT}}_{signs_from:{_MOMENT}}_{key.id}.pem"


def _signs_from(path: Path) -> datetime:
    """The second time in the file's name; else the first one (``{created}_{id}.pem``, as older versions named it);
    else, for a name that a person chose, the file's own time."""
    created_at, _, rest = path.stem.partition("_")
    return _moment(rest.partition("_")[0]) or _moment(created_at) or datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _moment(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, _MOMENT).replace(tzinfo=UTC)
    except ValueError:
        return None
