"""Makes the calls of HTTP steps, and refuses addresses that must not be called
(docs/product.md#pipelines-and-access-rules).

People choose the URL, and the portal calls it from inside the operator's network. `pipelines/step_addresses.py`
says which addresses steps can call; here, time, response and memory are limited.
"""

import asyncio
import concurrent.futures
import contextlib
import ipaddress
import re
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

import httpx
from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from core.http import tls
from core.http.request_context import JWT
from pipelines.redaction import NO_SECRETS, NotSearchable, Secrets, redacted
from pipelines.step_addresses import IPAddress, refusal_of

DEADLINE_SECONDS = 10.0
BODY_LIMIT_BYTES = 64 * 1024
URL_LIMIT_CHARACTERS = 2048
# With its secret parameters, percent-encoded.
SENT_URL_LIMIT_CHARACTERS = 32 * 1024
HEADERS_LIMIT = 50
HEADER_LIMIT_BYTES = 8 * 1024
ADDRESSES_TRIED_LIMIT = 3

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
        response, received = asyncio.run(_call_in_time(request, BODY_LIMIT_BYTES + secrets.margin))
    except (httpx.HTTPError, OSError) as error:
        # `from None`: errors of httpx carry the request, and with it secret headers and the query.
        where = request.headers["Host"] + (" (through the portal's proxy)" if _proxy_for(request.url) else "")
        raise HttpStepError(_sentence_for(error, where=where)) from None
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


def check_url(url: str, *, limit: int = URL_LIMIT_CHARACTERS) -> None:
    """Raises ``ValueError`` with a sentence for the form if this URL cannot be called.

    The host's addresses are checked at the call: only the address that is connected to counts.
    """
    if len(url) > limit:
        too_long = ngettext(
            "The URL must have at most %(limit)s character.", "The URL must have at most %(limit)s characters.", limit
        )
        raise ValueError(too_long % {"limit": limit})
    if not url.isprintable():
        raise ValueError(_("The URL must not contain control characters or line breaks."))
    try:
        # The same parser as for the call: another one could find another host in the same text.
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        raise ValueError(_("The URL is malformed. Write it like https://jenkins.example.com/job/build.")) from None
    if parts.scheme not in {"http", "https"}:
        raise ValueError(_("The URL must start with http:// or https://."))
    if parts.userinfo:
        raise ValueError(_("The URL must not contain a user name or password. Use an Authorization header."))
    # No percent-encoding and no IPv6 zone (fe80::1%eth0): readers differ on what host these name.
    if not re.fullmatch(rb"[0-9A-Za-z._:-]+", parts.raw_host):
        raise ValueError(_("The URL must name a host, like https://jenkins.example.com/job/build."))
    if parts.port is not None and not 1 <= parts.port <= 65535:
        raise ValueError(_("The port in the URL must be from 1 to 65535."))


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


async def _call_in_time(request: httpx.Request, limit: int) -> tuple[httpx.Response, bytes]:
    """The head of the answer, and of its body what was read up to or just over the limit.

    One deadline around everything: the timeouts of httpx restart with each read, and a server
    that drips a byte every nine seconds would never meet them.
    """
    async with asyncio.timeout(DEADLINE_SECONDS):
        host = request.url.raw_host.decode("ascii")
        addresses = await _resolve(host)
        if refusal := refusal_of(host, addresses):
            raise HttpStepError(refusal)
        if proxy := _proxy_for(request.url):
            return await _exchange(request, None, DEADLINE_SECONDS, limit, proxy)
        *others, last = addresses[:ADDRESSES_TRIED_LIMIT]
        patience = DEADLINE_SECONDS / (len(others) + 1)
        for address in others:
            # Needed if a name also has an unreachable IPv6 address. The call is still
            # made only once: without a connection nothing was sent.
            with contextlib.suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return await _exchange(request, address, patience, limit)
        return await _exchange(request, last, patience, limit)


