"""Parses filters and paths of SCIM (RFC 7644 sections 3.4.2.2 and 3.5.2).

The maintained library for this, scim2-models, takes as long to import as a quarter of the portal, in each process and
for each command. A test compares this parser with it.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from accounts.scim.problems import InvalidFilter, InvalidPath

MAX_LENGTH = 8 * 1024
MAX_DEPTH = 20
MAX_COMPARISONS = 100

OPERATORS = frozenset({"eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"})
_CONSTANTS = {"true": True, "false": False, "null": None}


@dataclass(frozen=True)
class Attribute:
    """``name`` and ``sub`` are in lower case, because names of attributes have no case. ``urn``: its schema, or ""."""

    name: str
    sub: str = ""
    urn: str = ""


@dataclass(frozen=True)
class Comparison:
    """``operator``: one of ``OPERATORS``, or ``pr``, which has no value."""

    attribute: Attribute
    operator: str
    value: Any = None


@dataclass(frozen=True)
class Not:
    inner: "Filter"


@dataclass(frozen=True)
class Both:
    terms: tuple["Filter", ...]


@dataclass(frozen=True)
class Either:
    terms: tuple["Filter", ...]


@dataclass(frozen=True)
class Selection:
    """`emails[type eq "work"]`: one value of the attribute fulfills the whole inner filter."""

    attribute: Attribute
    inner: "Filter"


Filter = Comparison | Not | Both | Either | Selection


@dataclass(frozen=True)
class Path:
    """What an operation of PATCH changes: `emails[type eq "work"].value`."""

    attribute: Attribute
    selection: Filter | None = None


_TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9A-Fa-f]{4})*")
      | (?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)(?![\w.])
      | (?P<word>(?:[uU][rR][nN]:[A-Za-z0-9._~:$-]+:)?[A-Za-z$][\w$-]*(?:\.[A-Za-z$][\w$-]*)?)
      | (?P<mark>[()\[\].])
    )""",
    re.VERBOSE | re.ASCII,
)


def parse_filter(text: str) -> Filter:
    """Raises ``InvalidFilter``."""
    parser = _Parser(text, InvalidFilter)
    found = parser.filter()
    parser.end()
    return found


def parse_path(text: str) -> Path:
    """Raises ``InvalidPath``."""
    parser = _Parser(text, InvalidPath)
    found = parser.path()
    parser.end()
    return found


class _Parser:
    """Recursive descent, one method for each rule of the RFC's grammar: `or` binds less than `and`."""

    def __init__(self, text: str, error: type[InvalidFilter | InvalidPath]) -> None:
        self._error = error
        if len(text) > MAX_LENGTH:
            raise error(f"It is longer than {MAX_LENGTH} characters.")
        self._tokens = [*self._split(text)]
        self._at = self._depth = self._comparisons = 0

    def _split(self, text: str) -> Iterator[tuple[str, str, int]]:
        """The kind, the text and the place of each token."""
        at, length = 0, len(text.rstrip())
        while at < length:
            match = _TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                raise self._error(f"Not understood from character {at + 1} on.")
            yield match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)
            at = match.end()

    def filter(self) -> Filter:
        terms = [self._all_of()]
        while self._takes("or"):
            terms.append(self._all_of())
        return terms[0] if len(terms) == 1 else Either(tuple(terms))

    def path(self) -> Path:
        attribute = self._attribute()
        if not self._takes("["):
            return Path(attribute)
        if attribute.sub:
            raise self._error("A filter in brackets follows an attribute, not a sub-attribute.")
        selection = self._inside_brackets()
        sub = self._sub_after_brackets()
        return Path(Attribute(attribute.name, sub, attribute.urn), selection)

    def end(self) -> None:
        if self._at < len(self._tokens):
            raise self._unexpected()

    def _all_of(self) -> Filter:
        terms = [self._one()]
        while self._takes("and"):
            terms.append(self._one())
        return terms[0] if len(terms) == 1 else Both(tuple(terms))

    def _one(self) -> Filter:
        if self._peek() == "not" and self._peek(1) == "(":
            self._at += 1
            return Not(self._one())
        if self._takes("("):
            self._deeper()
            inner = self.filter()
            self._needs(")")
            self._depth -= 1
            return inner
        attribute = self._attribute()
        if attribute.sub or not self._takes("["):
            return self._comparison(attribute)
        selection = self._inside_brackets()
        if sub := self._sub_after_brackets():
            # Not in the RFC, but Entra ID sends `emails[type eq "work"].value eq "x"`.
            selection = Both((selection, self._comparison(Attribute(sub))))
        return Selection(attribute, selection)

    def _inside_brackets(self) -> Filter:
        self._deeper()
        inner = self.filter()
        self._needs("]")
        self._depth -= 1
        if _has_selection(inner):
            raise self._error("Brackets can't be inside of brackets.")
        return inner

    def _sub_after_brackets(self) -> str:
        if not self._takes("."):
            return ""
        attribute = self._attribute()
        if attribute.sub or attribute.urn:
            raise self._unexpected(-1)
        return attribute.name

    def _comparison(self, attribute: Attribute) -> Comparison:
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            raise self._error(f"It has more than {MAX_COMPARISONS} comparisons.")
        kind, text, _ = self._next()
        operator = text.lower()
        if kind == "word" and operator == "pr":
            return Comparison(attribute, operator)
        if kind != "word" or operator not in OPERATORS:
            raise self._unexpected(-1)
        return Comparison(attribute, operator, self._value())

    def _value(self) -> Any:
        kind, text, _ = self._next()
        if kind == "word" and text.lower() in _CONSTANTS:
            return _CONSTANTS[text.lower()]
        if kind == "number":
            return float(text)
        if kind != "string":
            raise self._unexpected(-1)
        value = json.loads(text)
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise self._error("A value has a character that no text can have.")
        return value

    def _attribute(self) -> Attribute:
        kind, text, _ = self._next()
        if kind != "word":
            raise self._unexpected(-1)
        urn, _, name = text.rpartition(":")
        name, _, sub = name.lower().partition(".")
        return Attribute(name, sub, urn.lower())

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"It is nested more than {MAX_DEPTH} deep.")

    def _peek(self, ahead: int = 0) -> str:
        """The next token in lower case; "" for a string in quotation marks, and at the end."""
        place = self._at + ahead
        if place >= len(self._tokens):
            return ""
        kind, text, _ = self._tokens[place]
        return "" if kind == "string" else text.lower()

    def _takes(self, text: str) -> bool:
        found = self._peek() == text
        self._at += found
        return found

    def _needs(self, text: str) -> None:
        if not self._takes(text):
            raise self._unexpected()

    def _next(self) -> tuple[str, str, int]:
        if self._at >= len(self._tokens):
            raise self._error("It ends too early.")
        self._at += 1
        return self._tokens[self._at - 1]

    def _unexpected(self, ahead: int = 0) -> InvalidFilter | InvalidPath:
        place = self._at + ahead
        if place >= len(self._tokens):
            return self._error("It ends too early.")
        return self._error(f"Not understood from character {self._tokens[place][2] + 1} on.")


def _has_selection(inner: Filter) -> bool:
    if isinstance(inner, Both | Either):
        return any(map(_has_selection, inner.terms))
    return _has_selection(inner.inner) if isinstance(inner, Not) else isinstance(inner, Selection)
