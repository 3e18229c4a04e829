"""What a token may be called, and when two names are the same."""

import re
import unicodedata
from collections.abc import Iterator
from itertools import count

MAX_LENGTH = 50
# Two digits at most: with more it is a year, or a build.
_NUMBERED = re.compile(r"(.+) ([1-9]\d?)")
_PUNCTUATION = frozenset(" -':_.")


class InvalidName(ValueError):
    """The name breaks a rule; the message says which, for the person who typed it."""


def clean_name(raw: str) -> str:
    """The name as it is kept: trimmed, in Unicode's composed form (NFC). Raises ``InvalidName``."""
    name = unicodedata.normalize("NFC", raw).strip()
    if not name:
        raise InvalidName("Enter a name.")
    if len(name) > MAX_LENGTH:
        raise InvalidName(f"Use at most {MAX_LENGTH} characters; this name has {len(name)}.")
    if not all(_is_allowed(character) for character in name):
        raise InvalidName("Use letters, digits, spaces and - ' : _ . only.")
    return name


def name_key(name: str) -> str:
    """What two names share when they differ only in case or form (Unicode 3.13, D146: compatibility caseless)."""
    key = unicodedata.normalize("NFD", name)
    for _ in range(2):
        key = unicodedata.normalize("NFKD", key.casefold())
    return key


def numbered(name: str) -> Iterator[str]:
    """The name and those that may follow it: `build`, `build 2`, `build 3` and so on; `build 2`, `build 3` likewise."""
    yield name
    numbered_before = _NUMBERED.fullmatch(name)
    base, first = (numbered_before[1], int(numbered_before[2]) + 1) if numbered_before else (name, 2)
    for number in count(first):
        suffix = f" {number}"
        yield base[: MAX_LENGTH - len(suffix)].rstrip() + suffix


def _is_allowed(character: str) -> bool:
    return character in _PUNCTUATION or unicodedata.category(character)[0] == "L" or character.isdecimal()
