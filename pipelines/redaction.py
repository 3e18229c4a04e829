"""Removes the secrets of a step from a server's response, in all common encodings.

The text is decoded in all ways that are likely (escapes of JSON and JavaScript, percent-encoding, HTML entities,
quoted-printable, Base64 at each alignment, hexadecimal, and these inside of each other), each decoded text is searched
without regard to case, and what is found is replaced where it is in the original text. Searching decoded text, instead
of encoding each secret in advance, also finds secrets that are encoded only in part, as most encoders do.

This protects against servers that repeat what they were sent. A server that wants to betray a secret can always invent
another encoding.
"""

import base64
import binascii
import bisect
import html
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

# Shorter secrets would match ordinary words: a response to a step with such a secret is not kept.
SHORTEST = 4
# Words of at least this length within a longer secret count as secrets too.
LONG_WORD = 12
# The most characters that one character of a secret can take in a response: each of %41 as \u0025.
LONGEST_ENCODING = 18
# A response with more nested encodings than this is not kept.
VIEWS_LIMIT = 150
DEPTH_LIMIT = 3

SECRET_MARK, TOKEN_MARK = "[secret]", "[token]"

Span = tuple[int, int]


class NotSearchable(Exception):
    """Secrets cannot be found reliably in this text, so it must not be kept. The message says why."""


@dataclass(frozen=True)
class Secrets:
    """The secrets of one step, prepared for the search. Empty if there are none."""

    needles: frozenset[str] = field(default=frozenset(), repr=False)
    # One secret is too short to search for.
    has_short: bool = False
    longest: int = 0

    @property
    def margin(self) -> int:
        """How many bytes after a cut are needed to find a secret that crosses the cut."""
        return self.longest * LONGEST_ENCODING


NO_SECRETS = Secrets()


def secrets_of(headers: Mapping[str, str], others: Iterable[str] = ()) -> Secrets:
    """``headers``: secret headers, of which parts are secret too; ``others``: values that are secret as a whole."""
    needles: set[str] = set()
    has_short = False
    for value in headers.values():
        secret, parts = _parts_of_header(value.strip())
        has_short |= len(secret) < SHORTEST
        needles |= {value.strip(), secret, *parts}
    for value in others:
        has_short |= len(value.strip()) < SHORTEST
        needles |= {value, value.strip(), *(word for word in value.split() if len(word) >= LONG_WORD)}
    needles = {needle for needle in needles if len(needle) >= SHORTEST}
    longest = max((len(needle.encode(errors="replace")) for needle in needles), default=0)
    return Secrets(frozenset(variant for needle in needles for variant in _variants(needle)), has_short, longest)


def redacted(text: str, secrets: Secrets, *, limit: int | None = None, tokens: re.Pattern[str] | None = None) -> str:
    """Returns the first ``limit`` characters of ``text``, with ``[secret]`` for each secret in them.

    All of ``text`` is searched, so that a secret across the limit is found. ``tokens`` is replaced by ``[token]``.
    Raises ``NotSearchable``.
    """
    if secrets.has_short:
        raise NotSearchable("A secret of this step is too short to be found in the answer.")
    marks = dict.fromkeys(_spans(text, secrets.needles), SECRET_MARK)
    if tokens is not None:
        marks = {match.span(): TOKEN_MARK for match in tokens.finditer(text)} | marks
    return _with_marks(text, marks, len(text) if limit is None else limit)


def _with_marks(text: str, marks: Mapping[Span, str], limit: int) -> str:
    """Replaces the spans by marks. Spans that overlap or touch become one mark."""
    written: list[str] = []
    position = 0
    for (start, end), mark in sorted(marks.items()):
        if start >= limit:
            break
        if start >= position:
            written += [text[position:start], mark]
        position = max(position, end)
    return "".join([*written, text[position:limit]])


# What to search for


# RFC 9110, section 11.4: a scheme, then one word, or parameters.
_CREDENTIALS = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+ +(\S.*)")


def _parts_of_header(value: str) -> tuple[str, set[str]]:
    """The secret part of the value, without a scheme such as Bearer, and parts of it that are secret too."""
    match = _CREDENTIALS.fullmatch(value)
    secret = match[1] if match else value
    parts = set(re.split(r"[\s;,&]+", secret))
    # Of cookies and parameters: a=b; c="d".
    parts |= {part.partition("=")[2].strip('"') for part in parts}
    decoded = _base64_text(secret)
    parts.add(decoded)
    if value.lower().startswith("basic ") and (decoded or ":" in secret):
        # Some people write user and password unencoded, and servers repeat them in another form.
        name, _, password = (decoded or secret).partition(":")
        return password or name, parts | {secret, name}
    return secret, parts


