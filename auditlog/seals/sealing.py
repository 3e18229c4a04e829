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
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from itertools import repeat
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import JSONField, QuerySet
from django.utils import timezone

from auditlog import final_entries, usage
from auditlog.models import Activity, Seal, TokenUse
from core.db.batches import run_batches
from core.files import read_or_create_private

Row = tuple[Any, ...]

MODELS: dict[Seal.Log, type[TokenUse] | type[Activity]] = {
    Seal.Log.AUTHENTICATION: TokenUse,
    Seal.Log.ACTIVITY: Activity,
}

# A busy log gets full blocks. A quiet one gets at most 288 a day: with one a minute, the blocks of a log that has an
# entry a minute would need more room than its entries.
MAX_ENTRIES = 500
# A block ends before it would count for more tokens, days and addresses than this. Each is a row and six indexes, and
# SQLite's one lock is held meanwhile: with 500 a writer waited for up to 277 ms.
MAX_COUNTED = 100
LONGEST_WAIT = timedelta(minutes=5)

# One entry in a block: its id, its moment in microseconds since 1970, its organization's place among the sorted ones of
# the block's ``newest``, and the first half of its MAC. What is known of an entry that is gone.
RECORD = struct.Struct(">qqH16s")

# What the first block has in place of the MAC of the block before.
NO_BLOCK = "0" * 64

# How long a seal waits for transactions that may still add an entry.
WAIT_FOR_WRITERS_SECONDS = 0.5

# What drivers, Django and the JSON reader raise at a value that is none: SQLite keeps anything in any column, and
# PostgreSQL has moments and numbers that Python has not.
UNREADABLE = (DatabaseError, ValueError, TypeError, OverflowError, RecursionError)

LARGEST_ID = 2**63 - 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class ChainBroken(Exception):
    """The last block was not made with this installation's key, so none is put behind it."""


class KeyMissing(Exception):
    """There are blocks, and the key that made them is not here."""


@dataclass(frozen=True, slots=True)
class Raw:
    """A value as the database keeps it, of an entry that cannot be read: all of its values but the id are such."""

    kind: str
    text: str

    def __str__(self) -> str:
        return self.text


# Making blocks


def seal_due(log: Seal.Log, stopping: threading.Event, *, at_once: bool = False) -> Iterator[Seal]:
    """Makes block after block while one is due; pauses after each for as long as it took, for those who write.

    Ends between two blocks when ``stopping`` is set. Raises what ``seal_next`` does.
    """
    for block in run_batches(repeat(partial(seal_next, log, at_once=at_once)), stopping=stopping):
        if block is None:
            return
        yield block


