"""The portal's public address is what `PORTAL_URL` says, whatever a proxy in front of it passes on.

A proxy may strip the port from `Host`, or forget to say that the caller used https. Both are dealt with here, once, so
that nothing behind this module can build an address, compare an origin or redirect by what a request claims.
"""

import logging
from functools import lru_cache
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest

from core.environment import LOOPBACK_NAMES, origin
from core.http.request_context import comes_from_proxy, printable
from core.server_log import told_lately

logger = logging.getLogger(__name__)

MINUTE = 60

SCHEME_UNKNOWN = (
    "The proxy in front of the portal does not say whether https was used. "
    "The operator of this portal must configure it to send the header X-Forwarded-Proto."
)
WRONG_HOST = "The Host header of this request is not the name of this portal. Use the address that you were given."


def take_host_from_portal_url(request: HttpRequest) -> None:
    """Makes `request.get_host()` and all that is built from it (absolute addresses, origins, the name that passkeys
    belong to) say what `PORTAL_URL` says. A host that is not ours stays, and is refused.

    On loopback the caller's name stays: `127.0.0.1` and `localhost` are both used.
    """
    host = _host(settings.PORTAL_URL)
    if host is None or request.META.get("HTTP_HOST") == host:
        return
    try:
        request.get_host()
    except DisallowedHost:
        return
    request.META["HTTP_HOST"] = host


def scheme_is_unknown(request: HttpRequest) -> bool:
    """Whether a trusted proxy passed this request on without saying which scheme the caller used. Logs that."""
    if not settings.SECURE_PROXY_SSL_HEADER or not comes_from_proxy(request):
        return False
    sent = request.META.get(settings.SECURE_PROXY_SSL_HEADER[0], "")
    if sent.split(",")[0].strip() in {"http", "https"}:
        return False
    if not told_lately("scheme", MINUTE):
        logger.error(
            "The proxy %s sends no X-Forwarded-Proto with http or https in it (it sent %r). PORTAL_URL is %s, so the "
            "portal refuses what may have come in clear. Let the proxy send it: docs/operations.md.",
            request.META.get("REMOTE_ADDR"),
            printable(sent)[:100],
            settings.PORTAL_URL,
        )
    request.is_told = True  # type: ignore[attr-defined]
    return True


def tell_wrong_host(request: HttpRequest) -> None:
    """Once a minute for each wrong name, and for at most ten of them: anyone can send any."""
    asked = printable(request.META.get("HTTP_HOST", ""))[:100]
    if told_lately(f"host {asked.lower()}", MINUTE, among=("host", 10)):
        return
    logger.warning(
        "Refused a request for host %r: this portal is %r (PORTAL_URL). If people use the first name, set PORTAL_URL "
        "or let the proxy send the right Host.",
        asked,
        urlsplit(settings.PORTAL_URL).netloc,
    )


@lru_cache(maxsize=10)
def _host(portal_url: str) -> str | None:
    """Name and port as browsers send them; none for an address on loopback."""
    parts = urlsplit(origin(portal_url))
    return None if parts.hostname in LOOPBACK_NAMES else parts.netloc
