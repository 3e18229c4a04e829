"""Encodes and decodes tokens, and signs answers about them. No other module knows their format.

Header: ``alg``, ``kid``, ``typ: at+jwt`` (RFC 9068). Claims: ``iss``, ``aud`` (the portal or one service:
`core/api/audiences.py`), ``sub`` (owner), ``jti`` (token), ``iat``, ``nbf``, ``exp`` (whole
seconds), ``scope`` (RFC 6749), ``account`` (organization), ``token_type``, and
``status`` if its service reads status lists (`tokens/status_lists`).
"""

import hashlib
import json
import re
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import jwt as pyjwt
from django.conf import settings
from django.views.decorators.debug import sensitive_variables
from jwt.utils import base64url_decode, base64url_encode
from rest_framework_simplejwt.exceptions import TokenBackendError
from rest_framework_simplejwt.tokens import Token as BaseToken

from core.api.audiences import audience_of, service_named_in
from tokens.keys.ring import KeyRing, key_ring
from tokens.keys.signing_key import SigningKey
from tokens.status_lists.claims import claim_of

if TYPE_CHECKING:
    from tokens.models import Token

TYPE = "at+jwt"
INTROSPECTION_TYPE = "token-introspection+jwt"
TOKEN_TYPE = "personal_access"  # noqa: S105
MAX_LENGTH = 4096
# The clocks of two machines differ by some seconds, and one may check a token that the other has just signed (RFC 7519
# section 4.1.5). There is no leeway for ``exp``: an expired token is refused.
NOT_BEFORE_LEEWAY = timedelta(seconds=10)
MAX_REMEMBERED = 10_000

_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_REQUIRED = ["iss", "aud", "sub", "jti", "iat", "nbf", "exp", "scope", "account", "token_type"]


class NotGenuine(TokenBackendError):
    """This installation did not sign it, or it was changed. The message is for the server's own log."""


@dataclass(frozen=True)
class VerifiedClaims:
    """The claims of a genuine token. Its record says whether it is still valid.

    ``service_id``: the service that the token is for; ``None`` for the portal's own API.
    """

    key_id: str
    token_id: uuid.UUID
    owner_id: uuid.UUID
    expires_at: datetime
    not_before: datetime
    service_id: uuid.UUID | None


class KeyRingBackend:
    """Lets simplejwt's token class sign and verify with the key ring instead of a single configured key."""

    def encode(self, payload: dict[str, Any], key: SigningKey | None = None) -> str:
        key = key or key_ring().current
        claims = {"iss": settings.TOKEN_ISSUER, "aud": audience_of(None), **payload}
        return pyjwt.encode(claims, key.private_key, algorithm=key.algorithm, headers={"typ": TYPE, "kid": key.id})

    def decode(self, token: str, verify: bool = True) -> dict[str, Any]:
        """The claims of a genuine token, even if it has ended. Raises ``NotGenuine``.

        Ignores ``verify=False``, with which simplejwt reads tokens without checking them.
        """
        return _verify(token)


class AccessToken(BaseToken):
    """simplejwt's token class with the key ring."""

    token_type = TOKEN_TYPE
    lifetime = timedelta(days=31)
    _token_backend = KeyRingBackend()

    def verify(self) -> None:
        """Skips simplejwt's check of ``exp``: uses of genuine tokens that have expired belong in their owners' logs."""


@sensitive_variables()
def encode(token: "Token") -> tuple[str, str]:
    """The signed JWT for a token's metadata, and the id of the key that signed it."""
    key = key_ring().current
    return AccessToken._token_backend.encode({**claims_of(token), **claim_of(token)}, key), key.id


def claims_of(token: "Token") -> dict[str, Any]:
    """What the JWT of a token says, without its place in a status list. A token that has ended early says another
    ``exp`` than the JWT that was shown."""
    return {
        "iss": settings.TOKEN_ISSUER,
        "aud": audience_of(token.service_id),
        "sub": str(token.owner_id),
        "jti": str(token.pk),
        "iat": int(token.created_at.timestamp()),
        "nbf": int((token.not_before or token.created_at).timestamp()),
        "exp": int(token.expires_at.timestamp()),
        "scope": token.scope,
        "account": token.organization.slug,
        "token_type": TOKEN_TYPE,
    }


def sign_introspection(answer: dict[str, Any], *, client_id: str) -> str:
    """The answer to a service that asked about a token, as a JWT (RFC 9701 section 5). Its type and its lack of ``sub``
    and ``exp`` keep it from being taken for a token."""
    key = key_ring().current
    claims = {"iss": settings.TOKEN_ISSUER, "aud": client_id, "iat": int(time.time()), "token_introspection": answer}
    headers = {"typ": INTROSPECTION_TYPE, "kid": key.id}
    return pyjwt.encode(claims, key.private_key, algorithm=key.algorithm, headers=headers)


