"""The certificate authorities that the portal trusts when it opens TLS connections: to the provider, for mail and for
HTTP steps.

These are the public ones (certifi), those of this machine, and those in ``SSL_CERT_FILE``, for a company's own. OpenSSL
defines the variable; `requests` and `httpx` would ignore it or read it differently.
"""

import ssl
from typing import Any

import certifi
from requests.adapters import HTTPAdapter


def client_context() -> ssl.SSLContext:
    """A new context that checks certificates and host names."""
    context = ssl.create_default_context(cafile=certifi.where())
    context.load_default_certs()
    return context


class TrustingAdapter(HTTPAdapter):
    """Makes `requests` use this context instead of its own list of authorities."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=client_context())

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        return super().proxy_manager_for(*args, **kwargs, ssl_context=client_context())
