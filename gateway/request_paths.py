"""The path of a request that a proxy asks about, if everybody reads it alike.

The portal decides by the path, and the service behind the proxy answers by it. A path that the two can read
differently opens what a rule closes: with `/public/../admin`, `/%61dmin`, `//admin`, `/admin;x` or `/a%2fb`. So one
that is not plain is refused, and the plain one is decoded once.
"""

import re
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from django.utils.translation import gettext_noop

MAX_LENGTH = 2048

_PLAIN = re.compile(r"/[!-~]*")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Slash, backslash, percent, dot, semicolon, control characters: what a second decoding or another server reads
# differently.
_DANGEROUS_ESCAPE = re.compile(r"%(?:2f|5c|25|2e|3b|[01][0-9a-f]|7f)", re.IGNORECASE)
# Two headers of one name reach the portal as one, joined by a comma.
_JOINED = re.compile(r",\s*(?:/|https?:)", re.IGNORECASE)


class Ambiguous(ValueError):
    """The message says what is wrong with the path, for the person who sent it. Pages translate it."""


@lru_cache(maxsize=1000)
def path_of(target: str) -> str:
    """The decoded path of ``target``, a path with or without a query, as the client sent it. Raises ``Ambiguous``."""
    path, _, query = target.partition("?")
    if len(target) > MAX_LENGTH:
        raise Ambiguous(gettext_noop("The path is too long."))
    if not _PLAIN.fullmatch(path) or "\\" in path or "#" in target:
        raise Ambiguous(gettext_noop("The path has characters that must be percent-encoded."))
    if _ESCAPE.search(path) or _DANGEROUS_ESCAPE.search(path):
        raise Ambiguous(gettext_noop("The path has percent-encoded characters that servers read differently."))
    if ";" in path or "," in path or _JOINED.search(query):
        raise Ambiguous(gettext_noop("The path has a comma or a semicolon, which servers read differently."))
    return _decoded(path)


def _decoded(path: str) -> str:
    try:
        decoded = unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        raise Ambiguous(gettext_noop("The path is not in UTF-8.")) from None
    return without_ambiguity(decoded)


def without_ambiguity(decoded: str) -> str:
    """The same path if it has no dot segments, no empty ones and nothing invisible. Raises ``Ambiguous``."""
    segments = decoded.split("/")
    if not decoded.startswith("/") or any(segment == "" for segment in segments[1:-1]):
        raise Ambiguous(gettext_noop("The path has two slashes in a row."))
    if any(segment and not segment.strip(". \u00a0\u3000") for segment in segments):
        raise Ambiguous(gettext_noop("The path has a part of only dots or spaces."))
    if not decoded.isprintable():
        raise Ambiguous(gettext_noop("The path has invisible characters."))
    return decoded
