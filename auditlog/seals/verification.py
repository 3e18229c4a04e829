"""Verifies a log against its chain of blocks, from the end to the beginning.

A ``pruned`` block is about the blocks before it. Starting at the end, a log of any length is read once and in constant
memory.
"""

import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from auditlog.models import Seal
from auditlog.seals.blocks import (
    NO_BLOCK,
    RECORD,
    Cutoffs,
    Rewritten,
    has_its_records,
    load_blocks,
    moment_in,
)
from auditlog.seals.entries import LARGEST_ID, MODELS, Raw, Row, columns, first_entries, moment_of, read_entries
from auditlog.seals.known_heads import is_in_chain
from auditlog.seals.macs import EntryMac, is_genuine

BLOCKS_AT_ONCE = 20
# Entries are sealed within minutes. After this long, sealing has stopped.
LONGEST_UNSEALED = timedelta(hours=1)


@dataclass
class Verification:
    """Verifies one log. The counts grow while ``findings`` is read."""

    log: Seal.Log
    entries: int = 0
    pruned: int = 0
    # Of the proven entries, those in which the names of an erased person were replaced.
    erased: int = 0
    blocks: int = 0
    waiting: int = 0
    head: str = ""
    # Called after each block.
    progress: Callable[[], None] = lambda: None
    _cutoffs: Cutoffs = field(default_factory=Cutoffs)
    _rewritten: Rewritten = field(default_factory=Rewritten)
    _head_number: int = 0
    # The newest block whose cutoff is known.
    _read_until: int = 0
    _sealed_until: int = 0

    def findings(self, *, expected: Iterable[str] = ()) -> Iterator[str]:
        """Yields a sentence for each thing that differs from what was sealed.

        ``expected`` are earlier heads of this log, ``number:mac``. Raises ``KeyMissing``.
        """
        for head in expected:
            if not is_in_chain(self.log, head):
                number = head.partition(":")[0]
                yield f"Block {number} is not the one it was: the end of the chain was cut off or replaced."
        # SQLite can store text as a number, and text compares as greater than every number.
        if Seal.objects.filter(log=self.log, number__gte=LARGEST_ID).exists():
            yield "A block has no number."
        after: Seal | None = None
        for block in self._blocks_from_the_end():
            yield from self._check_place(block, after)
            yield from self._check_block(block)
            self.blocks += 1
            self.progress()
            after = block
        yield from self._check_beginning(after)
        yield from self._check_waiting()

    def _blocks_from_the_end(self) -> Iterator[Seal]:
        blocks = Seal.objects.filter(log=self.log, number__lt=LARGEST_ID).order_by("-number")
        some = load_blocks(blocks[:BLOCKS_AT_ONCE])
        if some:
            self.head = f"{some[0].number}:{some[0].mac}"
            self._head_number = self._read_until = some[0].number
            self._sealed_until = some[0].last_id
        self.waiting = self._model.objects.filter(id__gt=self._sealed_until).count()
        while some:
            yield from some
            some = load_blocks(blocks.filter(number__lt=some[-1].number)[:BLOCKS_AT_ONCE])

    # The chain

    def _check_place(self, block: Seal, after: Seal | None) -> Iterator[str]:
        if after is None:
            return
        if block.number != after.number - 1:
            missing = _blocks(block.number + 1, after.number - 1)
            yield f"{missing} missing: nothing proves entries {block.last_id + 1} to {after.first_id - 1}."
        elif after.previous != block.mac or after.first_id != block.last_id + 1:
            yield f"Block {after.number} does not follow block {block.number}."

    def _check_beginning(self, first: Seal | None) -> Iterator[str]:
        if first is None:
            return
        if first.number > 1:
            yield f"{_blocks(1, first.number - 1)} missing: nothing proves entries 1 to {first.first_id - 1}."
        elif (first.previous, first.first_id) != (NO_BLOCK, 1):
            yield "Block 1 is not the beginning of a chain."
        for row in read_entries(self.log, -(2**63), 0):
            yield f"{self._name(row)} was inserted: its number is below the first block."

    def _check_waiting(self) -> Iterator[str]:
        # No higher number can be passed to a database: the last block may have been changed to any.
        after = min(self._sealed_until, LARGEST_ID - 1)
        for row in first_entries(self.log, after + 1, LARGEST_ID, limit=1):
            # It may have been sealed while the chain was read.
            if abs(timezone.now() - moment_of(row)) > LONGEST_UNSEALED and not self._has_grown():
                yield f"{self._name(row)} has waited too long to be sealed: is the worker running?"

    def _has_grown(self) -> bool:
        return Seal.objects.filter(log=self.log, number__gt=self._head_number, number__lt=LARGEST_ID).exists()

    # Blocks

    def _check_block(self, block: Seal) -> Iterator[str]:
        if not is_genuine(block):
            yield f"Block {block.number} was changed or forged: nothing proves entries {_range(block)}."
        elif block.entries is None and not self._may_lose(block):
            yield f"Block {block.number} lost its records without being pruned: nothing proves entries {_range(block)}."
        elif block.entries is not None and not has_its_records(block):
            yield f"Block {block.number} has other records than were sealed: nothing proves entries {_range(block)}."
        elif block.kind == Seal.Kind.PRUNED:
            self._cutoffs.add(block)
        elif block.kind == Seal.Kind.ERASED:
            self._rewritten.add(block)
        else:
            yield from self._check_entries(block)

    def _check_entries(self, block: Seal) -> Iterator[str]:
        records = {record[0]: record for record in RECORD.iter_unpack(block.entries or b"")}
        entry_mac = EntryMac(self.log)
        rewritten = self._rewritten.within(block.first_id, block.last_id)
        for row in read_entries(self.log, block.first_id, block.last_id):
            record = records.pop(row[0], None)
            if record is None:
                yield f"{self._name(row)} was inserted."
                continue
            mac = entry_mac(row)
            if mac != rewritten.get(row[0], record[3]):
                # It may have been rewritten since the reading began.
                self._read_newer_blocks()
                rewritten = self._rewritten.within(block.first_id, block.last_id)
            if mac != rewritten.get(row[0], record[3]):
                yield f"{self._name(row)} was changed."
            else:
                self.entries += 1
                self.erased += row[0] in rewritten
                if isinstance(row[1], Raw):
                    yield f"{self._name(row)} cannot be read, and could not be read when it was sealed."
        if block.entries is None:
            self.pruned += block.count
        organizations = sorted(block.newest)
        for record in records.values():
            at, organization = moment_in(record), organizations[record[2]]
            if self._may_be_missing(organization, at):
                self.pruned += 1
            else:
                whose = f"organization {uuid.UUID(organization)}" if organization else "no organization"
                yield f"Entry {record[0]} of {_moment(at)}, {whose}, was removed."

    def _may_be_missing(self, organization: str, at: datetime) -> bool:
        if not self._cutoffs.cover(organization, at):
            self._read_newer_blocks()
        return self._cutoffs.cover(organization, at)

    def _may_lose(self, block: Seal) -> bool:
        if not self._cutoffs.cover_all_of(block):
            self._read_newer_blocks()
        return self._cutoffs.cover_all_of(block)

    def _read_newer_blocks(self) -> None:
        """Entries may have been pruned since the reading began; a ``pruned`` block is committed before that."""
        newer = Seal.objects.filter(log=self.log, number__gt=self._read_until).defer("entries")
        for block in load_blocks(newer.filter(number__lt=LARGEST_ID).order_by("number")):
            if block.kind == Seal.Kind.PRUNED and is_genuine(block):
                self._cutoffs.add(block)
            elif block.kind == Seal.Kind.ERASED and is_genuine(block) and has_its_records(block):
                self._rewritten.add(block, is_newest=True)
            self._read_until = block.number

    # Entries

    @property
    def _model(self) -> Any:
        return MODELS[self.log]

    def _name(self, row: Row) -> str:
        entry = dict(zip(columns(self._model), row, strict=True))
        if self.log == Seal.Log.AUTHENTICATION:
            description = f"{_id(entry['request_id'])}, {entry['owner_email']}, {entry['method']} {entry['target']}"
        else:
            description = f"{_id(entry['public_id'])}, {entry['actor_email']}, {entry['action']} {entry['target_name']}"
        return _printable(f"Entry {entry['id']} of {_moment(entry['at'])} ({description})")


def _printable(text: str) -> str:
    """Replaces unprintable characters: a forged entry must not add lines or colors on the operator's terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _blocks(first: int, last: int) -> str:
    return f"Block {first} is" if first == last else f"Blocks {first} to {last} are"


def _range(block: Seal) -> str:
    return f"{block.first_id} to {block.last_id}"


def _moment(at: datetime | Raw) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S.%f} UTC" if isinstance(at, datetime) else f"{at}"


def _id(value: Any) -> str:
    text = str(value)
    return str(uuid.UUID(text)) if re.fullmatch(r"[0-9a-f]{32}", text) else text
