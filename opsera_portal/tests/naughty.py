"""The Big List of Naughty Strings: what breaks programs, as people type it."""

import json
import unicodedata
from pathlib import Path

_LIST = Path(__file__).parent / "data" / "blns.json"

NAUGHTY_STRINGS: list[str] = sorted(set(json.loads(_LIST.read_text())))


def _kind(text):
    """Which characters there are: each of ASCII's own that is no letter or digit, otherwise their Unicode category."""
    characters = {c if c.isascii() and not c.isalnum() else unicodedata.category(c) for c in text}
    return frozenset(characters), len(text) > 64, text != text.strip()


# Two of five, for requests that take long.
ONE_OF_EACH_KIND = list({_kind(text): text for text in NAUGHTY_STRINGS}.values())
