"""Disk space of the authentication log: its table and each of its indexes."""

from django.db import connection

from auditlog.models import TokenUse
from benchmarks.big_log.results import Rows

TABLE = TokenUse._meta.db_table
_QUERY = {
    # dbstat knows the pages of each table and index. It adds up their bytes in 32 bits, too few for 20 million entries.
    "sqlite": "SELECT m.type = 'index', m.name, sum(s.pageno * p.page_size) FROM sqlite_schema m "
    "JOIN dbstat s ON s.name = m.name JOIN pragma_page_size p WHERE m.tbl_name = %s AND s.aggregate = TRUE "
    "GROUP BY m.name",
    "postgresql": "SELECT false, %s, pg_table_size(t.oid) FROM (SELECT %s::regclass AS oid) t UNION ALL "
    "SELECT true, indexrelid::regclass::text, pg_relation_size(indexrelid) FROM pg_index WHERE indrelid = %s::regclass",
}


def sizes() -> dict[str, int]:
    """Bytes of the table, and of each index."""
    query = _QUERY[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(query, [TABLE] * query.count("%s"))
        return {("  index " if is_index else "") + name: int(size) for is_index, name, size in cursor.fetchall()}


def total() -> int:
    """Bytes of the whole database."""
    query = {
        "sqlite": "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
        "postgresql": "SELECT pg_database_size(current_database())",
    }
    with connection.cursor() as cursor:
        cursor.execute(query[connection.vendor])
        return int(cursor.fetchone()[0])


def table(entries: int) -> Rows:
    found = sizes()
    indexes = sum(size for name, size in found.items() if name != TABLE)
    rows = [("table", found[TABLE]), ("indexes", indexes)]
    rows += [(name, size) for name, size in sorted(found.items()) if name != TABLE]
    rows.append(("whole database", total()))
    return [
        ["", "MB", "MB per million entries"],
        *([name.strip(), f"{size / 1e6:,.0f}", f"{size / entries:,.0f}"] for name, size in rows),
    ]
