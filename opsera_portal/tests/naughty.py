"""The Big List of Naughty Strings: user input that often breaks programs."""

import json
import unicodedata
from pathlib import Path

_LIST = Path(__file__).parent / "data" / "blns.json"

NAUGHTY_STRINGS: list[str] = sorted(set(json.loads(_LIST.read_text())))


def _kind(text):
    """What is special in a text: ASCII symbols, Unicode categories, length and outer spaces."""
    characters = {c if c.isascii() and not c.isalnum() else unicodedata.category(c) for c in text}
    return frozenset(characters), len(text) > 64, text != text.strip()


# About two in five strings, for tests with slow requests.
ONE_OF_EACH_KIND = list({_kind(text): text for text in NAUGHTY_STRINGS}.values())
