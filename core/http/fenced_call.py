"""Calls from inside the operator's network to an address that people chose.

Only allowed addresses are called (`core/http/call_addresses.py`), checked on the address that is connected to. There
are no redirects, and time, response and memory are limited.
"""

import asyncio
import concurrent.futures
import contextlib
import ipaddress
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

import httpx
from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from core.http import tls
from core.http.call_addresses import IPAddress, refusal_of

DEADLINE_SECONDS = 10.0
URL_LIMIT_CHARACTERS = 2048
ADDRESSES_TRIED_LIMIT = 3


class CallFailed(Exception):
    """There is no response. The message is for people, and contains nothing of the request but its host."""


def send(request: httpx.Request, *, limit: int, caller: str) -> tuple[httpx.Response, bytes]:
    """Makes one call. Returns the head of the response and what was read of its body, up to or just over ``limit``.

    ``caller``: who calls, for a message about an address that is not allowed. Raises ``CallFailed``. Do not call in a
    thread that runs an event loop.
    """
    try:
        return asyncio.run(_call_in_time(request, limit, caller))
    except (httpx.HTTPError, OSError) as error:
        # `from None`: errors of httpx carry the request, and with it secret headers and the query.
        where = request.headers["Host"] + (" (through the portal's proxy)" if _proxy_for(request.url) else "")
        raise CallFailed(_sentence_for(error, where=where)) from None


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


async def _call_in_time(request: httpx.Request, limit: int, caller: str) -> tuple[httpx.Response, bytes]:
    """The head of the answer, and of its body what was read up to or just over the limit.

    One deadline around everything: the timeouts of httpx restart with each read, and a server
    that drips a byte every nine seconds would never meet them.
    """
    async with asyncio.timeout(DEADLINE_SECONDS):
        host = request.url.raw_host.decode("ascii")
        addresses = await _resolve(host)
        if refusal := refusal_of(host, addresses, caller=caller):
            raise CallFailed(refusal)
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
            answer.set_exception(CallFailed(f"The name {host} has no address. Check the host in the URL."))

    # In a separate thread, because asyncio.run waits for the threads of loop.getaddrinfo past any deadline.
    threading.Thread(target=look_up, name="call-dns", daemon=True).start()
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


def _sentence_for(error: Exception, *, where: str) -> str:
    if isinstance(error, httpx.ProxyError):
        return f"{where} was not called: the proxy refused. Ask the operator of the portal."
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = cause.verify_message.rstrip(".")
            return (
                f"The certificate of {where} was not accepted ({reason}), so nothing was sent. "
                "Check the host in the URL and the server's certificate."
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
        return f"{where} could not be reached. Check the host in the URL and the network."
    if isinstance(error, httpx.ProtocolError):
        return f"{where} gave no complete HTTP answer. Check that this port speaks HTTP."
    return f"The connection to {where} broke before the answer was complete. Look into its log."


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
