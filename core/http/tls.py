"""Whom the portal trusts when it connects to others by TLS: said once, for the provider, for mail and for HTTP steps.

The public authorities (certifi), those of this machine, and those of ``SSL_CERT_FILE``, where a company puts its own.
The variable is OpenSSL's own; `requests` and `httpx` would each ignore it or read it in another way.
"""

import ssl
from typing import Any

import certifi
from requests.adapters import HTTPAdapter


def client_context() -> ssl.SSLContext:
    """A new context that checks certificates and names, for a connection that the portal opens."""
    context = ssl.create_default_context(cafile=certifi.where())
    context.load_default_certs()
    return context


class TrustingAdapter(HTTPAdapter):
    """`requests` with this context. By itself it knows the public authorities and a variable of its own."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=client_context())

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        return super().proxy_manager_for(*args, **kwargs, ssl_context=client_context())
