"""Gives every request an id and the client's address, and reads what requests say about themselves."""

import ipaddress
import logging
import re
import uuid
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, cast

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.encoding import escape_uri_path

from core.db.uuid7 import uuid7
from core.http.own_headers import set_own
from core.types import User

if TYPE_CHECKING:
    from rest_framework.request import Request

logger = logging.getLogger(__name__)

USER_AGENT_MAX_LENGTH = 256
TARGET_MAX_LENGTH = 512

# A JWT, or the beginning of one: its header and payload are JSON objects in base64url.
JWT_BEGINNING = r"eyJ[A-Za-z0-9_\-]{8}"
JWT = re.compile(rf"{JWT_BEGINNING}[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*){{0,2}}")
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# An address with a port, and IPv6 in brackets, as RFC 7239 section 6 writes them. A port may be obfuscated ("_web").
_IN_BRACKETS = re.compile(r"\[([^\[\]]*)\](?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]+))?")
_DOTTED_WITH_PORT = re.compile(r"(.*\.[0-9]+):(?:[0-9]{1,5}|_[A-Za-z0-9._-]+)")


class PortalRequest(HttpRequest):
    """The type of a request that has passed ``RequestContextMiddleware``; for annotations only."""

    request_id: uuid.UUID
    client_address: str | None


