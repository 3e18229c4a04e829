"""Compresses pages.

The length of a compressed page can reveal a secret in it, to someone who can add text to the page, read the traffic and
load the page again and again (BREACH, https://www.breachattack.com/). So a page that shows a secret is never
compressed, nor is an answer to a request that another site caused. In all others, the token against forged forms is
masked differently each time, and Django adds up to 100 random bytes.

Brotli makes a large page a quarter smaller than gzip, but nothing adds random bytes to it. So only a page that repeats
nothing of its request is compressed with it: nobody can add text to such a page.
"""

import re

import brotli
from django.http import HttpRequest
from django.http.response import HttpResponse, HttpResponseBase
from django.middleware.gzip import GZipMiddleware
from django.utils.cache import patch_vary_headers

# Templates mark each secret with this attribute: a script removes it when the reader leaves (assets/js/secret.js).
SECRET = b"data-secret"
COMPRESSED = ("text/html", "application/vnd.oai.openapi+json")


# The API reference takes 11 ms, and as long as gzip (5 ms) with quality 6. Better ones take twice as long.
BROTLI_QUALITY = 7
_ACCEPTS_BROTLI = re.compile(r"\bbr\b")


class CompressionMiddleware(GZipMiddleware):
    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if not isinstance(response, HttpResponse) or not _may_be_compressed(request, response):
            return response
        accepted = request.headers.get("Accept-Encoding", "")
        if getattr(response, "repeats_nothing", False) and _ACCEPTS_BROTLI.search(accepted):
            return _with_brotli(response)
        return super().process_response(request, response)


def repeats_nothing(response: HttpResponse) -> HttpResponse:
    """Marks an answer that contains nothing of its request."""
    response.repeats_nothing = True  # type: ignore[attr-defined]
    return response


def _with_brotli(response: HttpResponse) -> HttpResponse:
    response.content = brotli.compress(response.content, quality=BROTLI_QUALITY)
    response.headers["Content-Encoding"] = "br"
    response.headers["Content-Length"] = str(len(response.content))
    patch_vary_headers(response, ("Accept-Encoding",))
    return response


def _may_be_compressed(request: HttpRequest, response: HttpResponse) -> bool:
    # Over TLS, all browsers say since 2023 where a request comes from. `none`: the person typed the address.
    if request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
        return False
    return response.get("Content-Type", "").startswith(COMPRESSED) and SECRET not in response.content