def _base64_text(word: str) -> str:
    """The decoded Base64 of the word; empty if it is not readable text."""
    try:
        raw = _base64(word.rstrip("=")) if _BASE64_WORD.fullmatch(word) else b""
    except (binascii.Error, ValueError):
        return ""
    text = raw.decode("utf-8", "ignore")
    return text if text.encode() == raw and text.isprintable() else ""


def _variants(secret: str) -> set[str]:
    """Other spellings of the secret: another Unicode form, its UTF-8 read as Latin-1, or the reverse.

    Headers are sent in Latin-1. If a server repeats these bytes, they are read as UTF-8, with U+FFFD for invalid bytes.
    """
    written = {secret, secret.upper(), secret.lower()}
    written |= {unicodedata.normalize(form, text) for text in written for form in ("NFC", "NFD")}
    misread = {text.encode("latin-1", "replace").decode(errors="replace") for text in written}
    written |= {text.encode(errors="replace").decode("latin-1") for text in written} | misread
    # UTF-16 within Base64 or hexadecimal.
    written |= {"\0".join(text) for text in written}
    return {_folded(text) for text in written}


def _folded(text: str) -> str:
    """Lower case, with exactly the length of ``text``."""
    lower = text.lower()
    if len(lower) == len(text):
        return lower
    return "".join(small if len(small := character.lower()) == 1 else character for character in text)


# Where it is


@dataclass(frozen=True, slots=True)
class View:
    """A decoded text; ``locate`` maps a part of it to the part of the original that it came from."""

    text: str
    locate: Callable[[int, int], Span]
    # Bytes that are not text are searched but not decoded further.
    is_readable: bool = True


def _spans(text: str, needles: frozenset[str]) -> set[Span]:
    """Raises ``NotSearchable``."""
    if not needles:
        return set()
    spans: set[Span] = set()
    for view in _views(text):
        folded = _folded(view.text)
        for needle in needles:
            spans.update(view.locate(start, end) for start, end in _occurrences(folded, needle))
    return spans


def _occurrences(text: str, needle: str) -> Iterator[Span]:
    """All occurrences; overlapping ones count as one. Skipping to the last overlap avoids quadratic time (aaaa...)."""
    start = text.find(needle)
    while start >= 0:
        last = start
        while (overlapping := text.rfind(needle, last + 1, last + 2 * len(needle) - 1)) >= 0:
            last = overlapping
        yield start, last + len(needle)
        start = text.find(needle, last + len(needle))


def _views(text: str) -> Iterator[View]:
    waiting = [(View(text, lambda start, end: (start, end)), 0)]
    seen = {text}
    count = 0
    while waiting:
        view, depth = waiting.pop()
        yield view
        if depth == DEPTH_LIMIT or not view.is_readable:
            continue
        for decoded in itertools.chain.from_iterable(decode(view) for decode in _DECODERS):
            if decoded.text in seen:
                continue
            seen.add(decoded.text)
            count += 1
            if count > VIEWS_LIMIT:
                raise NotSearchable("The answer has too many encodings inside of each other to search it for secrets.")
            waiting.append((decoded, depth + 1))


def _substituting(pattern: re.Pattern[str], decode: Callable[[re.Match[str]], str]) -> Callable[[View], Iterator[View]]:
    """A decoder that replaces each match and keeps the rest."""

    def views(view: View) -> Iterator[View]:
        # Pieces of the decoded text: start in it, start and end in the view, and whether it was decoded.
        at, begins, ends, is_literal, texts = [], [], [], [], []
        position = length = 0
        for match in pattern.finditer(view.text):
            for begin, end, literal in ((position, match.start(), True), (match.start(), match.end(), False)):
                piece = view.text[begin:end] if literal else decode(match)
                if piece:
                    at.append(length)
                    begins.append(begin)
                    ends.append(end)
                    is_literal.append(literal)
                    texts.append(piece)
                    length += len(piece)
            position = match.end()
        if position == 0:
            return
        at.append(length)
        begins.append(position)
        ends.append(len(view.text))
        is_literal.append(True)
        texts.append(view.text[position:])

        def locate(start: int, end: int) -> Span:
            first, last = bisect.bisect_right(at, start) - 1, bisect.bisect_right(at, end - 1) - 1
            begin = begins[first] + (start - at[first] if is_literal[first] else 0)
            stop = begins[last] + (end - at[last]) if is_literal[last] else ends[last]
            return view.locate(begin, stop)

        yield View("".join(texts), locate)

    return views


