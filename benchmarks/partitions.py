"""Compares the log in one table with the log in a partition for each month, on PostgreSQL.

    python -m benchmarks.partitions [--entries 20000000] [--markdown]

Run it with `make bench-partitions`. Both tables have the columns, the entries and the indexes of the log.

What partitions cost before any measurement: PostgreSQL enforces a unique key of a partitioned table only if it contains
the partition key. So the primary key becomes (id, at), and the unique request id (request_id, at). Two entries with the
same id and another time are not refused any more: ids stay unique because they come from one sequence, and request ids
because a UUIDv7 has 74 random bits. Partitioned by ranges of the request id, which begins with its time, its uniqueness
would be enforced, but no query with `at` would skip partitions. A month can only be dropped when no organization keeps
any of its entries, so organizations that keep less than the others still need DELETE.
"""

import argparse
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import psycopg

from benchmarks import report, servers
from benchmarks.big_log import entries
from benchmarks.big_log.experiments import (
    BUSY,
    DAYS,
    GROUPS_HEAD,
    ORGANIZATION,
    USUAL,
    Filling,
    NewEntries,
    tokens,
    write_groups,
)
from benchmarks.big_log.progress import Progress, clock, milliseconds, step

PLAIN, MONTHLY = "plain", "monthly"
TABLES = (PLAIN, MONTHLY)
DEPTHS = (0.0, 0.5, 0.95)
# As `auditlog/retention.py` does at most.
REMOVED_AT_ONCE = 2_000
OUT_OF_ORDER_BY = timedelta(hours=1)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Month:
    first: datetime

    @property
    def end(self) -> datetime:
        return (self.first + timedelta(days=32)).replace(day=1)

    @property
    def name(self) -> str:
        return f"{MONTHLY}_{self.first:%Y_%m}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="partitions", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--entries", type=int, default=20_000_000)
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    options = parser.parse_args()
    if "PostgreSQL" not in servers.databases():
        sys.exit("PostgreSQL does not answer on its default local port.")
    servers.end_cleanly_on_sigterm()
    machine = report.machine(["PostgreSQL"])
    with servers.empty_database("PostgreSQL") as url, psycopg.connect(url, autocommit=True) as connection:
        tables = measure(connection, options.entries)
    report.print_list(machine, markdown=options.markdown)
    for title, rows in tables:
        report.print_table(f"{options.entries:,} entries: {title}", rows, markdown=options.markdown)


def measure(connection: Connection, count: int) -> list[tuple[str, list[list[str]]]]:
    filling = Filling(count, datetime.now(UTC))
    months = list(months_of(filling.ends_at))
    with step("Filling"):
        create(connection, months)
        fill(connection, filling)
    parts: dict[str, Callable[[], list[list[str]]]] = {
        "disk space": lambda: disk_space(connection),
        "reading": lambda: reading(connection, count),
        "groups of 16 entries": lambda: inserting(connection),
        "removing the oldest month": lambda: removing(connection, months),
    }
    measured = []
    for title, part in parts.items():
        with step(title.capitalize()):
            measured.append((title, part()))
    return measured


def months_of(end: datetime) -> Iterator[Month]:
    """From that of the oldest entry to the one after the newest."""
    month = Month((end - timedelta(days=DAYS)).replace(day=1, hour=0, minute=0, second=0, microsecond=0))
    while month.first <= end + timedelta(days=31):
        yield month
        month = Month(month.end)


def create(connection: Connection, months: Sequence[Month]) -> None:
    columns = entries.log_columns("postgresql")
    connection.execute(entries.tokens_table("postgresql"))
    with connection.cursor().copy(f"COPY {entries.TOKENS_TABLE} FROM STDIN") as copy:
        for row in tokens():
            copy.write_row(row)
    connection.execute(f"CREATE TABLE {PLAIN} ({columns})")
    connection.execute(f"CREATE TABLE {MONTHLY} ({columns}) PARTITION BY RANGE (at)")
    for month in months:
        connection.execute(
            f"CREATE TABLE {month.name} PARTITION OF {MONTHLY} FOR VALUES FROM ('{month.first}') TO ('{month.end}')"
        )


