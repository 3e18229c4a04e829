"""Measures whether an index for the free-text search of the authentication log would pay.

    python -m benchmarks.text_search [--entries 5000000] [--only sqlite|postgresql] [--markdown]

Run it with `make bench-search`. The search finds a part of four texts. The portal has no index for it: a page searches
25,000 entries and then offers to continue (`core/db/keyset.py`). This compares it with a search of the whole log, with
and without an index of all groups of three letters: GIN with pg_trgm on PostgreSQL, FTS5 with its trigram tokenizer on
SQLite. Such an index also has to be written with each entry, and to be cleaned when entries are removed.
"""

import argparse
import sqlite3
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import report, servers
from benchmarks.big_log import entries
from benchmarks.big_log.experiments import GROUPS_HEAD, ORGANIZATION, Filling, NewEntries, tokens, write_groups
from benchmarks.big_log.progress import clock, milliseconds, step

# The second has no index for searches: both are written in turns, so that other work on the machine affects both.
TABLE, WITHOUT_INDEX, INDEX = "log", "plain", "search"
TEXTS = ("target", "token_name", "user_agent", "owner_email")
# As MAX_SEARCHED in core/db/keyset.py.
MAX_SEARCHED = 25_000
RARE = "rare-needle"
NEEDLES = {
    "found three times": RARE,
    "found in an entry of 100": "pipelines/77",
    "found in every second entry": "python",
    "not found": "not to be found",
}
HEAD = ["search, ms", f"{MAX_SEARCHED:,} entries", "whole log", "whole log with index"]
Rows = list[list[str]]


