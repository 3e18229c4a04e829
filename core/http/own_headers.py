"""Sets headers whose names and values the portal makes itself, without Django's checks.

Django checks name and value whenever a header is set. For the dozen headers of an API answer, these checks take longer
than reading the token. So constant headers are checked once, and values such as a number not at all. Use this only for
values that nobody else can influence.
"""

from collections.abc import Mapping

from django.http.response import HttpResponseBase, ResponseHeaders

# As `ResponseHeaders` stores them: by their lower-case names, with the names as they are sent.
Checked = Mapping[str, tuple[str, str]]


def checked(headers: Mapping[str, str]) -> Checked:
    """Checks the headers as Django does. Raises ``BadHeaderError`` or ``UnicodeError``."""
    stored: Checked = ResponseHeaders(headers)._store
    return stored


def set_checked(response: HttpResponseBase, headers: Checked) -> None:
    _stored(response).update(headers)


def set_missing(response: HttpResponseBase, headers: Checked) -> None:
    """Sets those that the answer does not have."""
    stored = _stored(response)
    for name, header in headers.items():
        stored.setdefault(name, header)


def set_own(response: HttpResponseBase, name: str, value: str) -> None:
    """Sets one header without a check. The value is ASCII in one line."""
    _stored(response)[name.lower()] = (name, value)


def list_at_once(response: HttpResponseBase) -> None:
    """Lets Django's handler read the headers as they are stored, without three calls for each of them."""
    response.items = _stored(response).values  # type: ignore[method-assign]


def _stored(response: HttpResponseBase) -> dict[str, tuple[str, str]]:
    stored: dict[str, tuple[str, str]] = response.headers._store
    return stored