def fill(connection: Connection, filling: Filling) -> None:
    connection.execute("SET synchronous_commit = off")
    connection.execute("SET maintenance_work_mem = '1GB'")
    for statement in filling.batches("postgresql", PLAIN):
        connection.execute(statement)
    with step("Copying into partitions"):
        connection.execute(f"INSERT INTO {MONTHLY} SELECT * FROM {PLAIN}")  # noqa: S608
    for table, extra in ((PLAIN, ""), (MONTHLY, ", at")):
        with step(f"Indexes of {table}"):
            connection.execute(f"ALTER TABLE {table} ADD PRIMARY KEY (id{extra}), ADD UNIQUE (request_id{extra})")
            for column in ("owner_id", "token_id", "organization_id"):
                connection.execute(f"CREATE INDEX ON {table} ({column}, at DESC, id DESC)")
    connection.execute("VACUUM (ANALYZE)")
    connection.execute("RESET ALL")


def disk_space(connection: Connection) -> list[list[str]]:
    rows = [["MB", *TABLES]]
    for label, function in (("table", "pg_table_size"), ("indexes", "pg_indexes_size")):
        query = f"SELECT sum({function}(oid)) FROM pg_class WHERE relkind = 'r' AND relname ~ '^{{}}'"  # noqa: S608
        sizes = [one(connection, query.format(table)) for table in TABLES]
        rows.append([label, *(f"{int(size) / 1e6:,.0f}" for size in sizes)])
    return rows


def reading(connection: Connection, count: int) -> list[list[str]]:
    rows = [["database ms", PLAIN, "fastest", MONTHLY, "fastest", "partitions read"]]
    found = list(pages(connection, count)) + list(lookups(connection, count))
    progress = Progress("Reading", len(found))
    for label, query, parameters in found:
        taken = [milliseconds(partial(all_of, connection, query.format(table), parameters)) for table in TABLES]
        read = partitions_read(connection, query.format(MONTHLY), parameters)
        rows.append([label, *(cell for ms in taken for cell in ms.cells()), str(read)])
        progress.add(1)
    return rows


def pages(connection: Connection, count: int) -> Iterator[tuple[str, str, list[Any]]]:
    """Pages of 50 as ``core.db.keyset`` reads them, and the limited count."""
    lists = {"page of a busy owner": ("owner_id", BUSY), "page of a usual owner": ("owner_id", USUAL)}
    lists["page of the organization"] = ("organization_id", ORGANIZATION)
    for label, (column, value) in lists.items():
        for depth in DEPTHS:
            at, number = position(connection, count, depth)
            query = (
                f"SELECT * FROM {{}} WHERE {column} = %s AND at <= %s AND NOT (at = %s AND id >= %s) "  # noqa: S608
                "ORDER BY at DESC, id DESC LIMIT 51"
            )
            yield f"{label}, {depth:.0%}", query, [value, at, at, number]
        limited = f"SELECT at, id FROM {{}} WHERE {column} = %s ORDER BY at DESC, id DESC LIMIT 10001"  # noqa: S608
        yield f"{label}, count up to 10,001", f"SELECT count(*) FROM ({limited}) AS rows", [value]  # noqa: S608


def lookups(connection: Connection, count: int) -> Iterator[tuple[str, str, list[Any]]]:
    request_id = one(connection, f"SELECT request_id FROM {PLAIN} WHERE id = {count // 2}")  # noqa: S608
    query = "SELECT * FROM {} WHERE request_id = %s"
    yield "entry by request id", query, [request_id]
    at = datetime.fromtimestamp((request_id.int >> 80) / 1000, UTC)
    between = [request_id, at - OUT_OF_ORDER_BY, at + OUT_OF_ORDER_BY]
    yield "entry by request id and the hours around its time", f"{query} AND at BETWEEN %s AND %s", between
    yield "no entry by request id", query, [uuid.uuid4()]