class Database(ABC):
    """A plain table like the log, filled and searched as on this database."""

    vendor: str
    connection: Any
    # The condition that a text contains the needle, as the portal writes it.
    contains: str
    mark: str

    @abstractmethod
    def sizes(self) -> tuple[int, int]:
        """Bytes of a table with its other indexes, and of the index for searches."""

    @abstractmethod
    def create_index(self) -> None: ...

    @abstractmethod
    def write_group(self, table: str, group: list[dict[str, Any]]) -> None: ...

    @abstractmethod
    def hurry(self) -> None:
        """Writes much at once, and without waiting for the disk."""

    @abstractmethod
    def slow_down(self) -> None:
        """Settings as the portal's, and statistics of the tables."""

    def run(self, query: str, parameters: Sequence[Any] = ()) -> list[Any]:
        # Without parameters, psycopg leaves percent signs alone.
        cursor = self.connection.execute(query, *([parameters] if parameters else []))
        return list(cursor.fetchall()) if cursor.description else []

    def fill(self, filling: Filling) -> None:
        self.run(entries.tokens_table(self.vendor))
        marks = ", ".join([self.mark] * len(entries.TOKEN_COLUMNS))
        self.connection.cursor().executemany(
            f"INSERT INTO {entries.TOKENS_TABLE} VALUES ({marks})",  # noqa: S608
            tokens(),
        )
        self.create_table(TABLE)
        for statement in filling.batches(self.vendor, TABLE):
            self.run(statement)
        places = ", ".join(str(filling.count * part // 4) for part in (1, 2, 3))
        self.run(f"UPDATE {TABLE} SET target = '/api/v1/pipelines/{RARE}' WHERE id IN ({places})")  # noqa: S608
        self.create_indexes(TABLE)

    def create_table(self, table: str) -> None:
        columns = entries.log_columns(self.vendor)
        self.run(f"CREATE TABLE {table} ({columns.replace('NOT NULL', 'PRIMARY KEY', 1)})")

    def create_indexes(self, table: str) -> None:
        for column in ("owner_id", "token_id", "organization_id"):
            self.run(f"CREATE INDEX {table}_{column} ON {table} ({column}, at DESC, id DESC)")

    def copy(self) -> None:
        self.create_table(WITHOUT_INDEX)
        self.run(f"INSERT INTO {WITHOUT_INDEX} SELECT * FROM {TABLE}")  # noqa: S608
        self.create_indexes(WITHOUT_INDEX)

    def search(self, needle: str, *, since: Any = None) -> list[Any]:
        """A page of the organization's log: of all entries, or of those since this time."""
        condition = " OR ".join(self.contains.format(text) for text in TEXTS)
        limit = f"AND at >= {self.mark}" if since else ""
        query = (
            f"SELECT * FROM {TABLE} WHERE organization_id = {self.mark} {limit} AND ({condition}) "  # noqa: S608
            "ORDER BY at DESC, id DESC LIMIT 51"
        )
        parameters = [self.organization, *([since] if since else []), *[f"%{needle}%"] * len(TEXTS)]
        return self.run(query, parameters)

    def search_by_index(self, needle: str) -> list[Any]:
        return self.search(needle)

    @property
    def organization(self) -> Any:
        return ORGANIZATION

    def start_of_window(self) -> Any:
        query = (
            f"SELECT at FROM {TABLE} WHERE organization_id = {self.mark} "  # noqa: S608
            f"ORDER BY at DESC, id DESC LIMIT 1 OFFSET {MAX_SEARCHED}"
        )
        found = self.run(query, [self.organization])
        return found[0][0] if found else None

    def new_entries(self) -> NewEntries:
        rows = self.run(f"SELECT * FROM {TABLE} ORDER BY id DESC LIMIT 16")  # noqa: S608
        return NewEntries(rows, rows[0][0])


class PostgreSQL(Database):
    vendor = "postgresql"
    contains = "UPPER({}) LIKE UPPER(%s)"
    mark = "%s"

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        # Django sends its parameters in the text of the statement, so the planner knows them.
        self.connection.cursor_factory = psycopg.ClientCursor

    def hurry(self) -> None:
        self.run("SET synchronous_commit = off")
        self.run("SET maintenance_work_mem = '1GB'")

    def slow_down(self) -> None:
        self.run("RESET synchronous_commit")
        self.run("VACUUM (ANALYZE)")
        self.run("CHECKPOINT")

    def create_index(self) -> None:
        self.run("CREATE EXTENSION pg_trgm")
        columns = ", ".join(f"UPPER({text}) gin_trgm_ops" for text in TEXTS)
        self.run(f"CREATE INDEX {INDEX} ON {TABLE} USING gin ({columns})")

    def sizes(self) -> tuple[int, int]:
        [(total, index)] = self.run(f"SELECT pg_total_relation_size('{TABLE}'), pg_relation_size('{INDEX}')")
        return total - index, index

    def write_group(self, table: str, group: list[dict[str, Any]]) -> None:
        mark = f"({', '.join(['%s'] * len(entries.COLUMNS))})"
        self.run(
            f"INSERT INTO {table} ({', '.join(entries.COLUMNS)}) VALUES {', '.join([mark] * len(group))}",  # noqa: S608
            [value for row in group for value in row.values()],
        )


class SQLite(Database):
    vendor = "sqlite"
    contains = r"{} LIKE ? ESCAPE '\'"
    mark = "?"

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.run("PRAGMA journal_mode=WAL")
        self.run("PRAGMA synchronous=FULL")

    @property
    def organization(self) -> Any:
        return str(ORGANIZATION)

    def hurry(self) -> None:
        self.run("PRAGMA synchronous=OFF")
        self.run("PRAGMA cache_size=-1000000")

    def slow_down(self) -> None:
        self.run("PRAGMA analysis_limit=1000")
        self.run("ANALYZE")
        self.run("PRAGMA wal_checkpoint(TRUNCATE)")
        self.run("PRAGMA synchronous=FULL")
        self.run("PRAGMA cache_size=-1400")

    def create_index(self) -> None:
        texts = ", ".join(TEXTS)
        self.run(
            f"CREATE VIRTUAL TABLE {INDEX} "
            f"USING fts5({texts}, content='{TABLE}', content_rowid='id', tokenize='trigram')"
        )
        self.run(f"INSERT INTO {INDEX}({INDEX}) VALUES ('rebuild')")  # noqa: S608

    def search_by_index(self, needle: str) -> list[Any]:
        """Newest first by ``rowid``: FTS5 returns them in this order without sorting."""
        query = (
            f"SELECT {TABLE}.* FROM {INDEX} JOIN {TABLE} ON {TABLE}.id = {INDEX}.rowid "  # noqa: S608
            f"WHERE {INDEX} MATCH ? AND organization_id = ? ORDER BY {INDEX}.rowid DESC LIMIT 51"
        )
        return self.run(query, [f'"{needle}"', self.organization])

    def sizes(self) -> tuple[int, int]:
        [(total, index)] = self.run(
            f"SELECT sum(pgsize), sum(pgsize * (name LIKE '{INDEX}%')) FROM dbstat "  # noqa: S608
            f"WHERE aggregate = TRUE AND name NOT LIKE '{WITHOUT_INDEX}%'"
        )
        return total - index, index

    def write_group(self, table: str, group: list[dict[str, Any]]) -> None:
        rows = [[*map(_stored, row.values())] for row in group]
        marks, texts = ", ".join(["?"] * len(entries.COLUMNS)), ("id", *TEXTS)
        self.run("BEGIN IMMEDIATE")
        self.connection.executemany(
            f"INSERT INTO {table} ({', '.join(entries.COLUMNS)}) VALUES ({marks})",  # noqa: S608
            rows,
        )
        if table == TABLE:
            self.connection.executemany(
                f"INSERT INTO {INDEX} (rowid, {', '.join(TEXTS)}) VALUES (?, ?, ?, ?, ?)",  # noqa: S608
                [[row[name] for name in texts] for row in group],
            )
        self.run("COMMIT")


def _stored(value: object) -> object:
    return value if isinstance(value, int) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(prog="text_search", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--entries", type=int, default=5_000_000)
    parser.add_argument("--only", choices=["sqlite", "postgresql"], help="measure only this database")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    options = parser.parse_args()
    servers.end_cleanly_on_sigterm()
    names = [name for name in servers.databases() if options.only in {None, name.lower()}]
    if not names:
        sys.exit("PostgreSQL does not answer on its default local port.")
    report.print_list(report.machine(names), markdown=options.markdown)
    for name in names:
        with servers.directory_for_data() as directory, servers.empty_database(name) as url:
            database = SQLite(Path(directory) / "log.sqlite3") if name == "SQLite" else PostgreSQL(url)
            with closing(database.connection):
                tables = measure(database, options.entries)
        for title, rows in tables:
            report.print_table(f"{name}, {options.entries:,} entries: {title}", rows, markdown=options.markdown)


def measure(database: Database, count: int) -> list[tuple[str, Rows]]:
    database.hurry()
    with step(f"Filling {database.vendor}"):
        database.fill(Filling(count, datetime.now(UTC)))
    database.slow_down()
    with step("Searching without an index"):
        since = database.start_of_window()
        searches = {label: searched_without_index(database, needle, since) for label, needle in NEEDLES.items()}
    database.hurry()
    with step("Creating the index"):
        creating = clock(database.create_index)
    with step("Copying the table"):
        database.copy()
    database.slow_down()
    rest, index = database.sizes()
    with step("Searching with the index"):
        for label, needle in NEEDLES.items():
            searches[label].append(str(milliseconds(partial(database.search_by_index, needle))))
    with step("Writing without and with the index"):
        writing = written(database)
    space = [["", "MB", "seconds"], ["table and other indexes", f"{rest / 1e6:,.0f}", ""]]
    space.append(["index", f"{index / 1e6:,.0f}", f"{creating:,.0f}"])
    return [
        ("searching", [HEAD, *([label, *cells] for label, cells in searches.items())]),
        ("writing", writing),
        ("disk space", space),
    ]


def searched_without_index(database: Database, needle: str, since: Any) -> list[str]:
    works = partial(database.search, needle, since=since), partial(database.search, needle)
    return [str(milliseconds(work)) for work in works]


def written(database: Database) -> Rows:
    new = database.new_entries()
    tables = {"without index": WITHOUT_INDEX, "with index": TABLE}
    found = write_groups([partial(write_group, database, table, new) for table in tables.values()])
    rows = [[label, *groups.cells()] for label, groups in zip(tables, found, strict=True)]
    return [["groups of 16 entries", *GROUPS_HEAD], *rows]


def write_group(database: Database, table: str, new: NewEntries) -> None:
    database.write_group(table, new.next_group())


if __name__ == "__main__":
    main()
