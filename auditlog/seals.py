"""Seals: the proof that no entry of a log was changed, removed or inserted afterwards.

The worker takes the entries that have arrived, in order of ``id``, and writes a block about them: for each entry one
record with a MAC over all of its columns. The block's own MAC covers these records and the MAC of the block before. The
key is not in the database, so whoever can only write to the database cannot make the chain anew.

`verification.py` checks the chain; `docs/log-keeping.md` tells what it proves and what it does not.
"""

import hashlib
import hmac
import json
import secrets
import struct
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, connection, transaction
from django.db.models import JSONField, Max
from django.utils import timezone

from auditlog import usage
from auditlog.models import Activity, Seal, TokenUse
from opsera_portal.environment import private_text

Row = tuple[Any, ...]

MODELS: dict[Seal.Log, type[TokenUse] | type[Activity]] = {
    Seal.Log.AUTHENTICATION: TokenUse,
    Seal.Log.ACTIVITY: Activity,
}

# A busy log gets full blocks: larger ones would hold SQLite's one lock for longer than 100 ms while their uses are
# counted. A quiet one gets at most 288 a day: with one a minute, the blocks of a log that has an entry a minute would
# need more room than its entries.
MAX_ENTRIES = 500
LONGEST_WAIT = timedelta(minutes=5)

# One entry in a block: its id, its moment in microseconds since 1970, its organization's place among the sorted ones of
# the block's ``newest``, and the first half of its MAC. What is known of an entry that is gone.
RECORD = struct.Struct(">qqH16s")

# What the first block has in place of the MAC of the block before.
NO_BLOCK = "0" * 64

# Which transactions may still commit an entry whose id is lower than one that is there already. Each has the lock from
# before it is given an id until after its entry can be seen. Its own id would not do: it may get that later.
WRITERS = """
    SELECT virtualtransaction FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted AND relation = %s::regclass
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND pid IS DISTINCT FROM pg_backend_pid()
"""
WAIT_FOR_WRITERS_SECONDS = 0.5

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class ChainBroken(Exception):
    """The last block was not made with this installation's key, so none is put behind it."""


class KeyMissing(Exception):
    """There are blocks, and the key that made them is not here."""


# Making blocks


def seal_next(log: Seal.Log, *, at_once: bool = False) -> Seal | None:
    """Makes the next block of a log; ``None`` when none is due.

    One is due when enough entries wait or the oldest has waited long enough; ``at_once`` takes what there is. Entries
    are read and their MACs made before the transaction begins. Raises ``ChainBroken`` and ``KeyMissing``.
    """
    while True:
        last = last_block(log)
        rows = _rows_due(log, after=last.last_id if last else 0, at_once=at_once)
        if not rows:
            return None
        records, newest = _pack(log, rows)
        block = _block_behind(last, log, Seal.Kind.ENTRIES, records, newest, last_id=rows[-1][0], count=len(rows))
        if _append(block, rows):
            return block


def seal_pruning(log: Seal.Log, before: Mapping[str, datetime]) -> Seal:
    """Makes the block that allows entries to be missing: of each organization those before a moment.

    It stands for no entries: its range is the empty one behind the last block. It speaks of blocks before it only.
    """
    newest = {organization: moment.isoformat() for organization, moment in before.items()}
    while True:
        last = last_block(log)
        end = last.last_id if last else 0
        block = _block_behind(last, log, Seal.Kind.PRUNED, b"", newest, last_id=end, count=0)
        if _append(block):
            return block


def last_block(log: Seal.Log) -> Seal | None:
    """Without its records. Raises ``ChainBroken``."""
    block = Seal.objects.filter(log=log).defer("entries").order_by("-number").first()
    if block is not None and not is_genuine(block):
        raise ChainBroken(f"{block} was not made with this installation's key (LOG_SEAL_KEY, or log-seal-key).")
    return block


def _append(block: Seal, rows: Sequence[Row] = ()) -> bool:
    """Commits the block, and with it what is counted of its entries; ``False`` when another worker was faster."""
    uses = _uses_of(rows) if block.log == Seal.Log.AUTHENTICATION else []
    try:
        with transaction.atomic():
            block.save(force_insert=True)
            if uses:
                usage.count(uses)
    except IntegrityError:
        if not Seal.objects.filter(log=block.log, number=block.number).exists():
            raise
        return False
    return True


