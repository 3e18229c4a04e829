"""Exports the filtered entries of a log as CSV or JSON Lines, of any size.

The database writes the lines. Model instances and serializers would write 20,000 rows a second; this writes several
hundred thousand. Columns have the names and the order of the fields in the API. The type of a field decides its format.
"""

import re
import threading
import time
import uuid
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, groupby, pairwise
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import F, Func, Model, QuerySet, TextField, Value
from django.db.models.functions import Coalesce
from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone
from django.utils.text import slugify
from rest_framework.serializers import BaseSerializer, ModelSerializer

from auditlog.models import NEWEST_FIRST
from core.db.two_threads import read_in_two_threads
from core.http.request_context import person_of

# Entries that one query reads. Each part has a query of its own, so that a slow client keeps no transaction open.
PART_SIZE = 10_000

CSV = "csv"
JSON_LINES = "jsonl"
CONTENT_TYPES = {CSV: "text/csv; charset=utf-8; header=present", JSON_LINES: "application/jsonl"}
# Without it, Excel reads a file as Windows-1252 and shows other letters than ASCII wrongly.
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# While a search finds nothing, something is sent at this interval. Clients and proxies close a silent connection, nginx
# after 60 seconds.
KEEP_ALIVE_SECONDS = 8.0
# CSV has no padding. So the last bytes of the data are held back, and sent one by one.
HELD_BACK = 100
# When the application raises, granian closes the connection and drops what it has not sent yet. It sends in a thread of
# its own, which needs a moment for the line that says that the file is not complete.
SENDING_SECONDS = 0.2
# JSON allows whitespace before a value.
_NOTHING = {CSV: b"", JSON_LINES: b" "}
# An unclosed quote in CSV, and invalid JSON.
INCOMPLETE = b'"This file is not complete: the portal failed while it was written. Export it again.'
# As many new tuples as start no search for garbage.
_FEW_ROWS = 500
# Fields that can contain commas, quotes or line breaks.
QUOTED = frozenset({"CharField", "JSONField"})
FORMATS = [(CSV, "CSV"), (JSON_LINES, "JSON Lines")]


# An export occupies a thread and two database connections until the client has received all of it. Most stay free.
AT_ONCE = max(2, settings.WEB_THREADS // 4)
TRY_AGAIN_SECONDS = 30
_places = threading.BoundedSemaphore(AT_ONCE)


class TooManyExports(Exception):
    """This web process is writing as many exports as it may at the same time."""


class _Held:
    """The content of an export. Ends it and frees its place when the server closes it, whether it was sent or not."""

    def __init__(self, content: Generator[bytes]) -> None:
        self._content = content
        self._places = _places
        self._is_held = self._places.acquire(blocking=False)
        if not self._is_held:
            raise TooManyExports

    def __iter__(self) -> Iterator[bytes]:
        return self._content

    def close(self) -> None:
        """A part that is being read at this moment is waited for, so that its connection is free before its place."""
        if self._is_held:
            self._is_held = False
            try:
                # Another thread may be reading it just now.
                with suppress(ValueError):
                    self._content.close()
            finally:
                self._places.release()

    __del__ = close


class IdText(Func):
    """A UUID with its hyphens, which SQLite keeps without them."""

    output_field = TextField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        parts = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))
        template = " || '-' || ".join(f"substr(%(expressions)s, {start}, {length})" for start, length in parts)
        return self.as_sql(compiler, connection, template=f"({template})", **context)

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="(%(expressions)s)::text", **context)


class MomentText(Func):
    """A time as the API writes it: ISO 8601, UTC, with microseconds if they are not 0."""

    output_field = TextField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="replace(%(expressions)s, ' ', 'T') || 'Z'", **context)

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = (
            """replace(to_char(%(expressions)s AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '.000000', '')"""
        )
        return self.as_sql(compiler, connection, template=template, **context)


_FORMULA = re.compile(r"""[ "']*[=+\-@＝＋－＠\t\r\n]""")


def harmless_text(text: str) -> str:
    """`HarmlessText` for a text that the database doesn't write."""
    return f"'{text}" if _FORMULA.match(text) else text


class HarmlessText(Func):
    """A text that no spreadsheet interprets as a formula: an apostrophe is added before one that could be.

    Excel ignores spaces and quotes before the sign, and accepts full-width signs (OWASP, "CSV Injection"). The first
    comparisons are a shortcut for most texts: no such sign lies between the slash and the equals sign, or between "A"
    and the full-width plus.
    """

    output_field = TextField()
    template = (
        "CASE WHEN (%(expressions)s >= 'A' %(bytewise)s AND %(expressions)s < '＋' %(bytewise)s) "
        "OR (%(expressions)s >= '/' %(bytewise)s AND %(expressions)s < '=' %(bytewise)s) THEN %(expressions)s "
        "WHEN substr(ltrim(%(expressions)s, ' \"'''), 1, 1) "
        "IN ('=', '+', '-', '@', '＝', '＋', '－', '＠', '\t', '\r', '\n') "
        "THEN '''' || %(expressions)s ELSE %(expressions)s END"
    )

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, bytewise="COLLATE BINARY", **context)

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, bytewise='COLLATE "C"', **context)


