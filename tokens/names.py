"""Which names a token may have, and which names count as the same."""

import re
import unicodedata
from collections.abc import Iterator
from itertools import count

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from core.text import JOINERS, composed, is_invisible, is_mark, joiners_fit, marks_fit
from core.text import name_key as name_key

MAX_LENGTH = 50
# At most two digits: longer numbers are a year or a build.
_NUMBERED = re.compile(r"(.+) ([1-9]\d?)")
_PUNCTUATION = frozenset(" -':_.")
# What `clean_name` returns, for JSON Schema (ECMA-262, with the u flag).
_BEGINS, _ENDS = r"\p{L}\p{Nd}\-':_.", r"\p{L}\p{M}\p{Nd}\-':_."
PATTERN = rf"^[{_BEGINS}]([{_ENDS}\u200c\u200d ]*[{_ENDS}])?$"


def clean_name(raw: str) -> str:
    """The name as it is stored: trimmed, in Unicode's composed form (NFC). Raises ``ValidationError``.

    The length is counted in code points of that form, as in the database. A letter with a vowel sign is two.
    """
    name = composed(raw).strip()
    if not name:
        raise ValidationError(_("Enter a name."))
    if len(name) > MAX_LENGTH:
        raise ValidationError(
            _("Use at most %(most)s characters; this name has %(length)s.") % {"most": MAX_LENGTH, "length": len(name)}
        )
    if not all(_is_allowed(character) for character in name):
        raise ValidationError(_("Use letters, digits, spaces and - ' : _ . only."))
    if not marks_fit(name):
        raise ValidationError(_("Put accents and vowel signs on letters, at most four on one letter."))
    if not joiners_fit(name):
        raise ValidationError(_("Remove the invisible characters between the letters."))
    return name


def numbered(name: str) -> Iterator[str]:
    """The name, then the names with the next numbers: `build`, `build 2`, `build 3`; or `build 2`, `build 3`."""
    yield name
    numbered_before = _NUMBERED.fullmatch(name)
    base, first = (numbered_before[1], int(numbered_before[2]) + 1) if numbered_before else (name, 2)
    for number in count(first):
        suffix = f" {number}"
        yield _shortened(base, MAX_LENGTH - len(suffix)) + suffix


def _shortened(name: str, length: int) -> str:
    """Cut to this length, and never between a letter and its marks."""
    if len(name) <= length:
        return name
    while length and (is_mark(name[length]) or name[length] in JOINERS or name[length - 1] in JOINERS):
        length -= 1
    return name[:length].rstrip()


def _is_allowed(character: str) -> bool:
    if is_invisible(character):
        return False
    return (
        character in _PUNCTUATION
        or character in JOINERS
        or unicodedata.category(character)[0] == "L"
        or character.isdecimal()
        or is_mark(character)
    )