def _block_behind(
    last: Seal | None,
    log: Seal.Log,
    kind: Seal.Kind,
    records: bytes,
    newest: dict[str, str],
    *,
    last_id: int,
    count: int,
) -> Seal:
    block = Seal(
        log=log,
        number=last.number + 1 if last else 1,
        kind=kind,
        made_at=timezone.now(),
        # From 1 and not from the oldest entry, so that there is no place before the first block.
        first_id=last.last_id + 1 if last else 1,
        last_id=last_id,
        count=count,
        newest=newest,
        entries=records,
        entries_digest=hashlib.sha256(records).hexdigest(),
        previous=last.mac if last else NO_BLOCK,
    )
    block.mac = block_mac(block)
    return block


def _pack(log: Seal.Log, rows: Sequence[Row]) -> tuple[bytes, dict[str, str]]:
    """The records of the entries, and the newest moment of each organization."""
    newest: dict[str, datetime] = {}
    for _, at, organization_id, *_ in rows:
        organization = organization_key(organization_id)
        newest[organization] = max(at, newest.get(organization, at))
    places = {organization: place for place, organization in enumerate(sorted(newest))}
    mac = EntryMac(log)
    records = b"".join(
        RECORD.pack(row[0], (row[1] - _EPOCH) // _MICROSECOND, places[organization_key(row[2])], mac(row))
        for row in rows
    )
    return records, {organization: moment.isoformat() for organization, moment in newest.items()}


# Which entries are due


def _rows_due(log: Seal.Log, *, after: int, at_once: bool) -> list[Row]:
    model = MODELS[log]
    waiting = model.objects.filter(id__gt=after).order_by("id")
    if not at_once:
        oldest = waiting.values_list("at", flat=True).first()
        if oldest is None:
            return []
        has_waited = oldest < timezone.now() - LONGEST_WAIT
        if not has_waited and not waiting[MAX_ENTRIES - 1 : MAX_ENTRIES].exists():
            return []
    # Read after it is known up to where entries are finished, and never before.
    return list(read(log, after + 1, _finished_until(model), limit=MAX_ENTRIES))


def _finished_until(model: type[TokenUse] | type[Activity]) -> int:
    """The id up to which no entry can turn up any more; 0 when that must wait for the next round.

    SQLite has one writer, so ids are committed in order. On PostgreSQL a transaction that took its id earlier may
    commit later: whoever is writing when the newest id is read has to be done.
    """
    newest: int = model.objects.aggregate(newest=Max("id"))["newest"] or 0
    if connection.vendor != "postgresql":
        return newest
    unfinished = _writers(model)
    give_up_at = time.monotonic() + WAIT_FOR_WRITERS_SECONDS
    while unfinished:
        if time.monotonic() > give_up_at:
            return 0
        time.sleep(0.01)
        unfinished &= _writers(model)
    return newest


def _writers(model: type[TokenUse] | type[Activity]) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(WRITERS, [model._meta.db_table])
        return {transaction_id for (transaction_id,) in cursor.fetchall()}


# Reading entries


def read(log: Seal.Log, first_id: int, last_id: int, *, limit: int | None = None) -> Iterator[Row]:
    """The values of ``columns``, in order of ``id``, as the driver gives them: the ORM would take six times as long.

    UUIDs come as such or in hexadecimal, as the database keeps them; moments and objects are as in Python.
    """
    model = MODELS[log]
    names = columns(model)
    objects = [place for place, name in enumerate(names) if isinstance(model._meta.get_field(name), JSONField)]
    selected, table = (", ".join(map(connection.ops.quote_name, some)) for some in (names, [model._meta.db_table]))
    bounded = "" if limit is None else f"LIMIT {limit}"
    with connection.chunked_cursor() as cursor:
        cursor.execute(
            f"SELECT {selected} FROM {table} WHERE id BETWEEN %s AND %s ORDER BY id {bounded}",  # noqa: S608
            [first_id, last_id],
        )
        while some := cursor.fetchmany(MAX_ENTRIES):
            for entry_id, at, *others in some:
                for place in objects:
                    others[place - 2] = json.loads(others[place - 2])
                yield entry_id, at and at.replace(tzinfo=UTC), *others


def _uses_of(rows: Sequence[Row]) -> list[TokenUse]:
    fields: list[Any] = [TokenUse._meta.get_field(name) for name in columns(TokenUse)]
    names = [field.attname for field in fields]
    return [
        TokenUse.from_db("default", names, [field.to_python(value) for field, value in zip(fields, row, strict=True)])
        for row in rows
    ]


# What a block says of entries


def columns(model: type[TokenUse] | type[Activity]) -> tuple[str, ...]:
    """All columns of an entry, those first that a record tells."""
    first = ("id", "at", "organization_id")
    return (*first, *(field.attname for field in model._meta.concrete_fields if field.attname not in first))


def organization_key(organization_id: Any) -> str:
    return "" if organization_id is None else _as_text(organization_id)


def moment_of(microseconds: int) -> datetime:
    return _EPOCH + microseconds * _MICROSECOND


class Cutoffs:
    """Before which moment entries may be missing, by organization: what blocks of kind ``pruned`` add up to.

    A block speaks of those before it, so the chain is read from its end.
    """

    def __init__(self) -> None:
        self._before: dict[str, datetime] = {}

    def add(self, block: Seal) -> None:
        for organization, text in block.newest.items():
            moment = datetime.fromisoformat(text)
            self._before[organization] = max(moment, self._before.get(organization, moment))

    def cover(self, organization: str, at: datetime) -> bool:
        return organization in self._before and at < self._before[organization]

    def cover_all_of(self, block: Seal) -> bool:
        return all(
            self.cover(organization, datetime.fromisoformat(text)) for organization, text in block.newest.items()
        )


# MACs


class EntryMac:
    """The MAC of an entry of one log, as it stands in a record. ``row`` has the values of ``columns``."""

    def __init__(self, log: Seal.Log) -> None:
        self._key = _key(f"entries of the {log} log")
        self._columns = columns(MODELS[log])

    def __call__(self, row: Row) -> bytes:
        # By name and without what is null: a column that is added later changes no entry that has nothing in it.
        named = {name: value for name, value in zip(self._columns, row, strict=True) if value is not None}
        return hmac.digest(self._key, _canonical(named), "sha256")[:16]


def block_mac(block: Seal) -> str:
    header = {
        "log": block.log,
        "number": block.number,
        "kind": block.kind,
        "made_at": block.made_at,
        "first_id": block.first_id,
        "last_id": block.last_id,
        "count": block.count,
        "newest": block.newest,
        "entries_digest": block.entries_digest,
        "previous": block.previous,
    }
    return hmac.digest(_key("blocks"), _canonical(header), "sha256").hex()


def is_genuine(block: Seal) -> bool:
    return hmac.compare_digest(block.mac.encode(), block_mac(block).encode())


def _as_text(value: Any) -> str:
    return value.hex if isinstance(value, uuid.UUID) else str(value)


# The same from every database, whatever the order in which it keeps the keys of an object.
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=_as_text).encode


def _canonical(values: Mapping[str, Any]) -> bytes:
    return _encode(values).encode()


def _key(purpose: str) -> bytes:
    return _key_for(settings.LOG_SEAL_KEY or _key_of_the_file(), purpose)


@lru_cache(maxsize=8)
def _key_for(secret: str, purpose: str) -> bytes:
    return hmac.digest(secret.encode(), purpose.encode(), "sha256")


def _key_of_the_file() -> str:
    path = settings.DATA_DIR / "log-seal-key"
    if not path.exists() and Seal.objects.exists():
        # A new key would make every block look forged.
        raise KeyMissing(
            "The logs are sealed, and their key is not here: LOG_SEAL_KEY, or log-seal-key in the data directory."
        )
    key = private_text(path, make=secrets.token_urlsafe(48)).strip()
    if len(key) < 32:
        raise ImproperlyConfigured("The file log-seal-key in the data directory holds no key of 32 characters.")
    return key
