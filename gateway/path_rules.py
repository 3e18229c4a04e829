"""Which requests to a service need which scope: rules in lines, of which the first that matches decides.

    GET,HEAD  /api/dashboards/**  read
    *         /api/dashboards/**  write
    GET       /public/**          any
    *         /admin/**           nobody

Each line has methods, a path and a need. ``*`` as the method is for all. In a path, ``*`` is any part of a
segment, and ``**`` at the end is all that follows. The need is the name of a scope of the service, ``any`` for every
token of the service, or ``nobody``. What no line matches is refused.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from django.core.exceptions import ValidationError
from django.utils.translation import gettext

ANY, NOBODY = "any", "nobody"
ALL_METHODS = "*"
MOST_RULES = 100
PATH_MAX_LENGTH = 200
# Two in one segment would let a pattern take long.
_STARS_IN_SEGMENT = 1

_METHODS = re.compile(r"\*|[A-Z]{1,20}(?:,[A-Z]{1,20}){0,9}")
_PATH = re.compile(r"/[!-~]*")
_NEED = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True)
class PathRule:
    """``methods``: empty for all. ``path``: the pattern as it was written."""

    methods: frozenset[str]
    path: str
    needs: str
    pattern: re.Pattern[str]
    text: str

    @property
    def needs_scope(self) -> bool:
        return self.needs not in (ANY, NOBODY)

    @property
    def methods_in_words(self) -> str:
        return self.text.split(" ", 1)[0]

    def matches(self, method: str, path: str) -> bool:
        return (not self.methods or method in self.methods) and self.pattern.fullmatch(path) is not None


def first_match(rules: Iterable[PathRule], method: str, path: str) -> PathRule | None:
    """``path``: as `request_paths.path_of` returns it."""
    return next((rule for rule in rules if rule.matches(method, path)), None)


def clean(text: str, *, scopes: Iterable[str]) -> str:
    """The rules as they are stored: one in each line, single spaces. ``scopes``: the names of the service's scopes.

    Raises ``ValidationError`` that says which line is wrong.
    """
    lines = [words for line in text.splitlines() if (words := line.split())]
    if len(lines) > MOST_RULES:
        raise ValidationError(gettext("Give at most %(most)s rules.") % {"most": MOST_RULES})
    known = {*scopes, ANY, NOBODY}
    return "\n".join(" ".join(_checked(number, words, known)) for number, words in enumerate(lines, start=1))


def _checked(number: int, words: list[str], known: set[str]) -> list[str]:
    if len(words) != 3:
        raise _wrong(number, gettext("Give methods, a path and a scope: GET,HEAD /api/** read."))
    methods, path, need = words
    if not _METHODS.fullmatch(methods):
        raise _wrong(number, gettext("Give methods in capital letters with commas between them, or * for all."))
    if len(path) > PATH_MAX_LENGTH or not _PATH.fullmatch(path):
        raise _wrong(
            number, gettext("The path must start with / and have at most 200 characters, none of them a space.")
        )
    if set(path) & set("%?#\\;"):
        raise _wrong(number, gettext("Write the path without % ? # ; and \\: it is compared after it is decoded."))
    segments = path.split("/")[1:]
    if "**" in path and (path.count("**") > 1 or segments[-1] != "**"):
        raise _wrong(number, gettext("** can only be the last part of the path: /api/**."))
    if any(segment.count("*") > _STARS_IN_SEGMENT for segment in segments if segment != "**"):
        raise _wrong(number, gettext("Use * only once between two slashes."))
    if any(segment in (".", "..", "") for segment in segments[:-1]) or segments[-1] in (".", ".."):
        raise _wrong(number, gettext("The path can't have . or .. or two slashes in a row: such requests are refused."))
    if not _NEED.fullmatch(need) or need not in known:
        raise _wrong(
            number, gettext("“%(need)s” is no scope of this service. Or write any, or nobody.") % {"need": need}
        )
    return words


def _wrong(number: int, why: str) -> ValidationError:
    return ValidationError(gettext("Line %(number)s: %(why)s") % {"number": number, "why": why})


# Each request to a service reads them, and they change seldom.
@lru_cache(maxsize=500)
def parse(text: str) -> tuple[PathRule, ...]:
    """The rules of a stored text."""
    return tuple(_parsed(line) for line in text.splitlines())


def _parsed(line: str) -> PathRule:
    methods, path, needs = line.split(" ")
    named = frozenset() if methods == ALL_METHODS else frozenset(methods.split(","))
    return PathRule(named, path, needs, re.compile(_expression(path), re.DOTALL), line)


def _expression(path: str) -> str:
    """``/api/**`` matches ``/api`` too: servers often answer both alike."""
    start, _, _rest = path.partition("/**")
    expression = "[^/]*".join(map(re.escape, start.split("*")))
    return f"{expression}(?:/.*)?" if path.endswith("/**") else expression