def response(
    request: HttpRequest,
    entries: QuerySet[Any],
    *,
    searched: QuerySet[Any] | None,
    serializer_class: type[ModelSerializer[Any]],
    file_format: str,
    is_own: bool,
    has_mark: bool = False,
) -> StreamingHttpResponse:
    """``entries`` as a file, newest first.

    ``searched``: see ``Keyset.page``. ``is_own``: the file name says that it is the person's own log. ``has_mark``: CSV
    starts with a byte order mark, for Excel.

    If an error occurs in the middle, the file must not look complete. It ends with a line that no program reads as
    data. Then the error is raised, so that the web server closes the connection before the end of the answer: HTTP
    clients report that too. Raises ``TooManyExports``.
    """
    log = slugify(entries.model._meta.verbose_name_plural)
    account = person_of(request).organization.slug  # type: ignore[union-attr]
    name = f"{'my-' if is_own else ''}{log}-{account}-{timezone.now():%Y-%m-%d}.{file_format}"
    parts = NEWEST_FIRST.parts(entries, searched=entries if searched is None else searched, size=PART_SIZE)
    sources = dict(_sources_of(serializer_class()))
    lines = read_in_two_threads(partial(_readable_lines, sources=sources, file_format=file_format), parts)
    head = csv_head([name.replace(".", "_") for name in sources], has_mark=has_mark) if file_format == CSV else b""
    return file_response(request, lines, name=name, file_format=file_format, head=head)


def _sources_of(serializer: BaseSerializer[Any], before: str = "") -> Iterator[tuple[str, str]]:
    """The columns, and where the database has their values. An object has a column for each of its fields, which JSON
    Lines joins again: `service.id`."""
    for name, field in serializer.fields.items():  # type: ignore[attr-defined]
        if isinstance(field, BaseSerializer):
            yield from _sources_of(field, f"{before}{name}.")
        else:
            yield f"{before}{name}", str(field.source).replace(".", "__")


def csv_head(columns: Iterable[str], *, has_mark: bool) -> bytes:
    """The first line of a CSV file."""
    return (BYTE_ORDER_MARK if has_mark else b"") + ",".join(columns).encode() + b"\r\n"


def file_response(
    request: HttpRequest, lines: Iterable[bytes], *, name: str, file_format: str, head: bytes = b""
) -> StreamingHttpResponse:
    """A file with ``head`` and ``lines``, which are read while they are sent. What ``response`` says about errors
    applies to it. Raises ``TooManyExports``.
    """
    content = _content(lines, head, file_format)
    return StreamingHttpResponse(
        _Held(content) if request.method != "HEAD" else [],
        headers={
            "Content-Type": CONTENT_TYPES[file_format],
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            # nginx would otherwise wait until its buffer is full.
            "X-Accel-Buffering": "no",
        },
    )


def _content(parts: Iterable[bytes], head: bytes, file_format: str) -> Generator[bytes]:
    """``parts`` have the lines of the file; an empty part says that a search goes on."""
    if head:
        yield head[:-HELD_BACK]
    held = head[-HELD_BACK:]
    sent_at = time.monotonic()
    try:
        for lines in parts:
            if lines:
                held += lines
                send, held = held[:-HELD_BACK], held[-HELD_BACK:]
            elif time.monotonic() - sent_at >= KEEP_ALIVE_SECONDS:
                send, held = held[:1] or _NOTHING[file_format], held[1:]
            else:
                continue
            if send:
                yield send
            sent_at = time.monotonic()
    except Exception:
        yield held + INCOMPLETE
        time.sleep(SENDING_SECONDS)
        raise
    if held:
        yield held


def _readable_lines(part: QuerySet[Any], sources: dict[str, str], file_format: str) -> bytes:
    """The lines of a part. On SQLite, cells that can't be written are empty (null), and invalid UTF-8 is replaced."""
    try:
        return _lines(part, sources, file_format)
    except DatabaseError:
        if connection.vendor != "sqlite":
            raise
        return _lines(part, sources, file_format, is_careful=True)