def position(connection: Connection, count: int, depth: float) -> tuple[datetime, int]:
    number = max(1, int(count * (1 - depth)))
    return one(connection, f"SELECT at FROM {PLAIN} WHERE id = {number}"), number  # noqa: S608


def partitions_read(connection: Connection, query: str, parameters: Sequence[Any]) -> int:
    """How many partitions the execution really reads."""
    plan = "\n".join(row[0] for row in all_of(connection, f"EXPLAIN (ANALYZE) {query}", parameters))
    read = {line.split(f" on {MONTHLY}_")[1][:7] for line in plan.splitlines() if is_read(line)}
    return len(read)


def is_read(line: str) -> bool:
    return f" on {MONTHLY}_" in line and "never executed" not in line and "Bitmap Index" not in line


def inserting(connection: Connection) -> list[list[str]]:
    last = one(connection, f"SELECT max(id) FROM {PLAIN}")  # noqa: S608
    template = all_of(connection, f"SELECT * FROM {PLAIN} ORDER BY id DESC LIMIT 16", [])  # noqa: S608
    new = NewEntries(template, last)
    found = write_groups([partial(write_group, connection, table, new) for table in TABLES])
    return [["", *GROUPS_HEAD], *([table, *cells.cells()] for table, cells in zip(TABLES, found, strict=True))]


def write_group(connection: Connection, table: str, new: NewEntries) -> None:
    group = new.next_group()
    mark = f"({', '.join(['%s'] * len(entries.COLUMNS))})"
    connection.execute(
        f"INSERT INTO {table} ({', '.join(entries.COLUMNS)}) VALUES {', '.join([mark] * len(group))}",  # noqa: S608
        [value for row in group for value in row.values()],
        prepare=True,
    )


def removing(connection: Connection, months: Sequence[Month]) -> list[list[str]]:
    """The first whole month: the log begins in the middle of the one before."""
    before, oldest = months[:2]
    connection.execute(f"DROP TABLE {before.name}")
    connection.execute(f"DELETE FROM {PLAIN} WHERE at < %s", [before.end])  # noqa: S608
    count = one(connection, f"SELECT count(*) FROM {oldest.name}")  # noqa: S608
    with step("Removing by DELETE"):
        deleting = clock(lambda: delete(connection, oldest, count))
        vacuuming = clock(lambda: connection.execute(f"VACUUM {PLAIN}"))
    detaching = clock(lambda: connection.execute(f"ALTER TABLE {MONTHLY} DETACH PARTITION {oldest.name} CONCURRENTLY"))
    dropping = clock(lambda: connection.execute(f"DROP TABLE {oldest.name}"))
    head = [f"{count:,} entries", "seconds", "entries/s"]
    steps = {
        f"{PLAIN}: DELETE in batches, without pauses": deleting,
        f"{PLAIN}: VACUUM afterwards": vacuuming,
        f"{MONTHLY}: DETACH CONCURRENTLY": detaching,
        f"{MONTHLY}: DROP TABLE": dropping,
    }
    return [head, *([label, f"{taken:.3f}", f"{count / taken:,.0f}"] for label, taken in steps.items())]


def delete(connection: Connection, month: Month, count: int) -> None:
    """As retention does: reads the ids by the organization's index, then deletes them."""
    progress = Progress("Removing", count)
    query = (
        f"SELECT id FROM {PLAIN} WHERE organization_id = %s AND at < %s "  # noqa: S608
        f"ORDER BY at, id LIMIT {REMOVED_AT_ONCE}"
    )
    while ids := [row[0] for row in all_of(connection, query, [ORGANIZATION, month.end])]:
        connection.execute(f"DELETE FROM {PLAIN} WHERE id = ANY(%s)", [ids])  # noqa: S608
        progress.add(len(ids))


def all_of(connection: Connection, query: str, parameters: Sequence[Any]) -> list[Any]:
    return connection.execute(query, parameters, prepare=False).fetchall()


def one(connection: Connection, query: str) -> Any:
    return all_of(connection, query, [])[0][0]


if __name__ == "__main__":
    main()
