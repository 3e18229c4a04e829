"""Where long paths and addresses break if they are wider than their column."""

import re
from functools import lru_cache

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

_SEPARATORS = re.compile(r"(?<=[/@?=:])")
# In UTF-8: a first byte with those that continue it, or any other byte.
_ESCAPED_CHARACTER = re.compile(r"(%[C-F][0-9A-F](?:%[89AB][0-9A-F])+|%[0-9A-F]{2})", re.IGNORECASE)
_GROUPS = re.compile(r"(?<=[.:])(?![.:])")


# Remembered, because the rows of a log have few different paths.
@lru_cache(maxsize=256)
def breakable(text: str) -> SafeString:
    """A path or an e-mail address that breaks after its separators, if it is too long for its column.

    A character that is written with percent escapes stays whole: `%C3%BC` is one.
    """
    parts = _SEPARATORS.split(text)
    return format_html_join("", "{}<wbr>", ((_escapes_kept_whole(part) if "%" in part else part,) for part in parts))


def _escapes_kept_whole(text: str) -> SafeString:
    # Each second piece is an escaped character.
    pieces = enumerate(_ESCAPED_CHARACTER.split(text))
    return format_html_join("", "{}", ((_whole(piece) if number % 2 else piece,) for number, piece in pieces))


def _whole(text: str) -> SafeString:
    return format_html('<span class="whole">{}</span>', text)


@lru_cache(maxsize=256)
def ip_address(text: str) -> SafeString:
    """An IP address that breaks between its groups only, if it is too long for its column."""
    parts = format_html_join("", "{}<wbr>", ((part,) for part in _GROUPS.split(text)))
    return format_html('<span class="ip-address">{}</span>', parts)