def _lines(part: QuerySet[Any], sources: dict[str, str], file_format: str, *, is_careful: bool = False) -> bytes:
    if connection.vendor == "sqlite" and file_format == CSV and not is_careful:
        return _sqlite_csv(part, sources)
    # Each field is formatted once, even if several columns contain it. The limit keeps databases from formatting it
    # again for each column, and from losing the order. It must not cut: entries may have arrived since the end of the
    # part was found, and the next part begins after that end.
    cells = {f"cell_{source}": _cell(part, source, file_format) for source in sources.values()}
    select, params = part.annotate(**cells).values_list(*cells)[: 10 * PART_SIZE].query.sql_with_params()
    line, end = _line(part, sources, file_format), "\r\n" if file_format == CSV else "\n"
    if is_careful:
        select, line = f"SELECT {_writable_cells(part, sources)} FROM ({select})", f"CAST({line} AS blob)"  # noqa: S608
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # One text for the whole part: the driver needs longer for 10,000 rows than the server to write them. The
            # server joins them in the order of the subquery (PostgreSQL, "Aggregate Functions").
            cursor.execute(f"SELECT string_agg({line} || %s, '') FROM ({select}) AS cells", [end, *params])  # noqa: S608
            [[lines]] = cursor.fetchall()
            return (lines or "").encode()
        cursor.execute(f"SELECT {line} FROM ({select}) AS cells", params)  # noqa: S608
        if is_careful:
            return b"".join([line + end.encode() for (line,) in cursor]).decode(errors="replace").encode()
        return "".join([f"{line}{end}" for (line,) in cursor]).encode()


def _sqlite_csv(part: QuerySet[Any], sources: dict[str, str]) -> bytes:
    """SQLite writes the texts between the ids, and Python the ids: most of them occur many times, and SQLite needs half
    of its time to cut and join them."""
    pieces = {f"piece_{number}": piece for number, piece in enumerate(_sqlite_pieces(part, sources))}
    select, params = part.annotate(**pieces).values_list(*pieces)[: 10 * PART_SIZE].query.sql_with_params()
    ids = _Ids()
    names = [str(piece.name) if isinstance(piece, F) else None for piece in pieces.values()]  # type: ignore[attr-defined]
    texts = [_texts_of(part, name, sources, ids) if name else None for name in names]
    with connection.cursor() as cursor:
        cursor.execute(select, params)
        return "".join([_joined(rows, texts) for rows in iter(partial(cursor.fetchmany, _FEW_ROWS), [])]).encode()


def _joined(rows: list[tuple[Any, ...]], texts: list["_Ids | None"]) -> str:
    columns = zip(*rows, strict=True)
    written = [
        column if each is None else map(each.__getitem__, column) for each, column in zip(texts, columns, strict=True)
    ]
    return "".join(chain.from_iterable(zip(*written, strict=True)))


def _texts_of(part: QuerySet[Any], source: str, sources: dict[str, str], ids: "_Ids") -> "_Ids":
    """How the ids of a column are written: with the columns of their rows, if the file has some."""
    relation = part.model._meta.get_field(source).name
    names = [other.removeprefix(f"{relation}__") for other in sources.values() if other.startswith(f"{relation}__")]
    return _RelatedRows(part.model._meta.get_field(relation).related_model, names) if names else ids


class _Ids(dict[str | None, str]):
    """The ids of a part, as SQLite stores them and as they are written."""

    def __missing__(self, stored: str | None) -> str:
        text = self[stored] = (
            f"{stored[:8]}-{stored[8:12]}-{stored[12:16]}-{stored[16:20]}-{stored[20:]}" if stored else ""
        )
        return text


class _RelatedRows(_Ids):
    """The ids of a relation, and after them the columns of its rows, which are few. Joining them to each entry would
    take longer than everything else."""

    def __init__(self, model: type[Model], names: list[str]) -> None:
        super().__init__()
        self._model, self._names = model, names

    def __missing__(self, stored: str | None) -> str:
        values = self._values(stored) or [""] * len(self._names)
        cells = (
            '"' + harmless_text(value).replace('"', '""') + '"' if self._is_quoted(name) else value
            for name, value in zip(self._names, values, strict=True)
        )
        text = self[stored] = ",".join([super().__missing__(stored), *cells])
        return text

    def _values(self, stored: str | None) -> Sequence[str] | None:
        """``None`` if there is no such row."""
        try:
            pk = uuid.UUID(stored)
        except (AttributeError, TypeError, ValueError):
            return None
        row: Sequence[str] | None = self._model._base_manager.filter(pk=pk).values_list(*self._names).first()
        return row

    def _is_quoted(self, name: str) -> bool:
        return self._model._meta.get_field(name).get_internal_type() in QUOTED


