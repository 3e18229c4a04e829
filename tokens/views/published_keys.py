"""The public keys, for services that verify tokens."""

from datetime import timedelta

from django.http import HttpRequest, JsonResponse

from core.http.open_views import open_to_everybody
from tokens.keys.ring import key_ring
from tokens.keys.rotation import JWKS_MAX_AGE


@open_to_everybody
def jwks(request: HttpRequest) -> JsonResponse:
    """The public keys as a JWK set (RFC 7517). Services can verify tokens with them, but not create any."""
    response = JsonResponse(key_ring().jwks(), content_type="application/jwk-set+json")
    # Scripts of all sites may verify tokens with them.
    response["Access-Control-Allow-Origin"] = "*"
    response["Cache-Control"] = f"public, max-age={JWKS_MAX_AGE // timedelta(seconds=1)}"
    return response
