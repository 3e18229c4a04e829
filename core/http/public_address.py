"""The portal's public address is always `PORTAL_URL`, whatever a proxy passes on.

A proxy can strip the port from `Host`, or not say that the client used https. Both cases are handled here, so that no
other code builds a URL, compares an origin or redirects by what a request claims.
"""

import logging
from functools import lru_cache
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext_noop

from core.http.request_context import comes_from_proxy, printable
from core.server_log import told_lately
from core.setting_readers import LOOPBACK_NAMES, origin

logger = logging.getLogger(__name__)

MINUTE = 60

# Translated where a page shows them.
SCHEME_UNKNOWN = gettext_noop(
    "The proxy in front of the portal does not say whether https was used. "
    "The operator of this portal must configure it to send the header X-Forwarded-Proto."
)
WRONG_HOST = gettext_noop(
    "The Host header of this request is not the name of this portal. Use the address that you were given."
)


def take_host_from_portal_url(request: HttpRequest) -> None:
    """Makes `request.get_host()` return the host of `PORTAL_URL`, and so everything that is built from it: absolute
    URLs, origins, the domain of passkeys. A host that is not allowed stays as it is, and is refused later.

    On loopback the client's host stays: people use both `127.0.0.1` and `localhost`.
    """
    host = _host(settings.PORTAL_URL)
    if request.path_info.startswith("/auth/verify/"):
        # Some proxies repeat the host of the service. The answer names none.
        request.META["HTTP_HOST"] = settings.ALLOWED_HOSTS[0]
    if host is None or request.META.get("HTTP_HOST") == host:
        return
    try:
        request.get_host()
    except DisallowedHost:
        return
    request.META["HTTP_HOST"] = host


def scheme_is_unknown(request: HttpRequest) -> bool:
    """Whether a trusted proxy passed this request on without saying which scheme the client used. Logs it if so."""
    if not settings.SECURE_PROXY_SSL_HEADER or not comes_from_proxy(request):
        return False
    sent = request.META.get(settings.SECURE_PROXY_SSL_HEADER[0], "")
    if sent.split(",")[0].strip() in {"http", "https"}:
        return False
    if not told_lately("scheme", MINUTE):
        logger.error(
            "The proxy %s sends no X-Forwarded-Proto with http or https in it (it sent %r). PORTAL_URL is %s, so the "
            "portal refuses what may have come without TLS. Configure the proxy to send it: docs/operations.md.",
            request.META.get("REMOTE_ADDR"),
            printable(sent)[:100],
            settings.PORTAL_URL,
        )
    request.is_told = True  # type: ignore[attr-defined]
    return True


def tell_wrong_host(request: HttpRequest) -> None:
    """Logs the wrong host: once a minute for each name, and at most ten names, because anyone can send any name."""
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
    """Host and port as browsers send them; ``None`` for a loopback address."""
    parts = urlsplit(origin(portal_url))
    return None if parts.hostname in LOOPBACK_NAMES else parts.netloc


def public_url(view_name: str, *args: object) -> str:
    """The whole address of a page, for mails and for other programs."""
    return f"{settings.PORTAL_URL}{reverse(view_name, args=args)}"