def _unpacking(
    pattern: re.Pattern[str], separator: re.Pattern[str], bits: int, offsets: int, unpack: Callable[[str], bytes]
) -> Callable[[View], Iterator[View]]:
    """A decoder of runs of characters with a fixed number of bits each, at every alignment."""

    def views(view: View) -> Iterator[View]:
        runs = [_run(view.text, match, separator) for match in pattern.finditer(view.text)]
        for offset in range(offsets):
            pieces = [(places[offset:], unpack(text[offset:])) for places, text in runs if len(text) > offset]
            for is_readable in (True, False):
                chosen = [piece for piece in pieces if not is_readable or _is_text(piece[1])]
                if chosen:
                    yield _unpacked(view, chosen, bits, is_readable)

    return views


def _run(text: str, match: re.Match[str], separator: re.Pattern[str]) -> tuple[Sequence[int], str]:
    """A run without separators: the position of each character in the view, and the characters."""
    places: Sequence[int] = range(*match.span())
    if not separator.search(match[0]):
        return places, match[0]
    places = [place for place in places if not separator.match(text[place])]
    return places, "".join(text[place] for place in places)


def _unpacked(view: View, pieces: list[tuple[Sequence[int], bytes]], bits: int, is_readable: bool) -> View:
    at, length = [], 0
    for _, raw in pieces:
        at.append(length)
        length += len(raw) + 1

    def locate(start: int, end: int) -> Span:
        piece = bisect.bisect_right(at, start) - 1
        run, raw = pieces[piece]
        first, last = start - at[piece], min(end - 1 - at[piece], len(raw) - 1)
        begin, stop = run[first * 8 // bits], run[min((last * 8 + 7) // bits, len(run) - 1)] + 1
        return view.locate(begin, stop)

    # A character that is in no secret separates the pieces.
    return View("\uffff".join(raw.decode("latin-1") for _, raw in pieces), locate, is_readable)


def _is_text(raw: bytes) -> bool:
    if len(raw) < SHORTEST:
        return False
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        # The last character may be cut.
        if error.start < len(raw) - 3:
            return False
        text = raw[: error.start].decode()
    return not re.search(r"[\x00-\x08\x0e-\x1f\x7f]", text)


_ESCAPE = re.compile(
    r"\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})|\\(?:u\{([0-9a-f]{1,6})\}|u([0-9a-f]{4})|x([0-9a-f]{2})"
    r"|U([0-9a-f]{8})|([0-7]{1,3})|(.))",
    re.IGNORECASE | re.DOTALL,
)
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "v": "\v"}


def _unescape(match: re.Match[str]) -> str:
    high, low, *hexadecimal, octal, character = match.groups()
    if high:
        return (bytes.fromhex(high) + bytes.fromhex(low)).decode("utf-16-be")
    if octal:
        return chr(int(octal, 8))
    if character:
        return _CONTROLS.get(character, character)
    number = int(next(filter(None, hexadecimal)), 16)
    return chr(number) if number < 0x110000 else "\ufffd"


def _percent(match: re.Match[str]) -> str:
    return " " if match[0] == "+" else chr(int(match[0].lstrip("%uU"), 16))


def _entity(match: re.Match[str]) -> str:
    character = html.unescape(f"{match[1]};")
    return match[0] if character.startswith("&") and len(character) > 1 else character


def _quoted(match: re.Match[str]) -> str:
    return chr(int(match[1], 16)) if match[1] else ""


def _base64(text: str) -> bytes:
    whole = text[: len(text) - (len(text) % 4 == 1)].translate(_STANDARD)
    return base64.b64decode(whole + "=" * (-len(whole) % 4))


def _hexadecimal(text: str) -> bytes:
    return bytes.fromhex(text[: len(text) // 2 * 2])


_STANDARD = str.maketrans("-_", "+/")
_BASE64_WORD = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_PERCENT = r"%u[0-9a-fA-F]{4}|%[0-9a-fA-F]{2}"
_DECODERS: list[Callable[[View], Iterator[View]]] = [
    _substituting(_ESCAPE, _unescape),
    _substituting(re.compile(_PERCENT), _percent),
    _substituting(re.compile(rf"{_PERCENT}|\+"), _percent),
    _substituting(re.compile(r"(&(?:#0*[0-9]{1,8}|#[xX]0*[0-9a-fA-F]{1,7}|[A-Za-z][A-Za-z0-9]{1,31}));?"), _entity),
    _substituting(re.compile(r"=(?:([0-9A-Fa-f]{2})|\r?\n)"), _quoted),
    _unpacking(re.compile(r"[A-Za-z0-9+/_-]{6,}(?:\r?\n[ \t]*[A-Za-z0-9+/_-]+)*"), re.compile(r"\s"), 6, 4, _base64),
    _unpacking(re.compile(r"[0-9a-fA-F]{2,}(?:[\s:-][0-9a-fA-F]{2})*"), re.compile(r"[\s:-]"), 4, 2, _hexadecimal),
]
