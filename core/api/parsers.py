"""Reads the bodies of API requests: JSON within limits, with nothing that the database could not store."""

import json
import math
from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from core.api.problems import ContentTooLarge

MAX_DEPTH = 32
# Keys and values together. The longest list of texts that an operation accepts has 1000 items.
MAX_VALUES = 10_000
# Longer numbers are not parsed at all. Each field has its own, smaller maximum.
MAX_DIGITS = 100


class StrictJSONParser(JSONParser):
    """RFC 8259 JSON in UTF-8.

    Refuses, each with its own message: more than 256 KiB (413), duplicate keys, NaN and Infinity, too long numbers, too
    deep nesting, too many values, and text that is not Unicode (a lone surrogate would fail only in the database). NUL
    is refused by the fields, which can say where it is.
    """

    max_values = MAX_VALUES

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        raw = stream.read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
        if len(raw) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise ContentTooLarge
        try:
            data = json.loads(
                raw.decode("utf-8"),
                object_pairs_hook=_unique_keys,
                parse_constant=_no_constant,
                parse_int=_bounded_int,
                parse_float=_finite_float,
            )
            _check_bounds(data, self.max_values)
        except RecursionError:
            raise ParseError(_TOO_DEEP) from None
        except UnicodeError:
            raise ParseError("The body is not UTF-8 text, or has half of a surrogate pair.") from None
        except ValueError as error:
            raise ParseError(f"The body is not valid JSON: {error}") from None
        if not isinstance(data, dict):
            raise ParseError("The body must be a JSON object.")
        return data


class LongListParser(StrictJSONParser):
    """For bodies with a list of objects."""

    max_values = 20_000


_TOO_DEEP = f"The body is nested more than {MAX_DEPTH} deep."


def _check_bounds(data: Any, max_values: int) -> None:
    """Level by level instead of by recursion, because the depth is not known yet."""
    values, depth, level = 0, 0, [data]
    while level:
        values += len(level)
        if values > max_values:
            raise ValueError(f"it has more than {max_values} values")
        for value in level:
            if isinstance(value, str):
                value.encode("utf-8")
        holding = [value for value in level if isinstance(value, dict | list)]
        depth += 1
        if holding and depth > MAX_DEPTH:
            raise ParseError(_TOO_DEEP)
        level = [inner for value in holding for inner in _within(value)]


def _within(value: dict[str, Any] | list[Any]) -> list[Any]:
    return [*value.keys(), *value.values()] if isinstance(value, dict) else value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("it has a key twice")
    return result


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _bounded_int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"it has a number with more than {MAX_DIGITS} digits")
    return int(digits)


def _finite_float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("it has a number that is too large")
    return number
