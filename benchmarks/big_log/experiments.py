"""What experiments without Django share: plain tables like the log, and groups of entries as the portal writes them."""

import statistics
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from benchmarks.big_log import entries
from benchmarks.big_log.progress import WAITS_HEAD, Progress, clock, waits_cells
from core.db.uuid7 import uuid7

OWNERS, TOKENS_EACH, DAYS = 2_000, 5, 400
ORGANIZATION = uuid.UUID(int=1)
BUSY, USUAL = uuid.UUID(int=1000), uuid.UUID(int=1000 + OWNERS // 2)
# Entries that one statement of the portal writes under load.
GROUP = 16
ROUNDS, ROUND_SECONDS = 5, 2.0


def tokens() -> Iterator[tuple[object, ...]]:
    """The rows of ``entries.tokens_table``: the owner of the first has a fifth of all entries."""
    for number in range(OWNERS * TOKENS_EACH):
        owner = number // TOKENS_EACH
        token, person = str(uuid.uuid4()), str(uuid.UUID(int=1000 + owner))
        texts = f"token {number % 5}", "api", person, f"user{owner}@bench.example"
        yield (number, token, *texts, str(ORGANIZATION), "bench", 0)


@dataclass(frozen=True)
class Filling:
    """Entries of 400 days that end now."""

    count: int
    ends_at: datetime

    @property
    def step(self) -> int:
        return timedelta(days=DAYS) // timedelta(microseconds=1) // self.count

    def batches(self, vendor: str, table: str) -> Iterator[str]:
        """Statements that each add a part of the entries."""
        progress = Progress(f"Filling {table}", self.count)
        start = entries.microseconds(self.ends_at) - self.count * self.step
        for first, last in entries.batches(1, self.count):
            yield entries.insert(
                vendor, first=first, last=last, tokens=OWNERS * TOKENS_EACH, start=start, step=self.step, table=table
            )
            progress.add(last - first + 1)


@dataclass
class Groups:
    """Rows/s, and the wait for a group in ms, of groups of 16 entries with a commit each."""

    rates: list[float]
    waits: list[float]

    def cells(self) -> list[str]:
        return [f"{statistics.median(self.rates):,.0f}", *waits_cells(self.waits)]


GROUPS_HEAD = ["rows/s", *WAITS_HEAD]


def write_groups(writers: Sequence[Callable[[], None]]) -> list[Groups]:
    """Lets each write groups, in rounds of two seconds that alternate."""
    found = [Groups([], []) for _ in writers]
    for _ in range(ROUNDS):
        for write, groups in zip(writers, found, strict=True):
            write_round(write, groups)
    return found


def write_round(write: Callable[[], None], groups: Groups) -> None:
    started_at, written = time.perf_counter(), 0
    while (seconds := time.perf_counter() - started_at) < ROUND_SECONDS:
        groups.waits.append(clock(write) * 1000)
        written += GROUP
    groups.rates.append(written / seconds)


class NewEntries:
    """Rows for groups: copies of 16 entries, with new ids and the time of now."""

    def __init__(self, rows: Sequence[Sequence[object]], last_id: int) -> None:
        self._rows, self._id = [dict(zip(entries.COLUMNS, row, strict=True)) for row in rows], last_id

    def next_group(self) -> list[dict[str, object]]:
        group = []
        for row in self._rows:
            self._id += 1
            group.append({**row, "id": self._id, "request_id": uuid7(), "at": datetime.now(UTC)})
        return group
