"""One signing key: creating it, reading it from PEM, its id and its public half."""

import base64
import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

Algorithm = Literal["ES256", "RS256"]
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_RSA_BITS = 3072
# Commands take an id that starts with a dash for an option, so this replaces the dash.
_INSTEAD_OF_DASH = "k-"
_THUMBPRINT_LENGTH = 43


@dataclass(frozen=True, repr=False)
class SigningKey:
    """``id`` is computed from the key. ``signs_from`` is ``None`` for keys from the environment.

    ``former_id`` is set if the key's thumbprint starts with a dash. Older versions used the thumbprint itself as the
    id, so tokens with this id exist, and the key verifies them too.
    """

    id: str
    algorithm: Algorithm
    private_key: PrivateKey = field(compare=False)
    public_jwk: dict[str, Any] = field(compare=False)
    signs_from: datetime | None = None
    former_id: str = ""

    @property
    def thumbprint(self) -> str:
        """RFC 7638."""
        return self.former_id or self.id

    @property
    def ids(self) -> set[str]:
        return {self.id, self.thumbprint}

    @property
    def is_waiting(self) -> bool:
        """Whether it is published and does not sign yet."""
        return self.signs_from is not None and self.signs_from > timezone.now()

    def __repr__(self) -> str:
        return f"<SigningKey {self.id} {self.algorithm}>"


def generate_key(algorithm: str) -> SigningKey:
    """A new key whose thumbprint does not start with a dash."""
    while True:
        key = describe(_generate(algorithm))
        if not key.former_id:
            return key


def describe(private_key: PrivateKey, *, signs_from: datetime | None = None) -> SigningKey:
    """Adds the id, the algorithm and the public half. The key decides the algorithm; nothing reads it from a token."""
    if isinstance(private_key, ec.EllipticCurvePrivateKey):
        algorithm: Algorithm = "ES256"
        jwk: dict[str, Any] = ECAlgorithm.to_jwk(private_key.public_key(), as_dict=True)
        required = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    else:
        algorithm = "RS256"
        jwk = RSAAlgorithm.to_jwk(private_key.public_key(), as_dict=True)
        required = {name: jwk[name] for name in ("e", "kty", "n")}
    thumbprint = _thumbprint(required)
    starts_with_dash = thumbprint.startswith("-")
    key_id = _INSTEAD_OF_DASH + thumbprint[1:] if starts_with_dash else thumbprint
    public_jwk = {**required, "kid": key_id, "use": "sig", "alg": algorithm}
    former_id = thumbprint if starts_with_dash else ""
    return SigningKey(key_id, algorithm, private_key, public_jwk, signs_from, former_id)


def ids_like(key_id: str) -> set[str]:
    """All ids that the key with this id has or had. The key itself may be gone."""
    if key_id.startswith("-"):
        return {key_id, _INSTEAD_OF_DASH + key_id[1:]}
    if key_id.startswith(_INSTEAD_OF_DASH) and len(key_id) > _THUMBPRINT_LENGTH:
        return {key_id, key_id[1:]}
    return {key_id}


@sensitive_variables()
def read_pem(pem: bytes, source: str) -> PrivateKey:
    """Raises ``ImproperlyConfigured``; its message names the source and contains nothing of the key."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ImproperlyConfigured(f"A signing key in {source} cannot be read as an unencrypted PEM key.") from None
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        return key
    raise ImproperlyConfigured(f"A signing key in {source} is neither P-256 nor RSA of at least 2048 bits.")


@sensitive_variables()
def to_pem(key: SigningKey) -> bytes:
    return key.private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _generate(algorithm: str) -> PrivateKey:
    if algorithm == "RS256":
        return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    return ec.generate_private_key(ec.SECP256R1())


def _thumbprint(required: dict[str, Any]) -> str:
    """RFC 7638 section 3: SHA-256 of the required members, sorted, without white space."""
    text = json.dumps(required, sort_keys=True, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