def _sqlite_pieces(part: QuerySet[Any], sources: dict[str, str]) -> Iterator[F | Func]:
    """The pieces of a line: an id, or a text with everything between two ids."""
    formats: list[str] = []
    values: list[Any] = []
    for source in sources.values():
        kind = _kind(part, source)
        if kind == "UUIDField":
            if formats:
                yield _text_of(formats, values, end=",")
            yield F(source)
            formats, values = [""], []
        elif "__" not in source:
            # %w doubles the quotes in a text; %s writes an empty string for null.
            formats.append('"%w"' if kind in QUOTED else "%s")
            values.append(_cell(part, source, CSV))
    yield _text_of(formats, values, end="\r\n")


def _text_of(formats: list[str], values: list[Any], *, end: str) -> Func:
    return Func(Value(",".join(formats) + end), *values, function="printf", output_field=TextField())


def _writable_cells(part: QuerySet[Any], sources: dict[str, str]) -> str:
    """SQLite's functions for JSON fail with bytes and with invalid JSON."""
    cells = []
    for source in set(sources.values()):
        is_json = f" AND json_valid(cell_{source})" if _kind(part, source) == "JSONField" else ""
        cells.append(f"CASE WHEN typeof(cell_{source}) <> 'blob'{is_json} THEN cell_{source} END AS cell_{source}")
    return ", ".join(cells)


def _line(part: QuerySet[Any], sources: dict[str, str], file_format: str) -> str:
    """The SQL that joins the cells of a row to one text. It is made of names in the code."""
    kinds = {source: _kind(part, source) for source in sources.values()}
    if connection.vendor == "postgresql":
        return _postgresql_line(kinds, sources, file_format)
    if file_format == CSV:
        # %w doubles the quotes in a text; %s writes an empty string for null.
        formats = ",".join('"%%w"' if kinds[source] in QUOTED else "%%s" for source in sources.values())
        return f"printf('{formats}', {', '.join(f'cell_{source}' for source in sources.values())})"
    cells = {
        source: f"json(cell_{source})" if kind == "JSONField" else f"cell_{source}" for source, kind in kinds.items()
    }
    return _json(sources, cells, "json_object({})", "json({})")


def _json(sources: dict[str, str], cells: dict[str, str], whole: str, part: str) -> str:
    """The SQL of an object. One in it is null if its first value is. ``whole`` and ``part``: how the database makes an
    object of names and values, and how it takes one into another."""
    members = []
    for outer, columns in groupby(sources.items(), key=lambda column: column[0].partition(".")[0]):
        names, values = zip(*((name.partition(".")[2], cells[source]) for name, source in columns), strict=True)
        if not names[0]:
            members.append(f"'{outer}', {values[0]}")
            continue
        inner = ", ".join(f"'{name}', {value}" for name, value in zip(names, values, strict=True))
        made = f"CASE WHEN {values[0]} IS NOT NULL THEN {whole.format(inner)} END"
        members.append(f"'{outer}', {part.format(made)}")
    return whole.format(", ".join(members))


def _postgresql_line(kinds: dict[str, str], sources: dict[str, str], file_format: str) -> str:
    if file_format == JSON_LINES:
        as_they_are = {source: f"cell_{source}" for source in kinds}
        return f"{_json(sources, as_they_are, 'json_build_object({})', '{}')}::text"
    quotes = ['"' if kinds[source] in QUOTED else "" for source in sources.values()]
    cells = [
        f"""replace(cell_{source}::text, '"', '""')""" if quote else f"cell_{source}"
        for source, quote in zip(sources.values(), quotes, strict=True)
    ]
    # "concat" writes an empty string for null. Each argument takes time, so all text between two cells is one.
    before = [quotes[0], *(f"{left},{right}" for left, right in pairwise(quotes))]
    arguments = [f"'{text}', {cell}" for text, cell in zip(before, cells, strict=True)]
    return f"concat({', '.join(arguments)}, '{quotes[-1]}')"


def _cell(part: QuerySet[Any], source: str, file_format: str) -> Any:
    match _kind(part, source):
        case "UUIDField":
            return IdText(F(source))
        case "DateTimeField":
            return MomentText(F(source))
        case "CharField" if file_format == CSV and not _field(part, source).choices:
            text = HarmlessText(F(source))
            # SQLite would write "(NULL)" if there is no related row.
            return Coalesce(text, Value(""), output_field=TextField()) if "__" in source else text
    return F(source)


def _kind(part: QuerySet[Any], source: str) -> str:
    field = _field(part, source)
    return str((field.target_field if field.is_relation else field).get_internal_type())


def _field(part: QuerySet[Any], source: str) -> Any:
    model: Any = part.model
    *relations, name = source.split("__")
    for relation in relations:
        model = model._meta.get_field(relation).related_model
    return model._meta.get_field(name)
