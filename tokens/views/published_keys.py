"""The public keys, for services that verify tokens."""

from datetime import timedelta

from django.http import HttpRequest, JsonResponse

from tokens.keys.ring import key_ring
from tokens.keys.rotation import JWKS_MAX_AGE


def jwks(request: HttpRequest) -> JsonResponse:
    """The public keys, with which other services verify tokens and cannot make any (RFC 7517)."""
    response = JsonResponse(key_ring().jwks(), content_type="application/jwk-set+json")
    # The same for everyone: scripts of every site may verify tokens with them.
    response["Access-Control-Allow-Origin"] = "*"
    response["Cache-Control"] = f"public, max-age={JWKS_MAX_AGE // timedelta(seconds=1)}"
    return response
