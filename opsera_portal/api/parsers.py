"""The one way a body comes in: JSON, bounded, and nothing in it that the database could not keep."""

import json
from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from opsera_portal.api.problems import ContentTooLarge


class StrictJSONParser(JSONParser):
    """RFC 8259 JSON in UTF-8.

    Refused, each with its own sentence: more than 256 KiB (413), duplicate keys, NaN and Infinity, numbers and nesting
    beyond reason, text that is not Unicode (a lone surrogate would fail only in the database).
    """

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
            text = raw.decode("utf-8")
            data = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
            json.dumps(data, ensure_ascii=False).encode("utf-8")
        except RecursionError:
            raise ParseError("The body is nested too deeply.") from None
        except UnicodeError:
            raise ParseError("The body is not UTF-8 text, or holds half of a surrogate pair.") from None
        except ValueError as error:
            raise ParseError(f"The body is not JSON: {error}") from None
        if not isinstance(data, dict):
            raise ParseError("The body must be a JSON object.")
        return data


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands in it twice")
    return result


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")
