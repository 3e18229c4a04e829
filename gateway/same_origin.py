"""Cross-site request forgery against a service that people open with a cookie.

The cookie is `SameSite=Lax`, so other sites can't use it to change anything. Other hosts of the same domain can, so
requests that may change something must come from a page of the service itself.
"""

from django.http import HttpRequest

_ONLY_READ = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN = frozenset({"same-origin", "none"})


def is_forged(request: HttpRequest, method: str, origin: str) -> bool:
    """Whether a page that is not of ``origin`` may have sent the request with this method, as far as the browser says.
    True if it says nothing. A WebSocket begins with GET, and every site can open one."""
    sent = request.META
    if method in _ONLY_READ and "HTTP_SEC_WEBSOCKET_KEY" not in sent:
        return False
    site = sent.get("HTTP_SEC_FETCH_SITE")
    return site not in _OWN if site is not None else sent.get("HTTP_ORIGIN") != origin
