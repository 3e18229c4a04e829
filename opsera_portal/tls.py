"""Whom the portal trusts when it connects to others by TLS: said once, for the provider, for mail and for HTTP steps.

The public authorities (certifi), those of this machine, and those of ``SSL_CERT_FILE``, where a company puts its own.
The variable is OpenSSL's own; `requests` and `httpx` would each ignore it or read it in another way.
"""

import ssl

import certifi


def client_context() -> ssl.SSLContext:
    """A new context that checks certificates and names, for a connection that the portal opens."""
    context = ssl.create_default_context(cafile=certifi.where())
    context.load_default_certs()
    return context
