"""How ids (UUIDs) are written in addresses, bodies and queries: in one form, in upper or lower case.

RFC 9562 section 4: output in lower case, input in either. Other forms that Python also reads (braces, ``urn:uuid:``,
without hyphens) are refused, so that an id has one spelling in logs and in the rules of proxies.
"""

import re
import uuid

FORM = re.compile(r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}")


def read(text: str) -> uuid.UUID:
    """Parses an id. Addresses, filters and the API read ids with this. Raises `ValueError` for any other form.

    Search boxes also find an id that was pasted in another form.
    """
    if not FORM.fullmatch(text):
        raise ValueError("Not an id")
    return uuid.UUID(text)


class IdConverter:
    """``<id:...>`` in an address. Django's ``<uuid:...>`` accepts only lower case."""

    regex = FORM.pattern

    def to_python(self, value: str) -> uuid.UUID:
        return read(value)

    def to_url(self, value: object) -> str:
        return str(value)
