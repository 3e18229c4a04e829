"""Secret parameters of a step's URL and secret fields of its body.

The values are added at the call, encoded for their place, so that no value can change the host, the path or the rest
of the body. Plain values whose names mark them as secret are refused.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, unquote_plus, urlencode

from django.utils.translation import gettext, ngettext

NAME_MAX_LENGTH = 200
FIELDS_LIMIT = 50
VALUE_LIMIT_BYTES = 8 * 1024
FORM = "application/x-www-form-urlencoded"

# Names whose values are secrets. Narrower than for headers: "author" or "private" are common in queries and bodies.
_SECRET_NAME = re.compile(
    r"token|secret|passw|passphrase|credential|signature|authorization|(api|access|private)[-_]?key"
    r"|^(auth|key|pass|pwd|sig)$",
    re.IGNORECASE,
)


def is_secret_name(name: str) -> bool:
    return bool(_SECRET_NAME.search(name))


def check_names(values: Mapping[str, str | None]) -> None:
    """Raises ``ValueError`` with a sentence for the form if these names and values are not allowed."""
    if len(values) > FIELDS_LIMIT:
        raise ValueError(gettext("Give at most %(limit)s.") % {"limit": FIELDS_LIMIT})
    for position, (name, value) in enumerate(values.items(), start=1):
        # The message does not repeat the name: people put the value there.
        if not name or len(name) > NAME_MAX_LENGTH or not name.isprintable() or ":" in name:
            raise ValueError(
                gettext("Name %(position)s must have 1 to %(limit)s characters, without colons and line breaks.")
                % {"position": position, "limit": NAME_MAX_LENGTH}
            )
        if value is not None and len(value.encode(errors="replace")) > VALUE_LIMIT_BYTES:
            too_long = ngettext(
                "The value of %(name)s must have at most %(limit)s byte.",
                "The value of %(name)s must have at most %(limit)s bytes.",
                VALUE_LIMIT_BYTES,
            )
            raise ValueError(too_long % {"name": name, "limit": VALUE_LIMIT_BYTES})


# The query


def url_with(url: str, values: Mapping[str, str]) -> str:
    """Adds parameters to ``url``. Raises ``ValueError`` if its query already has one of them."""
    if not values:
        return url
    address, mark, fragment = url.partition("#")
    known = {name for name, _ in _parameters(address)}
    if twice := [name for name in values if name in known]:
        raise ValueError(gettext("%(name)s is in the URL already. Remove it there.") % {"name": twice[0]})
    joint = "?" if "?" not in address else "" if address.endswith(("?", "&")) else "&"
    return f"{address}{joint}{urlencode(values, quote_via=quote, safe='', errors='replace')}{mark}{fragment}"


def check_plain_query(url: str) -> None:
    """Raises ``ValueError`` if the query holds a secret that every editor of the step would see."""
    for name, value in _parameters(url.partition("#")[0]):
        if value and is_secret_name(name):
            raise ValueError(
                gettext("%(name)s in the URL carries a secret. Give it among the secret parameters of the URL.")
                % {"name": name}
            )


def split_query(url: str) -> tuple[str, dict[str, str]]:
    """Splits the parameters with secret names off ``url``. All others stay unchanged.

    Parameters that could not be sent unchanged also stay: a name that occurs twice, or bytes that are not UTF-8.
    """
    address, mark, fragment = url.partition("#")
    path, _, query = address.partition("?")
    names = Counter(name for name, _ in _parameters(address))
    kept, secret = [], {}
    for part in query.split("&"):
        try:
            name, value = (unquote_plus(text, errors="strict") for text in part.partition("=")[::2])
        except UnicodeDecodeError:
            name = value = ""
        if value and is_secret_name(name) and names[name] == 1 and ":" not in name:
            secret[name] = value
        else:
            kept.append(part)
    rest = "&".join(kept)
    return f"{path}{'?' if rest else ''}{rest}{mark}{fragment}", secret


def _parameters(address: str) -> list[tuple[str, str]]:
    return parse_qsl(address.partition("?")[2], keep_blank_values=True, max_num_fields=2048)


# The body


def body_with(headers: Mapping[str, str], body: str, values: Mapping[str, str]) -> str:
    """Adds fields to ``body``. Raises ``ValueError`` with a sentence for the form if they have no place in it.

    A form gets more pairs. A JSON object gets more strings: ``inputs.token`` is ``token`` inside ``inputs``.
    """
    if not values:
        return body
    if is_form(headers):
        known = {name for name, _ in parse_qsl(body, keep_blank_values=True)}
        if twice := [name for name in values if name in known]:
            raise ValueError(gettext("%(name)s is in the body already. Remove it there.") % {"name": twice[0]})
        return "&".join(filter(None, [body, urlencode(values, errors="replace")]))
    content = _json_object(body or "{}")
    for name, value in values.items():
        _put(content, name, value)
    return json.dumps(content, ensure_ascii=False, allow_nan=False)


def check_plain_body(headers: Mapping[str, str], body: str) -> None:
    """Raises ``ValueError`` if the body holds a secret that every editor of the step would see."""
    for name, value in _plain_fields(headers, body):
        if value and is_secret_name(name.rpartition(".")[2]):
            raise ValueError(
                gettext("%(name)s carries a secret. Give it among the secret fields of the body.") % {"name": name}
            )


def is_form(headers: Mapping[str, str]) -> bool:
    types = [value for name, value in headers.items() if name.lower() == "content-type"]
    return bool(types) and types[0].partition(";")[0].strip().lower() == FORM


def _plain_fields(headers: Mapping[str, str], body: str) -> Iterator[tuple[str, str]]:
    if is_form(headers):
        yield from parse_qsl(body, keep_blank_values=True)
        return
    try:
        waiting: list[tuple[str, Any]] = [("", _json_object(body))]
    except ValueError:
        return
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{path}.{name}" if path else name, inner) for name, inner in value.items()]
        elif isinstance(value, str):
            yield path, value


def _json_object(body: str) -> dict[str, Any]:
    try:
        content = json.loads(body)
        json.dumps(content, allow_nan=False)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ValueError(
            gettext("Secret fields need a body that is a JSON object, or a form with the header %(header)s.")
            % {"header": f"Content-Type: {FORM}"}
        )
    return content


def _put(content: dict[str, Any], name: str, value: str) -> None:
    *path, last = name.split(".")
    for part in path:
        content = content.setdefault(part, {})
        if not isinstance(content, dict):
            raise ValueError(
                gettext("%(name)s has no place in the body: %(part)s is no object there.")
                % {"name": name, "part": part}
            )
    if last in content:
        raise ValueError(gettext("%(name)s is in the body already. Remove it there.") % {"name": name})
    content[last] = value
