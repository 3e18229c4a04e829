"""The patterns that a trust rule has for claims: exact texts, with ``*`` at the end of a segment.

``/`` and ``:`` separate segments, as in `repo:acme/shop:ref:refs/heads/main`. A ``*`` stands for at least one character
and never crosses a separator, so `repo:acme/*` can't match `repo:acme/shop:ref:refs/heads/main`, and no pattern can
begin with the name of one owner and match that of another.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext

from accounts.provider_rules import CLAIM_LIMIT, values_of

MOST_CLAIMS = 20
_SEPARATOR = re.compile(r"([/:])")


def is_pattern(text: str) -> bool:
    """Whether each ``*`` is the last character of its segment."""
    return all("*" not in segment[:-1] for segment in _SEPARATOR.split(text))


def matches(pattern: str, value: str) -> bool:
    return _compiled(pattern).fullmatch(value) is not None


def mismatch(patterns: Mapping[str, str], claims: Mapping[str, Any]) -> str:
    """The first claim that doesn't have the wanted value; empty if all have it. Of a list, one value is enough."""
    for claim, pattern in patterns.items():
        if not any(matches(pattern, value) for value in values_of(claims, claim)):
            return claim
    return ""


def clean_patterns(patterns: Mapping[str, str]) -> dict[str, str]:
    """Raises ``ValidationError``."""
    if not patterns:
        raise ValidationError(gettext("Name at least one claim. Without one, everybody's jobs at this issuer match."))
    if len(patterns) > MOST_CLAIMS:
        raise ValidationError(gettext("There can be at most %(limit)s claims.") % {"limit": MOST_CLAIMS})
    for claim, pattern in patterns.items():
        for part in (claim, pattern):
            if not part.strip() or len(part) > CLAIM_LIMIT or not part.isprintable():
                said = gettext("A claim and its value need 1 to %(limit)s printable characters.")
                raise ValidationError(said % {"limit": CLAIM_LIMIT})
        if not is_pattern(pattern):
            said = gettext("%(claim)s: * is possible only at the end of a segment; / and : separate segments.")
            raise ValidationError(said % {"claim": claim})
    if not any(pattern.replace("*", "").strip("/:") for pattern in patterns.values()):
        raise ValidationError(gettext("At least one claim needs a value that is not only *."))
    return dict(patterns)


@lru_cache(maxsize=1000)
def _compiled(pattern: str) -> re.Pattern[str]:
    segments = (
        re.escape(segment[:-1]) + "[^/:]+" if segment.endswith("*") else re.escape(segment)
        for segment in _SEPARATOR.split(pattern)
    )
    return re.compile("".join(segments), re.DOTALL)
