"""Follows a log: reads its entries in the order in which they became final, oldest first, without gaps.

The pages order entries by the time at which the request began. The entry of a slow request then appears below entries
that a reader has seen already. A follower reads by ``id`` instead, and only final entries (`final_entries.py`).
"""

import base64
import binascii
import json
import logging
import time
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from auditlog import final_entries
from auditlog.models import LogEntry, Seal, TokenUse
from core.db.keyset import MAX_SEARCHED, InvalidCursor
from core.db.primary_key import by_primary_key

logger = logging.getLogger(__name__)

# Where to begin without a cursor: at the oldest entry, or at the next one that is added.
START = "start"
NOW = "now"

# Transactions that write entries end within milliseconds. A follower that must wait longer gets an answer without new
# entries instead of occupying a thread.
PATIENCE_SECONDS = 1.0
WARN_EVERY_SECONDS = 60.0
_warned_at = -WARN_EVERY_SECONDS
# An answer without entries makes the follower wait. So a search continues until it finds one, for at most this long.
SEARCH_SECONDS = 2.0


def follow(entries: QuerySet[Any], *, after: str, size: int) -> tuple[list[Any], str]:
    """The next ``size`` entries after ``after`` (a cursor, ``START`` or ``NOW``), and the cursor for the next call.

    Raises ``InvalidCursor``.
    """
    log = _log_of(entries.model)
    position = 0 if after in {START, NOW} else _read(log, after)
    newest, is_delayed = _final_until(entries.model, log)
    if after == NOW:
        return [], _write(log, newest)
    if position > newest:
        newest = _end_for(position, log, newest, is_delayed=is_delayed)
    give_up_at = time.monotonic() + SEARCH_SECONDS
    while True:
        end = _end_of_window(entries.model, position, newest)
        found = list(by_primary_key(entries.order_by("id").filter(id__gt=position, id__lte=end))[:size])
        if len(found) == size:
            end = found[-1].pk
        if found or end >= newest or time.monotonic() > give_up_at:
            return found, _write(log, end)
        position = end


@dataclass(frozen=True)
class NewEntries:
    """``entries``: newest first. ``is_cut``: older ones were left out, because there are too many."""

    entries: list[Any]
    cursor: str
    is_cut: bool = False


def end_of(model: type[LogEntry]) -> tuple[int, str] | None:
    """The id up to which the log is final now, and the cursor that follows it from there; ``None`` if an open
    transaction delays new entries."""
    log = _log_of(model)
    newest, is_delayed = _final_until(model, log)
    return None if is_delayed else (newest, _write(log, newest))


def newest_entries(entries: QuerySet[Any], *, after: str, size: int) -> NewEntries:
    """The ``size`` newest of the entries after the cursor ``after``. Raises ``InvalidCursor``.

    For readers who want to see what happens now, and not every entry: it searches at most the last ``MAX_SEARCHED``
    entries of the log. If there is no newer entry at all, it only reads the newest id.
    """
    log = _log_of(entries.model)
    position = _read(log, after)
    newest, is_delayed = _final_until(entries.model, log)
    if position > newest:
        _end_for(position, log, newest, is_delayed=is_delayed)
    if position >= newest:
        return NewEntries([], after)
    start = max(position, newest - MAX_SEARCHED)
    found = list(by_primary_key(entries.order_by("-id").filter(id__gt=start, id__lte=newest))[: size + 1])
    return NewEntries(found[:size], _write(log, newest), is_cut=start > position or len(found) > size)


def _log_of(model: Any) -> Seal.Log:
    return Seal.Log.AUTHENTICATION if model is TokenUse else Seal.Log.ACTIVITY


def _end_for(position: int, log: Seal.Log, newest: int, *, is_delayed: bool) -> int:
    """The end for a follower whose position is beyond the newest entry.

    If the newest entries were removed because of their age, a seal knows their ids. Otherwise the database was restored
    from a backup and will use these ids again: raises ``InvalidCursor``.
    """
    if not is_delayed and position > max(newest, _sealed_until(log)):
        raise InvalidCursor(
            "This cursor is ahead of the log, which was restored from a backup. Start again with `start` or `now`."
        )
    return position


def _end_of_window(model: Any, position: int, newest: int) -> int:
    """The id of the last entry that one query reads. Uses only the primary key."""
    ids = model.objects.order_by("id").filter(id__gt=position, id__lte=newest).values_list("id", flat=True)
    last: int = ids[MAX_SEARCHED - 1 : MAX_SEARCHED].first() or newest
    return last


def _final_until(model: Any, log: Seal.Log) -> tuple[int, bool]:
    """The id up to which the log is final, and whether an open transaction delays newer entries."""
    try:
        return final_entries.final_until(model, patience=PATIENCE_SECONDS), False
    except final_entries.StillWriting as error:
        _warn(log, error)
        # Sealed entries were final when they were sealed.
        return _sealed_until(log), True


def _sealed_until(log: Seal.Log) -> int:
    return Seal.objects.filter(log=log).order_by("-number").values_list("last_id", flat=True).first() or 0


def _warn(log: Seal.Log, error: final_entries.StillWriting) -> None:
    """Logs a warning, at most once a minute."""
    global _warned_at
    now = time.monotonic()
    if now - _warned_at < WARN_EVERY_SECONDS:
        return
    _warned_at = now
    processes = ", ".join(map(str, sorted(error.processes))) or "of a prepared transaction"
    logger.warning(
        "Followers of the %s log get no new entries: a transaction that writes to it has been open for more than %d s "
        "(PostgreSQL process %s)",
        log,
        PATIENCE_SECONDS,
        processes,
    )


def _write(log: Seal.Log, position: int) -> str:
    text = json.dumps(["f", log, position], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def _read(log: Seal.Log, cursor: str) -> int:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        kind, of_log, position = json.loads(text)
    except (binascii.Error, ValueError, TypeError, RecursionError) as error:
        raise InvalidCursor("This is not a cursor of this log.") from error
    if kind != "f" or of_log != log or type(position) is not int or not 0 <= position < 2**63:
        raise InvalidCursor("This is not a cursor of this log.")
    return position
