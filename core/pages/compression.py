"""Compresses pages.

The length of a compressed page can reveal a secret in it, to someone who can add text to the page, read the traffic and
load the page again and again (BREACH, https://www.breachattack.com/). So a page that shows a secret is never
compressed, nor is an answer to a request that another site caused. In all others, the token against forged forms is
masked differently each time, and Django adds up to 100 random bytes.
"""

from django.http import HttpRequest
from django.http.response import HttpResponse, HttpResponseBase
from django.middleware.gzip import GZipMiddleware

# Templates mark each secret with this attribute: a script removes it when the reader leaves (assets/js/secret.js).
SECRET = b"data-secret"
COMPRESSED = ("text/html", "application/vnd.oai.openapi+json")


class CompressionMiddleware(GZipMiddleware):
    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if not isinstance(response, HttpResponse) or not _may_be_compressed(request, response):
            return response
        return super().process_response(request, response)


def _may_be_compressed(request: HttpRequest, response: HttpResponse) -> bool:
    # Over TLS, all browsers say since 2023 where a request comes from. `none`: the person typed the address.
    if request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
        return False
    return response.get("Content-Type", "").startswith(COMPRESSED) and SECRET not in response.content
