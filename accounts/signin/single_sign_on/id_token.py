"""ID tokens of the provider: reading and checking them (OpenID Connect Core 1.0 section 3.1.3.7)."""

from typing import Any

import jwt
from django.utils import timezone

from accounts.signin.single_sign_on.failures import SignInFailure, fetch, moment, quoted
from accounts.signin.single_sign_on.provider import Provider

# Algorithms with public keys only: no shared secrets, and not "none".
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
# Allows for clocks that differ.
LEEWAY_SECONDS = 60
MALFORMED = (AttributeError, KeyError, TypeError, ValueError, jwt.PyJWTError)


class ProviderKeys(jwt.PyJWKClient):
    """The provider's public keys, fetched at each sign-in by the same client as everything else from the provider."""

    def __init__(self, provider: Provider, address: str) -> None:
        super().__init__(address, cache_jwk_set=False)
        self.provider = provider

    def fetch_data(self) -> dict[str, Any]:
        return fetch(self.provider, "the address of the keys", "GET", self.uri)


def claims_of(id_token: object, *, provider: Provider, nonce: str | None, keys_address: str) -> dict[str, Any]:
    """OpenID Connect Core 1.0 section 3.1.3.7. Raises ``SignInFailure``."""
    if not isinstance(id_token, str):
        raise SignInFailure("the token address answers no ID token")
    client_id = provider.client_id
    key = _key_of(id_token, provider, keys_address)
    try:
        claims: dict[str, Any] = jwt.decode(
            id_token,
            key,
            algorithms=ALGORITHMS,
            audience=client_id,
            issuer=provider.issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": ["iss", "sub", "aud", "exp", "iat"]},
        )
    except MALFORMED as error:
        raise SignInFailure(f"the ID token is refused: {_why(error, id_token, provider)}") from None
    is_for_several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if claims.get("azp", None if is_for_several else client_id) != client_id:
        raise SignInFailure(f"the ID token is for the client {quoted(claims.get('azp'))} (azp), and not for this one")
    if not nonce or claims.get("nonce") != nonce:
        raise SignInFailure("the ID token has another nonce than this sign-in, or none")
    return claims


def _key_of(id_token: str, provider: Provider, keys_address: str) -> jwt.PyJWK:
    try:
        header = jwt.get_unverified_header(id_token)
    except MALFORMED:
        raise SignInFailure("the ID token is no JWT") from None
    if header.get("alg") not in ALGORITHMS:
        raise SignInFailure(f"the ID token has the algorithm {quoted(header.get('alg'))}, which is not accepted")
    try:
        keys = ProviderKeys(provider, keys_address).get_jwk_set().keys
    except MALFORMED as error:
        raise SignInFailure(f"the provider's keys cannot be read: {quoted(error)}") from None
    kid = header.get("kid")
    fitting = [key for key in keys if key.key_id == kid or (kid is None and len(keys) == 1)]
    if not fitting:
        known = ", ".join(quoted(key.key_id) for key in keys[:10])
        raise SignInFailure(f"the ID token is signed with the key {quoted(kid)}; the provider's keys are {known}")
    return fitting[0]


def _why(error: Exception, id_token: str, provider: Provider) -> str:
    """Why an ID token is refused, with its value beside the expected one. Its signature has been checked before."""
    try:
        claims = jwt.decode(id_token, options={"verify_signature": False})
    except MALFORMED:
        claims = {}
    match error:
        case jwt.InvalidIssuerError():
            return (
                f"its issuer is {quoted(claims.get('iss'))}, and {provider.issuer_in_words} is "
                f"{quoted(provider.issuer)}"
            )
        case jwt.InvalidAudienceError():
            return (
                f"its audience is {quoted(claims.get('aud'))}, and {provider.client_id_in_words} is "
                f"{quoted(provider.client_id)}"
            )
        case jwt.ExpiredSignatureError() | jwt.ImmatureSignatureError() | jwt.InvalidIssuedAtError():
            now = timezone.now().timestamp()
            times = ", ".join(f"{name} {moment(claims[name])}" for name in ("iat", "nbf", "exp") if name in claims)
            return f"{quoted(error)}: {times}; this machine's clock says {moment(now)} (leeway {LEEWAY_SECONDS} s)"
        case _:
            return f"{type(error).__name__}: {quoted(error)}"
