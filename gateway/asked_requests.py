"""What a proxy asks about: method and path of the request that it wants to pass on to a service.

Proxies say it in three ways, and each request must come in exactly one of them. A client can send the headers of
another way itself, and a proxy that doesn't know them passes them on. So a request that mixes the ways is refused.

- nginx and Kubernetes' ingress-nginx: `X-Original-Method`, and `X-Original-URI` or `X-Original-URL` (a whole URL).
- Caddy and Traefik: `X-Forwarded-Method` and `X-Forwarded-Uri`.
- Envoy: the request's own method, and the path behind the address of the check.

Clients can also send a header twice: the web server joins the values with a comma, which `request_paths` refuses. It
reads `X_Original_URI` as `X-Original-URI` too, and the last one counts. WSGI has one name for both, so nothing here can
see the difference: the proxy must remove names with an underscore (docs/services.md).
"""

import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from django.http import HttpRequest
from django.utils.translation import gettext_noop

from core.http.request_context import TARGET_MAX_LENGTH, printable, without_tokens
from gateway import request_paths
from gateway.request_paths import Ambiguous

_METHOD = re.compile(r"[A-Z]{1,10}")
_ORIGINAL, _FORWARDED = "X-Original-*", "X-Forwarded-*"
# With these, frameworks read a POST as another method than the one that was checked.
OVERRIDES = ("HTTP_X_HTTP_METHOD_OVERRIDE", "HTTP_X_HTTP_METHOD", "HTTP_X_METHOD_OVERRIDE")


@dataclass(frozen=True)
class AskedRequest:
    """``target``: path and query, percent-encoded, as the proxy got it. ``host``: empty if the proxy doesn't say it."""

    method: str
    target: str
    host: str = ""

    @property
    def method_to_log(self) -> str:
        return printable(self.method)[:10]

    @property
    def target_to_log(self) -> str:
        """Without the query, as for the portal's own API."""
        return without_tokens(printable(self.target.partition("?")[0]))[:TARGET_MAX_LENGTH]

    def path(self) -> str:
        """The decoded path. Raises ``Ambiguous``."""
        if not _METHOD.fullmatch(self.method):
            raise Ambiguous(gettext_noop("The method is not one word in capital letters."))
        return request_paths.path_of(self.target)


def asked_by(request: HttpRequest, rest: str | None) -> AskedRequest:
    """``rest``: what follows the address of the check and a slash; ``None`` without a slash. Raises ``Ambiguous``."""
    sent = request.META
    original, forwarded = _original(sent), _forwarded(sent)
    ways = [way for way in (original, forwarded, _in_path(request, rest)) if way is not None]
    if len(ways) != 1:
        raise Ambiguous(_mixed(ways))
    if any(name in sent for name in OVERRIDES):
        raise Ambiguous("The request has a header that changes its method.")
    return ways[0]


def _mixed(ways: list[AskedRequest]) -> str:
    if ways:
        return f"The request has headers of several proxies: {_ORIGINAL} and {_FORWARDED}."
    return "The proxy does not say which request this is about. Use the lines on the page of the service."


def _original(sent: dict[str, str]) -> AskedRequest | None:
    method, uri, url = (sent.get(f"HTTP_X_ORIGINAL_{name}") for name in ("METHOD", "URI", "URL"))
    if method is None and uri is None and url is None:
        return None
    if method is None or (uri is None) == (url is None):
        raise Ambiguous("The proxy must send X-Original-Method, and X-Original-URI or X-Original-URL.")
    return AskedRequest(method, uri) if uri is not None else _of_url(method, url or "")


def _of_url(method: str, url: str) -> AskedRequest:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise Ambiguous("X-Original-URL is no URL.") from None
    start = f"{parts.scheme}://{parts.netloc}"
    if parts.scheme not in ("http", "https") or not url.startswith(start):
        raise Ambiguous("X-Original-URL is no URL.")
    return AskedRequest(method, url.removeprefix(start), parts.netloc)


def _forwarded(sent: dict[str, str]) -> AskedRequest | None:
    method, uri = sent.get("HTTP_X_FORWARDED_METHOD"), sent.get("HTTP_X_FORWARDED_URI")
    if method is None and uri is None:
        return None
    if method is None or uri is None:
        raise Ambiguous("The proxy must send both X-Forwarded-Method and X-Forwarded-Uri.")
    return AskedRequest(method, uri, sent.get("HTTP_X_FORWARDED_HOST", ""))


def _in_path(request: HttpRequest, rest: str | None) -> AskedRequest | None:
    """The web server has decoded the path once. What is still encoded was encoded twice, and is refused."""
    if rest is None:
        return None
    path = f"/{rest}"
    if "%" in path or "\\" in path:
        raise Ambiguous("The path has percent-encoded characters that servers read differently.")
    return AskedRequest(request.method or "", quote(path, safe="/!$&'()*+:=@,;-._~"))