class RequestContextMiddleware:
    """Sets ``request_id``, which the response repeats as ``X-Request-ID``, and ``client_address``.

    The portal always creates the id: a client could choose one that is already in the logs.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: PortalRequest) -> HttpResponseBase:
        request.request_id = uuid7()
        request.client_address = client_address(request)
        response = self.get_response(request)
        set_own(response, "X-Request-ID", str(request.request_id))
        return response


def person_of(request: "HttpRequest | Request") -> User:
    """The signed-in person, for views that only signed-in people can open."""
    return cast(User, request.user)


def client_address(request: HttpRequest) -> str | None:
    """The client's address: the peer's, unless the peer is one of our proxies.

    ``X-Forwarded-For`` is read from right to left. An entry is believed only if a trusted proxy reported it: everything
    to the left of the first untrusted address could be forged.
    """
    address = _peer(request.META.get("REMOTE_ADDR", ""))
    hops = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    while address is not None and hops and _is_trusted_proxy(address):
        hop = hops.pop().strip()
        if not hop:
            # RFC 9110 section 5.6.1: a recipient ignores empty elements of a list.
            continue
        reported = _reported(hop)
        if reported is None:
            _tell_unreadable(hop, str(address))
            break
        address = reported
    return str(address) if address else None


def comes_from_proxy(request: HttpRequest) -> bool:
    """Whether the connection itself comes from a trusted proxy."""
    address = _peer(request.META.get("REMOTE_ADDR", ""))
    return address is not None and _is_trusted_proxy(address)


def read_address(text: str) -> str | None:
    """The address in its usual form; ``None`` if the text is none."""
    address = _parse(text)
    return str(address) if address else None


def user_agent(request: HttpRequest) -> str:
    """The ``User-Agent`` header, shortened, on one line, and without tokens."""
    sent = request.META.get("HTTP_USER_AGENT", "")
    return _cleaned_agent(sent) if len(sent) <= USER_AGENT_MAX_LENGTH else clean_agent(sent)


def clean_agent(sent: str) -> str:
    """As `user_agent`, for a value that somebody else received."""
    return without_tokens(printable(sent))[:USER_AGENT_MAX_LENGTH]


def target(request: HttpRequest) -> str:
    """The requested path, percent-encoded, without the query string and without tokens."""
    path = request.path
    return _cleaned_path(path) if len(path) <= TARGET_MAX_LENGTH else _clean_path(path)


def _clean_path(path: str) -> str:
    return without_tokens(escape_uri_path(path))[:TARGET_MAX_LENGTH]


# Scripts send the same again and again. Long texts are not remembered: a client could fill the memory with them.
_cleaned_agent, _cleaned_path = (lru_cache(maxsize=1000)(clean) for clean in (clean_agent, _clean_path))


def printable(text: str) -> str:
    """Replaces characters that could start a new line or be invisible in a terminal, a CSV file or a page."""
    clean = _CONTROL_CHARACTERS.sub(" ", text)
    return clean.encode("utf-8", "replace").decode()


def without_tokens(text: str) -> str:
    """Replaces each token in the text by "[token]": a token that was pasted into the wrong place must not be stored."""
    return JWT.sub("[token]", text)


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def address_in(text: str) -> str | None:
    """The address as logs have it; ``None`` for any other text."""
    address = _parse(text)
    return str(address) if address else None


def _is_trusted_proxy(address: Address) -> bool:
    return any(address in network for network in settings.TRUSTED_PROXIES)


def _reported(hop: str) -> Address | None:
    """The address in an entry of ``X-Forwarded-For``, which may be quoted and carry brackets and a port."""
    if len(hop) > 1 and hop[0] == hop[-1] == '"':
        hop = hop[1:-1].strip()
    if in_brackets := _IN_BRACKETS.fullmatch(hop):
        return _parse(in_brackets[1]) if ":" in in_brackets[1] else None
    if dotted := _DOTTED_WITH_PORT.fullmatch(hop):
        return _parse(dotted[1])
    return _parse(hop)


def _tell_unreadable(hop: str, proxy: str) -> None:
    """Logs once for each proxy: a misconfigured proxy sends this with every request."""
    if proxy not in _told_of and len(_told_of) < 100:
        _told_of.add(proxy)
        logger.warning(
            "The proxy %s sends X-Forwarded-For with an entry that is no address, %r. The portal logs the proxy's "
            "own address for such requests. This is logged once for each proxy.",
            proxy,
            printable(hop)[:100],
        )


_told_of: set[str] = set()


def _parse(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        # Without the zone (`fe80::1%eth0`): it is free text, and databases refuse it in an address.
        return address.ipv4_mapped or ipaddress.IPv6Address(int(address))
    return address


# Cached for peers only, whose address comes from the connection, and not for what clients write.
_peer = lru_cache(maxsize=1000)(_parse)


def is_look_ahead(request: HttpRequest) -> bool:
    """Whether the browser only prefetches (`Sec-Purpose` and its predecessors), or sends HEAD."""
    purposes = (request.headers.get(name, "") for name in ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"))
    return request.method == "HEAD" or any("prefetch" in purpose.lower() for purpose in purposes)


# What the proxies in front of services ask or pass on.
_FOR_PROXIES = "/auth/"
_OAUTH = "/oauth/"
_API = ("/api/v1/", "/scim/v2/", _FOR_PROXIES, _OAUTH)
_API_ITSELF = frozenset({"/api/v1", "/scim/v2"})


def is_api(request: HttpRequest) -> bool:
    """Whether this request is for a program: the API, SCIM, the proxies of services, and OAuth. Then every error is a
    JSON document."""
    return request.path_info.startswith(_API) or request.path_info in _API_ITSELF


def is_scim(request: HttpRequest) -> bool:
    """Whether this request is for SCIM, the part of the API whose errors have SCIM's own shape (RFC 7644)."""
    return request.path_info.startswith("/scim/v2/") or request.path_info == "/scim/v2"


def is_oauth(request: HttpRequest) -> bool:
    """Whether this request is for an endpoint of OAuth, the part of the API whose errors have OAuth's own shape (RFC
    6749 section 5.2). There services send tokens in the body, and their own credentials in the body or in the
    header."""
    return request.path_info.startswith(_OAUTH)


def carries_token(request: HttpRequest) -> bool:
    """Whether this is an API request with an ``Authorization`` header, whatever the header says, or one that has a
    token in its body."""
    return is_api(request) and ("HTTP_AUTHORIZATION" in request.META or is_oauth(request))


def is_for_proxies(request: HttpRequest) -> bool:
    """Whether the proxy of a service sends this request.

    Its cookies are those of another host, and a browser may get the answer there. So the middleware of pages must not
    see it: it would take such a cookie for the portal's own, or remove it.
    """
    return request.path_info.startswith(_FOR_PROXIES)
