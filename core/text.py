"""Translated texts, counts with their noun, and which characters names may have: of tokens, groups, services,
pipelines, steps, tags and people.

A letter of Hindi, Thai or Tamil takes combining marks (Unicode categories Mn and Mc), and some words of Hindi or
Persian are only spelled right with a joiner between two letters (RFC 5892, appendix A).
"""

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias, Union

from django.utils.translation import get_language, gettext_lazy, ngettext

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

# A text of the interface: `gettext_lazy` translates it when it is shown.
Text: TypeAlias = Union[str, "_StrPromise"]

# What separates thousands. Django's own formatting takes ten times as long, and tables have many numbers.
_SEPARATORS = {"en": ",", "de": ".", "pl": "\u00a0"}

ZERO_WIDTH_NON_JOINER, ZERO_WIDTH_JOINER = "\u200c", "\u200d"
JOINERS = frozenset({ZERO_WIDTH_NON_JOINER, ZERO_WIDTH_JOINER})
# Burmese and Tibetan stack four marks on one letter. Longer stacks only cover the lines above and below.
MAX_MARKS_IN_A_ROW = 4

NOT_PRINTABLE = gettext_lazy("Use no line breaks, no control characters and at most four accents on one letter.")

_VIRAMA = 9
_SYMBOLS = frozenset({"So", "Sk"})
# Invisible letters and marks (Unicode's Default_Ignorable_Code_Point), with which two names look the same.
_INVISIBLE = frozenset(
    map(
        chr,
        (
            *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0),
            *range(0x180B, 0x1810),
            *range(0xFE00, 0xFE10),
            *range(0xE0100, 0xE01F0),
        ),
    )
)


def grouped(number: int) -> str:
    """`12,345`, in German `12.345`."""
    if -1000 < number < 1000:
        return str(number)
    return f"{number:,}".replace(",", _SEPARATORS.get(get_language() or "en", ","))


def counted(number: int, one: str, many: str) -> str:
    """`1 token`, `1,200 tokens`, translated. Only for a count that is alone: a sentence is translated as a whole."""
    return f"{grouped(number)} {ngettext(one, many, number)}"


def first_of(texts: Sequence[str], most: int, *, total: int) -> str:
    """At most so many of them, and how many of the total are left."""
    shown = list(texts[:most])
    if more := total - len(shown):
        shown.append(ngettext("and %(count)s more", "and %(count)s more", more) % {"count": grouped(more)})
    return ", ".join(shown)


def composed(name: str) -> str:
    """Unicode's composed form (NFC), in which names are stored and counted."""
    return unicodedata.normalize("NFC", name)


def name_key(name: str) -> str:
    """The same for names that differ only in case, in Unicode form, or in joiners, which are invisible (Unicode 3.13,
    D146: compatibility caseless match)."""
    key = unicodedata.normalize("NFD", "".join(character for character in name if character not in JOINERS))
    for _round in range(2):
        key = unicodedata.normalize("NFKD", key.casefold())
    return key


def is_invisible(character: str) -> bool:
    return character in _INVISIBLE


def is_mark(character: str) -> bool:
    """A combining mark, spacing or not. No script has enclosing marks (Me)."""
    return unicodedata.category(character) in {"Mn", "Mc"}


def marks_fit(name: str) -> bool:
    """Whether each mark follows a letter or a digit, with at most four marks in a row."""
    marks, carries = 0, False
    for character in name:
        if is_mark(character):
            marks += 1
            if not carries or marks > MAX_MARKS_IN_A_ROW:
                return False
        elif character not in JOINERS:
            marks, carries = 0, unicodedata.category(character)[0] in "LN"
    return True


def joiners_fit(name: str) -> bool:
    """Whether each joiner is needed: after a virama, or as a non-joiner between two Arabic letters (RFC 5892, A.1 and
    A.2). The RFC uses joining types, which Python doesn't have, but the letters of right-to-left joining scripts have
    the bidirectional class AL."""
    return all(_joiner_fits(name, at) for at, character in enumerate(name) if character in JOINERS)


def is_printable(name: str) -> bool:
    """Whether a name is readable: no control or formatting characters except needed joiners, and no stacks of marks."""
    if not any(joiner in name for joiner in JOINERS):
        return name.isprintable() and _stacks_fit(name)
    return joiners_fit(name) and _stacks_fit(name) and name.translate(_WITHOUT_JOINERS).isprintable()


_WITHOUT_JOINERS = {ord(joiner): None for joiner in JOINERS}


def _stacks_fit(name: str) -> bool:
    marks = 0
    for character in name:
        marks = marks + 1 if is_mark(character) or unicodedata.category(character) == "Me" else 0
        if marks > MAX_MARKS_IN_A_ROW:
            return False
    return True


def _joiner_fits(name: str, at: int) -> bool:
    if at == 0 or at == len(name) - 1:
        return False
    if unicodedata.combining(name[at - 1]) == _VIRAMA:
        return unicodedata.category(name[at + 1])[0] == "L"
    if name[at] == ZERO_WIDTH_JOINER:
        # One emoji composed of several.
        return unicodedata.category(name[at + 1]) == "So" and unicodedata.category(_letter_before(name, at)) in _SYMBOLS
    return _is_arabic(_letter_before(name, at)) and _is_arabic(name[at + 1])


def _letter_before(name: str, at: int) -> str:
    """The character that the marks before this place belong to."""
    before = [character for character in name[:at] if not is_mark(character)]
    return before[-1] if before else " "


def _is_arabic(character: str) -> bool:
    return unicodedata.bidirectional(character) == "AL" and unicodedata.category(character)[0] == "L"
