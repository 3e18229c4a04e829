"""Django's caches with JSON instead of pickle: people who can write to the database or to Redis must not be able to run
code here.

A value that is not JSON counts as missing, with one line in the log. Storing a value that JSON can't represent is an
error.
"""

import json
import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.db import DatabaseCache  # noqa: TID251  (reading and writing of values is replaced here)
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

logger = logging.getLogger(__name__)

UNREADABLE = (TypeError, ValueError, RecursionError)
FOR_EVER = datetime(9999, 12, 31, tzinfo=UTC)


class NotJSON(Exception):
    """The stored value is not JSON."""


def loads(kept: str | bytes) -> Any:
    """Raises ``NotJSON``."""
    try:
        return json.loads(kept)
    except UNREADABLE:
        logger.warning("Refused a value in the cache: it is not JSON.")
        raise NotJSON from None


class JSONDatabaseCache(DatabaseCache):
    """Uses the table of `createcachetable`. Setting and adding are one statement each, so that two at the same time are
    no error, and only one of them adds."""

    _table: str
    _cull: Any

    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        names = {self.make_and_validate_key(key, version=version): key for key in keys}
        if not names:
            return {}
        places = ", ".join(["%s"] * len(names))
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT cache_key, value FROM {self._name} "  # noqa: S608  (the table's name is ours)
                f"WHERE cache_key IN ({places}) AND expires >= %s",
                [*names, _adapted(timezone.now())],
            )
            rows = cursor.fetchall()
        found = {}
        for name, value in rows:
            try:
                found[names[name]] = loads(value)
            except NotJSON:
                continue
        return found

    def _base_set(self, mode: str, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT) -> bool:
        """``mode`` is "set", "add" or "touch". Returns whether it was done."""
        ends_at = self.get_backend_timeout(timeout)
        expires = _adapted(FOR_EVER if ends_at is None else datetime.fromtimestamp(ends_at, UTC))
        now = timezone.now().replace(microsecond=0)
        if mode == "touch":
            statement = f"UPDATE {self._name} SET expires = %s WHERE cache_key = %s AND expires >= %s"  # noqa: S608
            arguments = [expires, key, _adapted(now)]
        else:
            statement = (
                f"INSERT INTO {self._name} (cache_key, value, expires) VALUES (%s, %s, %s) "  # noqa: S608
                "ON CONFLICT (cache_key) DO UPDATE SET value = excluded.value, expires = excluded.expires"
            )
            arguments = [key, json.dumps(value), expires]
            if mode == "add":
                statement += f" WHERE {self._name}.expires < %s"
                arguments.append(_adapted(now))
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"SELECT count(*) FROM {self._name}")  # noqa: S608
                count = cursor.fetchone()[0]
                if count > self._max_entries:
                    self._cull("default", cursor, now, count)
                cursor.execute(statement, arguments)
                return bool(cursor.rowcount)
        except DatabaseError:
            # As in Django's own backend, a cache that can't be written is not an error.
            return False

    @property
    def _name(self) -> str:
        return connection.ops.quote_name(self._table)


def _adapted(moment: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(moment.replace(microsecond=0))
