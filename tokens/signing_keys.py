"""The installation's signing keys: a ring of private keys, one of which signs and all of which verify.

Keys live in a directory outside of the database (``TOKEN_SIGNING_KEYS_DIR``, one PEM file a key, mode 0600, the newest
signs) or come from the environment (``TOKEN_SIGNING_KEYS``, PEM texts one after the other, the first signs). They are
never ``SECRET_KEY``. A key's id is its RFC 7638 thumbprint, so it says nothing and cannot be chosen.

Every use of the ring looks whether the directory has changed, so that a rotation reaches every process at once.
"""

import base64
import hashlib
import json
import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

Algorithm = Literal["ES256", "RS256"]
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.+?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)
_RSA_BITS = 3072


@dataclass(frozen=True, repr=False)
class SigningKey:
    id: str
    algorithm: Algorithm
    private_key: PrivateKey
    public_jwk: dict[str, Any]

    def __repr__(self) -> str:
        return f"<SigningKey {self.id} {self.algorithm}>"


@dataclass(frozen=True)
class KeyRing:
    """``keys`` with the one that signs first."""

    keys: tuple[SigningKey, ...]

    @property
    def current(self) -> SigningKey:
        return self.keys[0]

    def find(self, key_id: object) -> SigningKey | None:
        return next((key for key in self.keys if key.id == key_id), None)

    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """The public halves, as a JWK set (RFC 7517 section 5)."""
        return {"keys": [key.public_jwk for key in self.keys]}


_lock = threading.Lock()
_cached: tuple[object, KeyRing] | None = None


def key_ring() -> KeyRing:
    """The keys as they are now. Makes the first one where there is none."""
    global _cached
    if _cached is None or _cached[0] != _state():
        with _lock:
            _cached = _load_as_it_stands()
    return _cached[1]


def _load_as_it_stands() -> tuple[object, KeyRing]:
    """The keys, and the state of the directory that they stand for: one that is retired while they are read must not
    be remembered under the new state. Reading may itself make the first key."""
    while True:
        state = _state()
        ring = _load()
        if _state() == state:
            return state, ring


def rotate() -> SigningKey:
    """Makes a new key, which signs from now on in every process. Older keys go on verifying."""
    if settings.TOKEN_SIGNING_KEYS:
        raise ImproperlyConfigured("The keys come from TOKEN_SIGNING_KEYS: put the new key first there and restart.")
    key = _describe(_generate(settings.TOKEN_SIGNING_ALGORITHM))
    _write(key)
    return key


def retire(key_id: str) -> None:
    """Removes a key: nothing signed with it is genuine any more. The caller has made sure that this is meant."""
    if settings.TOKEN_SIGNING_KEYS:
        raise ImproperlyConfigured("The keys come from TOKEN_SIGNING_KEYS: take the key out there and restart.")
    _path_of(key_id).unlink()


def _state() -> object:
    if settings.TOKEN_SIGNING_KEYS:
        return hash(settings.TOKEN_SIGNING_KEYS)
    try:
        status = os.stat(settings.TOKEN_SIGNING_KEYS_DIR)
    except FileNotFoundError:
        return None
    return (str(settings.TOKEN_SIGNING_KEYS_DIR), status.st_mtime_ns, status.st_ino)


def _load() -> KeyRing:
    if settings.TOKEN_SIGNING_KEYS:
        texts = _PEM.findall(settings.TOKEN_SIGNING_KEYS.replace("\\n", "\n"))
        if not texts:
            raise ImproperlyConfigured("TOKEN_SIGNING_KEYS must hold private keys in PEM form.")
        return KeyRing(tuple(_describe(_read_pem(text, "TOKEN_SIGNING_KEYS")) for text in texts))
    if not _key_files():
        rotate()
    return KeyRing(tuple(_describe(_read_pem(path.read_text(), str(path))) for path in _key_files()))


def _key_files() -> list[Path]:
    """Newest first, by the time in the file's name: times of files do not survive a copy to another machine."""
    return sorted(Path(settings.TOKEN_SIGNING_KEYS_DIR).glob("[!.]*.pem"), reverse=True)


def _path_of(key_id: str) -> Path:
    return next(path for path in _key_files() if path.stem.partition("_")[2] == key_id)


def _write(key: SigningKey) -> None:
    directory = Path(settings.TOKEN_SIGNING_KEYS_DIR)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem = key.private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = directory / f"{timezone.now():%Y%m%dT%H%M%S%fZ}_{key.id}.pem"
    draft = directory / f".{path.name}.draft"
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)


def _generate(algorithm: str) -> PrivateKey:
    if algorithm == "RS256":
        return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    return ec.generate_private_key(ec.SECP256R1())


def _read_pem(text: str, source: str) -> PrivateKey:
    try:
        key = serialization.load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError):
        raise ImproperlyConfigured(f"A signing key in {source} cannot be read as an unencrypted PEM key.") from None
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        return key
    raise ImproperlyConfigured(f"A signing key in {source} is neither P-256 nor RSA of at least 2048 bits.")


def _describe(private_key: PrivateKey) -> SigningKey:
    """The algorithm is pinned to the key here, and nowhere read from a token."""
    if isinstance(private_key, ec.EllipticCurvePrivateKey):
        algorithm: Algorithm = "ES256"
        jwk: dict[str, Any] = ECAlgorithm.to_jwk(private_key.public_key(), as_dict=True)
        required = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    else:
        algorithm = "RS256"
        jwk = RSAAlgorithm.to_jwk(private_key.public_key(), as_dict=True)
        required = {name: jwk[name] for name in ("e", "kty", "n")}
    key_id = _thumbprint(required)
    return SigningKey(key_id, algorithm, private_key, {**required, "kid": key_id, "use": "sig", "alg": algorithm})


def _thumbprint(required: dict[str, Any]) -> str:
    """RFC 7638 section 3: SHA-256 of the required members, sorted, without white space."""
    text = json.dumps(required, sort_keys=True, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