async def _resolve(host: str) -> list[IPAddress]:
    """Every address of the host. Odd spellings (http://0x7f.1/) get their meaning here as well."""
    answer: concurrent.futures.Future[list[Any]] = concurrent.futures.Future()
    # From here on the deadline cannot cancel it: a late response still needs its future.
    answer.set_running_or_notify_cancel()

    def look_up() -> None:
        try:
            answer.set_result(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError):
            answer.set_exception(HttpStepError(f"The name {host} has no address. Check the host in the step's URL."))

    # In a separate thread, because asyncio.run waits for the threads of loop.getaddrinfo past any deadline.
    threading.Thread(target=look_up, name="http-step-dns", daemon=True).start()
    found = await asyncio.wrap_future(answer)
    texts = dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found)
    return [ipaddress.ip_address(text) for text in texts]


def _proxy_for(url: httpx.URL) -> str | None:
    """The operator's proxy for this URL. It resolves the name itself, so the operator decides what it reaches."""
    proxies = settings.HTTP_STEP_PROXIES
    proxy: str | None = proxies.get(url.scheme)
    return None if proxy and proxy_bypass_environment(url.netloc.decode("ascii"), proxies) else proxy


async def _exchange(
    request: httpx.Request, address: IPAddress | None, connect_seconds: float, limit: int, proxy: str | None = None
) -> tuple[httpx.Response, bytes]:
    """``address``: where to connect to; ``None``: a ``proxy`` gets the host by its name."""
    opened = contextlib.AsyncExitStack()

    async def close_at_the_end(event: str, info: dict[str, Any]) -> None:
        # httpcore loses a connection if the deadline comes during its TLS handshake.
        if event == "connection.connect_tcp.complete":
            opened.push_async_callback(info["return_value"].aclose)

    pinned = httpx.Request(
        request.method,
        # Connect to the checked address: the name could lead elsewhere by now.
        request.url.copy_with(host=str(address)) if address else request.url,
        headers=request.headers,
        content=request.content,
        extensions={
            # httpcore gives it to `ssl` as server_hostname, the name the certificate must be for.
            # Certificates leave out the dot that may end a name.
            "sni_hostname": request.url.raw_host.decode("ascii").removesuffix("."),
            "timeout": httpx.Timeout(None, connect=connect_seconds).as_dict(),
            "trace": close_at_the_end,
        },
    )
    # The transport alone, without a client, has no redirects, cookies, netrc or proxies
    # of the environment, and writes no URL to the log.
    transport = httpx.AsyncHTTPTransport(
        verify=_tls_context(request.url.scheme),
        trust_env=False,
        proxy=httpx.Proxy(proxy, ssl_context=tls.client_context() if proxy.startswith("https:") else None)
        if proxy
        else None,
    )
    async with opened, transport:
        response = await transport.handle_async_request(pinned)
        async with contextlib.aclosing(response):
            return response, await _read_start(response, limit)


def _tls_context(scheme: str) -> ssl.SSLContext:
    if scheme == "http":
        # Trusts nobody and is not used. Loading the certificate authorities would cost 40 ms.
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return tls.client_context()


async def _read_start(response: httpx.Response, limit: int) -> bytes:
    received = bytearray()
    # Raw, because a few KiB of gzip decode to as many MiB.
    async for part in response.aiter_raw():
        received += part
        if len(received) > limit:
            break
    return bytes(received)


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


# Messages for the run's log


def _sentence_for(error: Exception, *, where: str) -> str:
    if isinstance(error, httpx.ProxyError):
        return f"{where} was not called: the proxy refused. Ask the operator of the portal."
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = cause.verify_message.rstrip(".")
            return (
                f"The certificate of {where} was not accepted ({reason}), so nothing was sent. "
                "Check the host in the step's URL and the server's certificate."
            )
        if isinstance(cause, ssl.SSLError):
            return f"{where} did not accept a TLS connection. Check that this port speaks https."
        if isinstance(cause, ConnectionRefusedError):
            return f"{where} refused the connection. Check that the service runs on this port."
        if isinstance(cause, TimeoutError | httpx.TimeoutException):
            return (
                f"{where} gave no complete answer within {DEADLINE_SECONDS:g} seconds, so the call "
                "was ended. It may have had an effect: look there before you repeat it."
            )
    if isinstance(error, httpx.ConnectError):
        return f"{where} could not be reached. Check the host in the step's URL and the network."
    if isinstance(error, httpx.ProtocolError):
        return f"{where} gave no complete HTTP answer. Check that this port speaks HTTP."
    return f"The connection to {where} broke before the answer was complete. Look into its log."


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
