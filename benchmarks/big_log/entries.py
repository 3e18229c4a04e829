"""SQL that fills a log, on SQLite and PostgreSQL. It knows no Django, so that plain tables get the same entries.

The database computes the entries from their numbers, because Python would be slower than the inserts. An entry's number
is its id. A fifth of all entries belong to the first token. The others come in bursts: four tokens at a time are used
eight times each, from one of two addresses for each token, so that a token has several uses on one day.
"""

from collections.abc import Iterator
from datetime import datetime

TOKENS_TABLE = "bench_tokens"
TOKEN_COLUMNS = (
    "number",
    "token_id",
    "token_name",
    "scope",
    "owner_id",
    "owner_email",
    "organization_id",
    "account",
    "is_ended",
)
BATCH = 250_000
# The first token's 50 addresses, and those of all other tokens.
BUSY_NETWORK, OTHER_NETWORK = "203.0.113.", "198.51.100."

_BUSY = "n % 5 = 0"
_BURST = "(n / 40 * 4 + n % 4)"
_AT = "({start} + n * {step})"
_STATUS = "CASE WHEN is_ended = 1 THEN '{ended}' WHEN n % 101 = 0 THEN '{refused}' ELSE '{allowed}' END"
_USUAL = {
    "number": f"CASE WHEN {_BUSY} THEN 0 ELSE {_BURST} * 7919 % {{tokens}} END",
    "ip": f"CASE WHEN {_BUSY} THEN '{BUSY_NETWORK}' || (n / 5 % 50) "
    f"ELSE '{OTHER_NETWORK}' || ((number * 2 + {_BURST} % 2) % 250) END",
}
# Each entry has another token or address than the others of its day.
_DISTINCT = {"number": "n % {tokens}", "ip": f"'{OTHER_NETWORK}' || (n % 251)"}

# The columns of the log, and how each is computed on PostgreSQL.
COLUMNS = {
    "id": "n",
    "request_id": f"(lpad(to_hex({_AT} / 1000), 12, '0') || '7' || lpad(to_hex(n % 4096), 3, '0') || '8' "
    "|| lpad(to_hex(n), 15, '0'))::uuid",
    "at": f"timestamptz 'epoch' + {_AT} * interval '1 microsecond'",
    **{name: name for name in TOKEN_COLUMNS[1:-1]},
    "method": "'GET'",
    "target": "'/api/v1/pipelines/' || (n % 1000)",
    "status": f"CAST({_STATUS.format(ended=401, refused=403, allowed=200)} AS integer)",
    "outcome": _STATUS.format(ended="refused", refused="refused", allowed="allowed"),
    "reason": _STATUS.format(ended="expired", refused="forbidden", allowed="ok"),
    "ip": "({ip})::inet",
    "user_agent": "CASE number % 4 WHEN 0 THEN 'python-httpx/0.28' WHEN 1 THEN 'curl/8.5.0' "
    "WHEN 2 THEN 'Go-http-client/2.0' ELSE 'python-requests/2.32' END",
    "duration_ms": "7",
    "service_id": "NULL::uuid",
}
_ON_SQLITE = COLUMNS | {
    "request_id": f"printf('%012x7%03x8%015x', {_AT} / 1000, n % 4096, n)",
    "at": f"strftime('%Y-%m-%d %H:%M:%S', {_AT} / 1000000, 'unixepoch') || printf('.%06d', {_AT} % 1000000)",
    "ip": "{ip}",
    "service_id": "NULL",
}
_NUMBERS = {
    "postgresql": "generate_series({first}::bigint, {last}::bigint) AS numbers(n)",
    "sqlite": "(WITH RECURSIVE numbers(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM numbers WHERE n < {last}) "
    "SELECT n FROM numbers) AS numbers",
}
# Types of the columns that are no text, for plain tables.
_TYPES = {
    "postgresql": {
        "id": "bigint",
        "at": "timestamptz",
        "ip": "inet",
        "status": "smallint",
        "duration_ms": "integer",
        "number": "integer",
        "is_ended": "integer",
        **dict.fromkeys(("request_id", "token_id", "owner_id", "organization_id", "service_id"), "uuid"),
    },
    "sqlite": {"id": "integer", "status": "integer", "duration_ms": "integer", "number": "integer"},
}


def tokens_table(vendor: str) -> str:
    """The statement that creates the table from which entries take their token, by its number from 0."""
    types = _TYPES[vendor]
    columns = ", ".join(f"{name} {types.get(name, 'text')}" for name in TOKEN_COLUMNS[1:])
    return f"CREATE TABLE {TOKENS_TABLE} (number integer PRIMARY KEY, {columns})"


def log_columns(vendor: str) -> str:
    """The columns of a plain table like the log, for CREATE TABLE. ``id`` has no constraint."""
    return ", ".join(f"{name} {_TYPES[vendor].get(name, 'text')} NOT NULL" for name in COLUMNS)


def insert(
    vendor: str,
    *,
    first: int,
    last: int,
    tokens: int,
    start: int,
    step: int,
    is_distinct: bool = False,
    table: str = "auditlog_tokenuse",
) -> str:
    """The statement that adds entries ``first`` to ``last``. Entry n is at ``start + n * step`` microseconds."""
    mix = _DISTINCT if is_distinct else _USUAL
    columns = COLUMNS if vendor == "postgresql" else _ON_SQLITE
    query = (
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(columns.values())} "  # noqa: S608
        f"FROM {_NUMBERS[vendor]} JOIN {TOKENS_TABLE} ON number = {mix['number']}"
    )
    return query.replace("{ip}", mix["ip"]).format(first=first, last=last, tokens=tokens, start=start, step=step)


def batches(first: int, last: int, size: int = BATCH) -> Iterator[tuple[int, int]]:
    for start in range(first, last + 1, size):
        yield start, min(start + size - 1, last)


def microseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)
