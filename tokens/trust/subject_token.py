"""Reading and checking the JWT with which a CI job proves its identity (RFC 7523 section 3, RFC 8725)."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from django.utils import timezone
from django.utils.translation import gettext_noop
from django.views.decorators.debug import sensitive_variables
from jwt.utils import base64url_decode

# GitHub's and GitLab's have about 2 KB.
MAX_LENGTH = 8192
# Only with public keys: no shared secrets, and not "none".
ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
# Allows for clocks that differ.
LEEWAY_SECONDS = 60
OLDEST_SECONDS = 60 * 60
_KEY_TYPES = {"RS256": "RSA", "PS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}
_PUBLIC = frozenset({"kty", "use", "alg", "kid", "n", "e", "crv", "x", "y"})
_SMALLEST_RSA_BITS = 2048
_MALFORMED = (AttributeError, KeyError, TypeError, ValueError, RecursionError, jwt.PyJWTError)


class SubjectTokenRefused(Exception):
    """``reason``: a key of ``TEXTS``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


MALFORMED = "malformed"
ALGORITHM = "algorithm"
SIGNATURE = "signature"
EXPIRED = "expired"
NOT_YET = "not_yet"
TOO_OLD = "too_old"

TEXTS = {
    MALFORMED: gettext_noop("The subject token is no JWT with iss, sub, aud, iat and exp."),
    ALGORITHM: gettext_noop("The subject token is signed with an algorithm that is not accepted."),
    SIGNATURE: gettext_noop("None of the issuer's keys has signed the subject token."),
    EXPIRED: gettext_noop("The subject token has expired."),
    NOT_YET: gettext_noop("The subject token is not valid yet."),
    TOO_OLD: gettext_noop("The subject token was issued more than an hour ago."),
}


@dataclass(frozen=True)
class Unverified:
    """What a JWT says about itself. Nothing of it is proved."""

    algorithm: str
    key_id: str | None
    issuer: str
    claims: Mapping[str, Any]


@sensitive_variables()
def read(encoded: str) -> Unverified:
    """Reads without checking anything, to find the rules and keys. Raises ``SubjectTokenRefused``."""
    if len(encoded) > MAX_LENGTH or not encoded.isascii():
        raise SubjectTokenRefused(MALFORMED)
    try:
        first, second, _signature = encoded.split(".")
        header, claims = (json.loads(base64url_decode(part)) for part in (first, second))
    except _MALFORMED:
        raise SubjectTokenRefused(MALFORMED) from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise SubjectTokenRefused(MALFORMED)
    issuer, algorithm, key_id = claims.get("iss"), header.get("alg"), header.get("kid")
    if not isinstance(issuer, str) or not _is_text(claims.get("sub")) or not audiences_of(claims):
        raise SubjectTokenRefused(MALFORMED)
    # RFC 7515 section 4.1.11: extensions that must be understood. None is.
    if algorithm not in ALGORITHMS or "crit" in header:
        raise SubjectTokenRefused(ALGORITHM)
    if key_id is not None and not isinstance(key_id, str):
        raise SubjectTokenRefused(MALFORMED)
    return Unverified(algorithm, key_id, issuer, claims)


@sensitive_variables()
def verify(encoded: str, unverified: Unverified, key: Mapping[str, Any]) -> dict[str, Any]:
    """The claims, if this key of the issuer has signed them and they are valid now. Raises ``SubjectTokenRefused``.

    The caller has checked that the issuer is trusted, and checks the audience: each rule has its own.
    """
    algorithm = unverified.algorithm
    if key.get("kty") != _KEY_TYPES[algorithm] or key.get("alg", algorithm) != algorithm:
        raise SubjectTokenRefused(SIGNATURE)
    try:
        public = jwt.PyJWK({name: key[name] for name in _PUBLIC & key.keys()}, algorithm)
        if getattr(public.key, "key_size", _SMALLEST_RSA_BITS) < _SMALLEST_RSA_BITS and algorithm != "ES256":
            raise SubjectTokenRefused(SIGNATURE)
        claims: dict[str, Any] = jwt.decode(
            encoded,
            public,
            algorithms=[algorithm],
            issuer=unverified.issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": ["iss", "sub", "aud", "exp", "iat"], "verify_aud": False},
        )
        issued_at = float(claims["iat"])
    except jwt.ExpiredSignatureError:
        raise SubjectTokenRefused(EXPIRED) from None
    except jwt.ImmatureSignatureError:
        raise SubjectTokenRefused(NOT_YET) from None
    except jwt.InvalidSignatureError:
        raise SubjectTokenRefused(SIGNATURE) from None
    except (*_MALFORMED, OverflowError):
        raise SubjectTokenRefused(MALFORMED) from None
    if timezone.now().timestamp() - issued_at > OLDEST_SECONDS + LEEWAY_SECONDS:
        raise SubjectTokenRefused(TOO_OLD)
    if not isinstance(claims.get("jti", ""), str):
        raise SubjectTokenRefused(MALFORMED)
    return claims


def audiences_of(claims: Mapping[str, Any]) -> list[str]:
    found = claims.get("aud")
    return [part for part in (found if isinstance(found, list) else [found]) if isinstance(part, str) and part]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def replay_key_of(claims: Mapping[str, Any]) -> str | None:
    """A digest of issuer and ``jti``; ``None`` without a ``jti``."""
    if not claims.get("jti"):
        return None
    both = json.dumps([claims["iss"], claims["jti"]])
    return hashlib.sha256(both.encode()).hexdigest()