def decode(encoded: str) -> VerifiedClaims:
    """The claims of a genuine token, even if it has ended. Raises ``NotGenuine``.

    Remembers which tokens have a good signature, which stays true until the keys change. It remembers a digest, because
    the token itself is stored nowhere. Whether the token is live is checked each time, by the caller.
    """
    remembered = _remembered.of(key_ring())
    digest = hashlib.sha256(encoded.encode(errors="surrogatepass")).digest()
    claims = remembered.get(digest)
    if claims is None:
        claims = remembered[digest] = _decode(encoded)
    return claims


class _Remembered:
    """The claims of genuine tokens, until the key ring or the settings change."""

    def __init__(self) -> None:
        self._valid_for: object = None
        self._claims: dict[bytes, VerifiedClaims] = {}

    def of(self, ring: KeyRing) -> dict[bytes, VerifiedClaims]:
        valid_for = (ring, settings.TOKEN_ISSUER, settings.TOKEN_AUDIENCE)
        if self._valid_for != valid_for or len(self._claims) >= MAX_REMEMBERED:
            self._valid_for, self._claims = valid_for, {}
        return self._claims


_remembered = _Remembered()


def _decode(encoded: str) -> VerifiedClaims:
    claims = AccessToken._token_backend.decode(encoded)
    return VerifiedClaims(
        key_id=_header(encoded)["kid"],
        token_id=_uuid(claims["jti"]),
        owner_id=_uuid(claims["sub"]),
        expires_at=datetime.fromtimestamp(claims["exp"], UTC),
        not_before=datetime.fromtimestamp(claims["nbf"], UTC),
        service_id=service_named_in(claims["aud"]),
    )


def _verify(encoded: str) -> dict[str, Any]:
    """Cheap checks first. The key decides the algorithm, never the token (RFC 8725)."""
    if len(encoded) > MAX_LENGTH or not _FORM.fullmatch(encoded):
        raise NotGenuine("not in the form of a JWT")
    if not all(_is_canonical(segment) for segment in encoded.split(".")):
        raise NotGenuine("base64url that is not canonical")
    header = _header(encoded)
    key = key_ring().find(header.get("kid"))
    if key is None:
        raise NotGenuine("no key with this id")
    if header != {"alg": key.algorithm, "kid": header["kid"], "typ": TYPE}:
        raise NotGenuine("a header that is not ours")
    try:
        claims: dict[str, Any] = pyjwt.decode(
            encoded,
            key.private_key.public_key(),
            algorithms=[key.algorithm],
            issuer=settings.TOKEN_ISSUER,
            # `_check_claims` checks the audience, which is one of many, and `tokens.authentication` the times.
            options={
                "require": _REQUIRED,
                "verify_aud": False,
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
    except pyjwt.InvalidTokenError as error:
        raise NotGenuine(f"{type(error).__name__}") from None
    _check_claims(claims)
    return claims


def begins_with_jwt(text: str) -> bool:
    """Whether the text begins with a whole JWT of any product: three parts, the first of which is a JSON object."""
    if not _FORM.match(text):
        return False
    try:
        return bool(_header(text))
    except NotGenuine:
        return False


def _is_canonical(segment: str) -> bool:
    """Whether this is the only encoding of its bytes: others differ in unused trailing bits."""
    try:
        return base64url_encode(base64url_decode(segment)).decode() == segment
    except ValueError:
        return False


def _header(encoded: str) -> dict[str, Any]:
    try:
        header = json.loads(base64url_decode(encoded.split(".")[0]))
    except (ValueError, RecursionError):
        raise NotGenuine("a header that is not JSON") from None
    if not isinstance(header, dict):
        raise NotGenuine("a header that is not an object")
    return header


def _check_claims(claims: dict[str, Any]) -> None:
    """The signature is ours, so these checks protect against other uses of the same keys."""
    if claims["token_type"] != TOKEN_TYPE:
        raise NotGenuine("not a personal access token")
    if not all(type(claims[name]) is int for name in ("iat", "nbf", "exp")):
        raise NotGenuine("times that are not whole seconds")
    if not all(isinstance(claims[name], str) for name in ("sub", "jti", "scope", "account", "aud")):
        raise NotGenuine("claims of the wrong type")
    try:
        service_named_in(claims["aud"])
    except ValueError:
        raise NotGenuine("an audience that is not ours") from None
    if not -(2**33) < claims["iat"] <= claims["nbf"] < claims["exp"] < 2**37:
        raise NotGenuine("times out of range or out of order")


def _uuid(text: str) -> uuid.UUID:
    try:
        found = uuid.UUID(text)
    except ValueError:
        raise NotGenuine("an id that is not a UUID") from None
    if str(found) != text:
        raise NotGenuine("an id that is not canonical")
    return found
