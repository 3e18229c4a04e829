"""Claims to JWT and back. Nothing else in the portal knows the format of a token.

Header: ``alg``, ``kid``, ``typ: at+jwt`` (RFC 9068). Claims: ``iss``, ``aud``, ``sub`` (owner), ``jti`` (token),
``iat``, ``nbf``, ``exp`` (whole seconds), ``scope`` (RFC 6749), ``account`` (organization), ``token_type``.
"""

import hashlib
import json
import re
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

from tokens.keys.ring import KeyRing, key_ring
from tokens.keys.signing_key import SigningKey

if TYPE_CHECKING:
    from tokens.models import Token

TYPE = "at+jwt"
TOKEN_TYPE = "personal_access"  # noqa: S105
MAX_LENGTH = 4096
# The clocks of two machines differ by some seconds: one may check a token that the other has just made (RFC 7519
# section 4.1.5). For ``exp`` there is no leeway: a token that has expired is refused.
NOT_BEFORE_LEEWAY = timedelta(seconds=10)
REMEMBERED_AT_MOST = 10_000

_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_REQUIRED = ["iss", "aud", "sub", "jti", "iat", "nbf", "exp", "scope", "account", "token_type"]


class NotGenuine(TokenBackendError):
    """This was not made by this installation, or was changed since. The message is for the server's own log."""


@dataclass(frozen=True)
class VerifiedClaims:
    """What a genuine token says of itself. That it has ended, and how, its record tells."""

    key_id: str
    token_id: uuid.UUID
    owner_id: uuid.UUID
    expires_at: datetime
    not_before: datetime


class KeyRingBackend:
    """What simplejwt's token class signs and verifies with: the key ring instead of a single configured key."""

    def encode(self, payload: dict[str, Any], key: SigningKey | None = None) -> str:
        key = key or key_ring().current
        claims = {"iss": settings.TOKEN_ISSUER, "aud": settings.TOKEN_AUDIENCE, **payload}
        return pyjwt.encode(claims, key.private_key, algorithm=key.algorithm, headers={"typ": TYPE, "kid": key.id})

    def decode(self, token: str, verify: bool = True) -> dict[str, Any]:
        """The claims of a genuine token, ended ones included. Raises ``NotGenuine``.

        ``verify=False``, which simplejwt offers for reading foreign tokens, is not offered here.
        """
        return _verify(token)


class AccessToken(BaseToken):
    """simplejwt's token class over the key ring, for whatever of simplejwt is used beside this module."""

    token_type = TOKEN_TYPE
    lifetime = timedelta(days=31)
    _token_backend = KeyRingBackend()

    def verify(self) -> None:
        """Nothing of simplejwt's own: its check of ``exp`` would hide genuine tokens that have ended from their log."""


@sensitive_variables()
def encode(token: "Token") -> tuple[str, str]:
    """The signed JWT for a token's metadata, and the id of the key that signed it."""
    key = key_ring().current
    payload = {
        "sub": str(token.owner_id),
        "jti": str(token.pk),
        "iat": int(token.created_at.timestamp()),
        "nbf": int(token.created_at.timestamp()),
        "exp": int(token.expires_at.timestamp()),
        "scope": token.scope,
        "account": token.organization.slug,
        "token_type": TOKEN_TYPE,
    }
    return AccessToken._token_backend.encode(payload, key), key.id


def decode(encoded: str) -> VerifiedClaims:
    """The claims of a genuine token, whether or not it has ended. Raises ``NotGenuine``.

    That a signature is good stays true for as long as the keys are the same, so it is remembered: by a digest, since
    the token itself is kept nowhere. Whether the token is alive is asked each time, and not here.
    """
    remembered = _remembered.of(key_ring())
    digest = hashlib.sha256(encoded.encode(errors="surrogatepass")).digest()
    claims = remembered.get(digest)
    if claims is None:
        claims = remembered[digest] = _decode(encoded)
    return claims


class _Remembered:
    """Claims of tokens that were found genuine, for one state of the key ring and the settings."""

    def __init__(self) -> None:
        self._made_for: object = None
        self._claims: dict[bytes, VerifiedClaims] = {}

    def of(self, ring: KeyRing) -> dict[bytes, VerifiedClaims]:
        made_for = (ring, settings.TOKEN_ISSUER, settings.TOKEN_AUDIENCE)
        if self._made_for != made_for or len(self._claims) >= REMEMBERED_AT_MOST:
            self._made_for, self._claims = made_for, {}
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
    )


def _verify(encoded: str) -> dict[str, Any]:
    """Checks from cheap to dear. RFC 8725: the key decides the algorithm, and never the token."""
    if len(encoded) > MAX_LENGTH or not _FORM.fullmatch(encoded):
        raise NotGenuine("not of the form of a JWT")
    if not all(_is_canonical(segment) for segment in encoded.split(".")):
        raise NotGenuine("base64url that is spelled in a second way")
    header = _header(encoded)
    key = key_ring().find(header.get("kid"))
    if key is None:
        raise NotGenuine("no key of this id")
    if header != {"alg": key.algorithm, "kid": header["kid"], "typ": TYPE}:
        raise NotGenuine("a header that is not ours")
    try:
        claims: dict[str, Any] = pyjwt.decode(
            encoded,
            key.private_key.public_key(),
            algorithms=[key.algorithm],
            audience=settings.TOKEN_AUDIENCE,
            issuer=settings.TOKEN_ISSUER,
            options={"require": _REQUIRED, "verify_exp": False, "verify_nbf": False, "verify_iat": False},
        )
    except pyjwt.InvalidTokenError as error:
        raise NotGenuine(f"{type(error).__name__}") from None
    _check_claims(claims)
    return claims


def _is_canonical(segment: str) -> bool:
    """Whether the segment is the one spelling of its bytes: trailing bits could otherwise be set at will."""
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
    """Our own signature vouches for them; this guards against our own other uses of the same keys."""
    if claims["token_type"] != TOKEN_TYPE:
        raise NotGenuine("not a personal access token")
    if not all(type(claims[name]) is int for name in ("iat", "nbf", "exp")):
        raise NotGenuine("times that are not whole seconds")
    if not all(isinstance(claims[name], str) for name in ("sub", "jti", "scope", "account", "aud")):
        raise NotGenuine("claims of the wrong kind")
    if not -(2**33) < claims["iat"] <= claims["nbf"] < claims["exp"] < 2**37:
        raise NotGenuine("times out of range or out of order")


def _uuid(text: str) -> uuid.UUID:
    try:
        found = uuid.UUID(text)
    except ValueError:
        raise NotGenuine("an id that is not a UUID") from None
    if str(found) != text:
        raise NotGenuine("an id that is spelled in a second way")
    return found