def seal_next(log: Seal.Log, *, at_once: bool = False) -> Seal | None:
    """Makes the next block of a log; ``None`` when none is due.

    One is due when enough entries wait or the first has waited long enough; ``at_once`` takes what there is. Entries
    are read, counted and their MACs made before the transaction begins. Raises ``ChainBroken`` and ``KeyMissing``.
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
    found = load(Seal.objects.filter(log=log).defer("entries").order_by("-number")[:1])
    if not found:
        return None
    if not is_genuine(found[0]):
        raise ChainBroken(f"{found[0]} was not made with this installation's key (LOG_SEAL_KEY, or log-seal-key).")
    return found[0]


def _append(block: Seal, rows: Sequence[Row] = ()) -> bool:
    """Commits the block, and with it what is counted of its entries; ``False`` when another worker was faster."""
    counted = usage.summed(_uses_of(rows)) if block.log == Seal.Log.AUTHENTICATION else []
    try:
        with transaction.atomic():
            block.save(force_insert=True)
            usage.add(counted)
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
    for row in rows:
        organization, at = organization_key(row[2]), moment_of(row)
        newest[organization] = max(at, newest.get(organization, at))
    places = {organization: place for place, organization in enumerate(sorted(newest))}
    mac = EntryMac(log)
    records = b"".join(
        RECORD.pack(row[0], (moment_of(row) - _EPOCH) // _MICROSECOND, places[organization_key(row[2])], mac(row))
        for row in rows
    )
    return records, {organization: moment.isoformat() for organization, moment in newest.items()}


# Which entries are due


def _rows_due(log: Seal.Log, *, after: int, at_once: bool) -> list[Row]:
    model = MODELS[log]
    if not at_once:
        # The first that arrived. One that is dated in the future must not hold the others back.
        oldest = read_some(log, after + 1, LARGEST_ID, limit=1)
        if not oldest:
            return []
        has_waited = abs(timezone.now() - moment_of(oldest[0])) > LONGEST_WAIT
        waiting = model.objects.filter(id__gt=after).order_by("id")
        if not has_waited and not waiting[MAX_ENTRIES - 1 : MAX_ENTRIES].exists():
            return []
    # Read after it is known up to where entries are finished, and never before.
    rows = read_some(log, after + 1, _final_until(model), limit=MAX_ENTRIES)
    return _countable(rows) if log == Seal.Log.AUTHENTICATION else rows


def _countable(rows: list[Row]) -> list[Row]:
    """The first of them, as many as one block may count."""
    names = columns(TokenUse)
    token, ip = names.index("token_id"), names.index("ip")
    counted = set()
    for place, row in enumerate(rows):
        counted.add((row[token], moment_of(row).date(), row[ip]))
        if len(counted) > MAX_COUNTED:
            return rows[:place]
    return rows


def _final_until(model: type[TokenUse] | type[Activity]) -> int:
    """See ``final_entries.final_until``; 0 when the seal must wait for the next round."""
    try:
        return final_entries.final_until(model, patience=WAIT_FOR_WRITERS_SECONDS)
    except final_entries.StillWriting:
        return 0


# Reading entries


def read(log: Seal.Log, first_id: int, last_id: int) -> Iterator[Row]:
    """The values of ``columns``, in order of ``id``, as the driver gives them: the ORM would take six times as long.

    UUIDs come as such or in hexadecimal, as the database keeps them; moments and objects are as in Python. An entry
    that holds what cannot be read comes as ``Raw`` values.
    """
    while first_id <= last_id and (some := read_some(log, first_id, last_id, limit=MAX_ENTRIES)):
        yield from some
        first_id = some[-1][0] + 1


def read_some(log: Seal.Log, first_id: int, last_id: int, *, limit: int) -> list[Row]:
    """The first of what ``read`` gives."""
    try:
        return _read(log, first_id, last_id, limit)
    except UNREADABLE:
        ids = MODELS[log].objects.filter(id__range=(first_id, last_id)).order_by("id").values_list("id", flat=True)
        return [row for entry_id in ids[:limit] for row in _read_one(log, entry_id)]


def _read(log: Seal.Log, first_id: int, last_id: int, limit: int) -> list[Row]:
    model = MODELS[log]
    names = columns(model)
    objects = [place for place, name in enumerate(names) if isinstance(model._meta.get_field(name), JSONField)]
    rows = _select(model, ", ".join(map(connection.ops.quote_name, names)), first_id, last_id, limit)
    return [_parsed(row, objects) for row in rows]


def _parsed(row: Row, objects: Sequence[int]) -> Row:
    values = list(row)
    for place in objects:
        values[place] = json.loads(values[place])
    # On SQLite a text that is no moment is read as null, and a moment is in UTC without saying so.
    if values[1] is None:
        raise ValueError("The entry has no moment.")
    if values[1].tzinfo is None:
        values[1] = values[1].replace(tzinfo=UTC)
    return tuple(values)


def _read_one(log: Seal.Log, entry_id: int) -> list[Row]:
    """None if it is gone meanwhile."""
    try:
        return _read(log, entry_id, entry_id, 1)
    except UNREADABLE:
        return _read_raw(MODELS[log], entry_id)


def _read_raw(model: type[TokenUse] | type[Activity], entry_id: int) -> list[Row]:
    # On SQLite the bytes and the type of each value, since its text need not be one.
    pattern = "CAST({0} AS text), 'text'" if connection.vendor == "postgresql" else "CAST({0} AS blob), typeof({0})"
    names = [connection.ops.quote_name(name) for name in columns(model)[1:]]
    rows = _select(model, ", ".join(["id", *map(pattern.format, names)]), entry_id, entry_id, 1)
    return [(row[0], *map(_raw, row[1::2], row[2::2])) for row in rows]


def _raw(value: str | bytes | None, kind: str) -> Raw | None:
    if value is None:
        return None
    return Raw(kind, value if isinstance(value, str) else value.decode(errors="surrogateescape"))


def _select(model: type[TokenUse] | type[Activity], what: str, first_id: int, last_id: int, limit: int) -> list[Row]:
    table = connection.ops.quote_name(model._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {what} FROM {table} WHERE id BETWEEN %s AND %s ORDER BY id LIMIT %s",  # noqa: S608
            [first_id, last_id, limit],
        )
        found: list[Row] = cursor.fetchall()
    return found


def _uses_of(rows: Sequence[Row]) -> list[TokenUse]:
    """Those that can be read; the others are proven and not counted."""
    fields: list[Any] = [TokenUse._meta.get_field(name) for name in columns(TokenUse)]
    names = [field.attname for field in fields]
    uses = []
    for row in rows:
        try:
            values = [field.to_python(value) for field, value in zip(fields, row, strict=True)]
        except (ValidationError, *UNREADABLE):
            continue
        uses.append(TokenUse.from_db("default", names, values))
    return uses


# Reading blocks


def load(blocks: QuerySet[Seal]) -> list[Seal]:
    """These blocks. For one that holds what cannot be read stands one of its number that is not genuine."""
    try:
        found = list(blocks)
    except UNREADABLE:
        found = [_load_one(pk) for pk in blocks.values_list("pk", flat=True)]
    return [block if _can_be_read(block) else _stand_in(block.pk) for block in found]


def _load_one(pk: int) -> Seal:
    try:
        return Seal.objects.get(pk=pk)
    except UNREADABLE:
        return _stand_in(pk)


_TYPES: dict[str, type | tuple[type, ...]] = {
    "number": int,
    "made_at": datetime,
    "first_id": int,
    "last_id": int,
    "count": int,
    "newest": dict,
    "entries": (bytes, memoryview, type(None)),
    "entries_digest": str,
    "previous": str,
    "mac": str,
}


def _can_be_read(block: Seal) -> bool:
    """On SQLite a column holds what was put into it."""
    read = vars(block)
    return all(isinstance(read[name], types) for name, types in _TYPES.items() if name in read)


def _stand_in(pk: int) -> Seal:
    names = ("log", "number", "kind", "first_id", "last_id")
    block = Seal(**Seal.objects.filter(pk=pk).values("pk", *names).get(), newest={})
    for name in ("number", "first_id", "last_id"):
        value = getattr(block, name)
        setattr(block, name, int(value) if isinstance(value, int | float) else 0)
    return block


# What a block says of entries


def columns(model: type[TokenUse] | type[Activity]) -> tuple[str, ...]:
    """All columns of an entry, those first that a record tells."""
    first = ("id", "at", "organization_id")
    return (*first, *(field.attname for field in model._meta.concrete_fields if field.attname not in first))


@lru_cache(maxsize=1_000)
def organization_key(organization_id: Any) -> str:
    """In hexadecimal; empty for none, and for what is none."""
    try:
        return uuid.UUID(str(organization_id)).hex
    except ValueError:
        return ""


def moment_of(row: Row) -> datetime:
    """1970 for an entry that cannot be read: so it is sealed at once, and nobody's newest."""
    return row[1] if isinstance(row[1], datetime) else _EPOCH


def moment_in(record: Row) -> datetime:
    return _EPOCH + int(record[1]) * _MICROSECOND


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


def _as_text(value: Any) -> Any:
    if isinstance(value, Raw):
        return [value.kind, value.text]
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
    key = read_or_create_private(path, default=secrets.token_urlsafe(48)).strip()
    if len(key) < 32:
        raise ImproperlyConfigured("The file log-seal-key in the data directory holds no key of 32 characters.")
    return key
