"""The blocks of a chain: how one is built and read, and which entries a ``pruned`` block allows to be missing."""

import hashlib
import struct
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache

from django.db.models import BigIntegerField, QuerySet
from django.db.models.functions import Cast
from django.utils import timezone

from auditlog.models import Seal
from auditlog.seals.entries import EPOCH, Row, moment_of, organization_key
from auditlog.seals.macs import EntryMac, block_mac, is_genuine
from core.db.unreadable import UNREADABLE

# One entry in a block: its id, its time in microseconds since 1970, the index of its organization in the sorted keys of
# the block's ``newest``, and the first half of its MAC. This is all that is known about an entry that is gone.
RECORD = struct.Struct(">qqH16s")

# One entry in a block of kind ``erased``: its id, and its MAC since then.
ERASED_RECORD = struct.Struct(">q16s")

# Used in the first block as the MAC of the previous block.
NO_BLOCK = "0" * 64

_MICROSECOND = timedelta(microseconds=1)


class ChainBroken(Exception):
    """The last block was not sealed with this installation's key, so no block is added to it."""


def last_block(log: Seal.Log) -> Seal | None:
    """The newest block, without its records. Raises ``ChainBroken``."""
    found = load_blocks(Seal.objects.filter(log=log).defer("entries").order_by("-number")[:1])
    if not found:
        return None
    if not is_genuine(found[0]):
        raise ChainBroken(f"{found[0]} was not sealed with this installation's key (LOG_SEAL_KEY, or log-seal-key).")
    return found[0]


def block_after(
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
        # The first block covers all ids from 1, not only from its oldest entry: nothing can be inserted before it.
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


def pack(log: Seal.Log, rows: Sequence[Row]) -> tuple[bytes, dict[str, str]]:
    """The records of the entries, and the newest time of each organization."""
    newest: dict[str, datetime] = {}
    for row in rows:
        organization, at = organization_key(row[2]), moment_of(row)
        newest[organization] = max(at, newest.get(organization, at))
    places = {organization: place for place, organization in enumerate(sorted(newest))}
    mac = EntryMac(log)
    records = b"".join(
        RECORD.pack(row[0], (moment_of(row) - EPOCH) // _MICROSECOND, places[organization_key(row[2])], mac(row))
        for row in rows
    )
    return records, {organization: moment.isoformat() for organization, moment in newest.items()}


def has_its_records(block: Seal) -> bool:
    return hashlib.sha256(block.entries or b"").hexdigest() == block.entries_digest


def moment_in(record: Row) -> datetime:
    return EPOCH + int(record[1]) * _MICROSECOND


def load_blocks(blocks: QuerySet[Seal]) -> list[Seal]:
    """Reads the blocks. One with unreadable values is replaced by a block of the same number that is not genuine."""
    try:
        found = list(blocks)
    except UNREADABLE:
        deferred, _ = blocks.query.deferred_loading
        found = [_load_one(pk, deferred) for pk in blocks.values_list("pk", flat=True)]
    return [block if _can_be_read(block) else _stand_in(block.pk) for block in found]


def _load_one(pk: int, deferred: Iterable[str]) -> Seal:
    try:
        return Seal.objects.defer(*deferred).get(pk=pk)
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
    """SQLite stores values of any type in any column."""
    read = vars(block)
    return all(isinstance(read[name], types) for name, types in _TYPES.items() if name in read)


def _stand_in(pk: int) -> Seal:
    # SQLite makes a number of anything, also of text that Python cannot read.
    numbers = [Cast(name, BigIntegerField()) for name in ("number", "first_id", "last_id")]
    [(log, number, first_id, last_id)] = Seal.objects.filter(pk=pk).values_list("log", *numbers)
    return Seal(pk=pk, log=log, number=number, first_id=first_id, last_id=last_id, newest={})


class Rewritten:
    """The MACs that entries have since the names of a person in them were replaced: of all ``erased`` blocks.

    Only the ranges of the blocks are kept. The records of the last few are remembered, because entries that were
    written together were mostly replaced together.
    """

    def __init__(self) -> None:
        # Block and digest of its records, lowest and highest id of an entry; the newest block first.
        self._blocks: list[tuple[int, str, int, int]] = []

    def add(self, block: Seal, *, is_newest: bool = False) -> None:
        ids = [record[0] for record in ERASED_RECORD.iter_unpack(block.entries or b"")]
        if ids:
            self._blocks.insert(
                0 if is_newest else len(self._blocks), (block.pk, block.entries_digest, min(ids), max(ids))
            )

    def within(self, first_id: int, last_id: int) -> dict[int, bytes]:
        """By id of the entry. If it was replaced twice, the last one."""
        found: dict[int, bytes] = {}
        for pk, digest, lowest, highest in self._blocks:
            if lowest <= last_id and highest >= first_id:
                for entry_id, mac in _erased_records(pk, digest):
                    if first_id <= entry_id <= last_id:
                        found.setdefault(entry_id, mac)
        return found


@lru_cache(maxsize=8)
def _erased_records(pk: int, digest: str) -> list[tuple[int, bytes]]:
    """The records of an ``erased`` block, which has this digest of them."""
    block = Seal.objects.only("entries").get(pk=pk)
    return [(entry_id, mac) for entry_id, mac in ERASED_RECORD.iter_unpack(block.entries or b"")]


class Cutoffs:
    """For each organization, the time before which entries may be missing: the sum of all ``pruned`` blocks.

    A ``pruned`` block is about the blocks before it, so read the chain from its end.
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
