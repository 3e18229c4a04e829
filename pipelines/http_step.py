"""Makes the calls of HTTP steps, and refuses addresses that must not be called
(docs/product.md#pipelines-and-access-rules).

`core/http/fenced_call.py` limits which addresses can be called, and the time and size of a response.
"""

import contextlib
import re
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import httpx
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from core.http import fenced_call
from core.http.fenced_call import check_url
from core.http.request_context import JWT
from pipelines.redaction import NO_SECRETS, NotSearchable, Secrets, redacted

BODY_LIMIT_BYTES = 64 * 1024
# With its secret parameters, percent-encoded.
SENT_URL_LIMIT_CHARACTERS = 32 * 1024
HEADERS_LIMIT = 50
HEADER_LIMIT_BYTES = 8 * 1024

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """``body``: text of at most 64 KiB of the response, without secrets; ``is_truncated``: there was more.

    ``size``: bytes of the response as sent, at most 64 KiB. ``why_not_kept``: why there is no ``body``.
    """

    status: int
    body: str
    is_truncated: bool
    duration_ms: int
    size: int = 0
    why_not_kept: str = ""


class HttpStepError(Exception):
    """There is no response. The message is for the run's log and contains no secret of the step."""


def call(*, method: str, url: str, headers: Mapping[str, str], body: str, secrets: Secrets = NO_SECRETS) -> HttpAnswer:
    """Makes one call and returns the response, whatever its status. Raises ``HttpStepError`` if there is none.

    ``secrets`` are removed from the response before it is cut. Do not call in a thread that runs an event loop.
    """
    try:
        _check_method(method)
        check_url(url, limit=SENT_URL_LIMIT_CHARACTERS)
        check_headers(headers)
    except ValueError as error:
        raise HttpStepError(str(error)) from None

    request = _request(method, url, headers, body)
    started = time.monotonic()
    try:
        response, received = fenced_call.send(request, limit=BODY_LIMIT_BYTES + secrets.margin, caller="steps")
    except fenced_call.CallFailed as error:
        raise HttpStepError(str(error)) from None
    duration_ms = round((time.monotonic() - started) * 1000)
    size = min(len(received), BODY_LIMIT_BYTES)
    try:
        content = _decompressed(response, received, BODY_LIMIT_BYTES + secrets.margin)
        text = redacted(_text_of(content), secrets, limit=len(_text_of(content[:BODY_LIMIT_BYTES])), tokens=JWT)
    except NotSearchable as error:
        return HttpAnswer(response.status_code, "", len(received) > BODY_LIMIT_BYTES, duration_ms, size, str(error))
    is_truncated = max(len(received), len(content)) > BODY_LIMIT_BYTES
    return HttpAnswer(response.status_code, text, is_truncated, duration_ms, size)


# Checks of a step


def check_headers(headers: Mapping[str, str]) -> None:
    """Raises ``ValueError`` with a sentence for the form if these headers cannot be sent."""
    if len(headers) > HEADERS_LIMIT:
        too_many = ngettext(
            "There must be at most %(limit)s header.", "There must be at most %(limit)s headers.", HEADERS_LIMIT
        )
        raise ValueError(too_many % {"limit": HEADERS_LIMIT})
    if len({name.lower() for name in headers}) != len(headers):
        raise ValueError(_("A header appears twice. Names of headers ignore case."))
    for position, (name, value) in enumerate(headers.items(), start=1):
        if not TOKEN.fullmatch(name):
            # The message does not repeat the name: people paste "Authorization: Bearer ..." there.
            raise ValueError(
                _("The name of header %(position)s must consist of letters, digits and hyphens.")
                % {"position": position}
            )
        if len(name) + len(value) > HEADER_LIMIT_BYTES:
            too_long = ngettext(
                "Header %(position)s must have at most %(limit)s byte.",
                "Header %(position)s must have at most %(limit)s bytes.",
                HEADER_LIMIT_BYTES,
            )
            raise ValueError(too_long % {"position": position, "limit": HEADER_LIMIT_BYTES})
        if name.lower() in {"host", "content-length", "transfer-encoding", "connection"}:
            raise ValueError(_("The header %(name)s is set by the portal and cannot be chosen.") % {"name": name})
        if re.search(r"[\x00-\x1f\x7f-\x9f]", value):
            raise ValueError(
                _("The value of %(name)s must not contain control characters or line breaks.") % {"name": name}
            )
        if re.search(r"[^\x00-\xff]", value):
            raise ValueError(_("The value of %(name)s must consist of Latin-1 characters.") % {"name": name})


# Headers whose values are always secret.
_SECRET_NAME = re.compile(r"auth|cookie|token|secret|passw|api[-_]?key|private", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    return bool(_SECRET_NAME.search(name))


def check_plain_headers(headers: object) -> None:
    """Raises ``ValueError`` if these cannot be sent, or hold secrets that every editor of the step would see."""
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise ValueError("Give an object of names and texts.")
    check_headers(headers)
    for name in headers:
        if is_secret_name(name):
            raise ValueError(
                _("%(name)s carries a secret. Give it among the secret headers, which are never shown again.")
                % {"name": name}
            )


def _check_method(method: str) -> None:
    # CONNECT would turn the response into a tunnel.
    if not TOKEN.fullmatch(method) or method.upper() == "CONNECT":
        raise ValueError("The method must be one like GET or POST.")


# The call


def _request(method: str, url: str, headers: Mapping[str, str], body: str) -> httpx.Request:
    """The request with the host's name. httpx adds Host and Content-Length."""
    to_send = httpx.Headers({"User-Agent": "Opsera-Portal", "Accept": "*/*"})
    # Spaces around a value are no part of it (RFC 9110, section 5.5), and h11 refuses to send them.
    to_send.update({name.encode("ascii"): value.strip(" ").encode("latin-1") for name, value in headers.items()})
    to_send.update({"Accept-Encoding": "identity", "Connection": "close"})
    return httpx.Request(method, url, headers=to_send, content=body.encode(errors="replace"))


def _decompressed(response: httpx.Response, received: bytes, limit: int) -> bytes:
    """Decompresses at most ``limit`` + 1 bytes. Raises ``NotSearchable`` if that fails."""
    encodings = response.headers.get("Content-Encoding", "").lower().replace(" ", "")
    if encodings in {"", "identity"}:
        return received
    # 32 more: gzip or zlib, whichever it is. Some servers mean raw deflate by "deflate".
    formats = {"gzip": [zlib.MAX_WBITS | 32], "deflate": [zlib.MAX_WBITS | 32, -zlib.MAX_WBITS]}
    for bits in formats.get(encodings.removeprefix("x-"), []):
        with contextlib.suppress(zlib.error):
            return zlib.decompressobj(bits).decompress(received, limit + 1)
    raise NotSearchable("It came compressed in a way that the portal does not read, although it requested none.")


def _text_of(received: bytes) -> str:
    # PostgreSQL stores no NUL.
    return received.decode(errors="replace").replace("\0", "")
