"""The installation's signing keys: a ring of private keys, one of which signs and all of which verify.

Keys live in a directory outside of the database (``TOKEN_SIGNING_KEYS_DIR``, one PEM file a key, mode 0600, the newest
signs) or come from the environment (``TOKEN_SIGNING_KEYS``, PEM texts one after the other, the first signs). They are
never ``SECRET_KEY``. A key's id is its RFC 7638 thumbprint, so it says nothing and cannot be chosen.

Every use of the ring looks whether the directory has changed, so that a rotation reaches every process at once. Which
keys are still needed, and when one goes, `tokens/key_care.py` knows.
"""

import base64
import fcntl
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

Algorithm = Literal["ES256", "RS256"]
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.+?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)
_RSA_BITS = 3072
_MADE_AT = "%Y%m%dT%H%M%S%fZ"


class KeysAreGiven(Exception):
    """The keys come from the environment: whoever sets it changes them. The message says how."""


@dataclass(frozen=True, repr=False)
class SigningKey:
    """``id`` is made of the key and stands for it. ``made_at`` is null where the keys come from the environment, which
    does not say so."""

    id: str
    algorithm: Algorithm
    private_key: PrivateKey = field(compare=False)
    public_jwk: dict[str, Any] = field(compare=False)
    made_at: datetime | None = None

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

    def superseded_at(self, key: SigningKey) -> datetime | None:
        """Since when another key signs in its place; ``None`` if this one signs, or if nothing tells."""
        position = self.keys.index(key)
        return self.keys[position - 1].made_at if position else None

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


def are_given() -> bool:
    """Whether the keys come from the environment, and not from the directory."""
    return bool(settings.TOKEN_SIGNING_KEYS)


def rotate() -> SigningKey:
    """Makes a new key, which signs from now on in every process. Older keys go on verifying.

    Raises ``KeysAreGiven``.
    """
    if are_given():
        raise KeysAreGiven(
            "The keys come from TOKEN_SIGNING_KEYS. Put a new key behind the others there and restart every process, "
            "so that all of them know it; then put it first and restart them again: it signs from then on."
        )
    key = _new_key()
    _write(key)
    return key


def retire(key_id: str) -> None:
    """Removes a key: nothing signed with it is genuine any more, in every process. Raises ``KeysAreGiven``.

    The caller has made sure, while `nobody_signs`, that this is meant.
    """
    if are_given():
        raise KeysAreGiven(
            "The keys come from TOKEN_SIGNING_KEYS. Take this key out there and restart all processes of all machines."
        )
    # A person may have left a copy of the file beside it.
    for path in _key_files():
        if _read_file(path).id == key_id:
            path.unlink()
    _mark_as_changed()


@contextmanager
def in_use() -> Iterator[None]:
    """No key is retired before this block has ended: what was signed in it is on record by then.

    Goes around the transaction that records it. Whoever retires keys would otherwise not see that one is needed.
    """
    with _locked(fcntl.LOCK_SH):
        yield


@contextmanager
def nobody_signs() -> Iterator[None]:
    """Everything that was signed is on record, and nothing new is signed in this block."""
    with _locked(fcntl.LOCK_EX):
        yield


@contextmanager
def _locked(operation: int) -> Iterator[None]:
    """Locks the directory, between threads as well. Keys of the environment need none: nobody retires them here."""
    if are_given():
        yield
        return
    key_ring()
    directory = os.open(settings.TOKEN_SIGNING_KEYS_DIR, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, operation)
        yield
    finally:
        os.close(directory)


def _load_as_it_stands() -> tuple[object, KeyRing]:
    """The keys, and the state of the directory that they stand for: one that is retired while they are read must not
    be remembered under the new state. Reading may itself make the first key."""
    while True:
        state = _state()
        try:
            ring = _load()
        except FileNotFoundError as error:
            # Retired between finding and reading it; or it is a link that leads nowhere.
            if _state() == state:
                raise ImproperlyConfigured(f"The signing key {error.filename} cannot be read.") from None
            continue
        if _state() == state:
            return state, ring


def _state() -> object:
    if are_given():
        return hash(settings.TOKEN_SIGNING_KEYS)
    try:
        status = os.stat(settings.TOKEN_SIGNING_KEYS_DIR)
    except FileNotFoundError:
        return None
    return (str(settings.TOKEN_SIGNING_KEYS_DIR), status.st_mtime_ns, status.st_ino)


def _mark_as_changed() -> None:
    """Two changes within a few milliseconds would leave the directory with the same time: the system's clock for files
    ticks no faster, and a process that looked in between would not notice the second one."""
    now = time.time_ns()
    os.utime(settings.TOKEN_SIGNING_KEYS_DIR, ns=(now, now))


@sensitive_variables()
def _load() -> KeyRing:
    if are_given():
        text = settings.TOKEN_SIGNING_KEYS.replace("\\n", "\n")
        found = _PEM.findall(text)
        if not found or len(found) != text.count("-----BEGIN"):
            raise ImproperlyConfigured("TOKEN_SIGNING_KEYS must hold private keys in PEM form, each of them whole.")
        return KeyRing(tuple(_describe(_read_pem(pem.encode(), "TOKEN_SIGNING_KEYS")) for pem in found))
    if not _key_files():
        rotate()
    return KeyRing(tuple(_read_file(path) for path in _key_files()))


def _key_files() -> list[Path]:
    """Newest first, by the time in the file's name: times of files do not survive a copy to another machine."""
    files = Path(settings.TOKEN_SIGNING_KEYS_DIR).glob("[!.]*.pem")
    return sorted(files, key=lambda path: (_made_at(path), path.name), reverse=True)


@sensitive_variables()
def _read_file(path: Path) -> SigningKey:
    try:
        pem = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ImproperlyConfigured(f"The signing key {path} cannot be read ({error.strerror}).") from None
    return _describe(_read_pem(pem, str(path)), made_at=_made_at(path))


def _made_at(path: Path) -> datetime:
    """As the name says it; or as the file does, where a person named it."""
    try:
        return datetime.strptime(path.stem.partition("_")[0], _MADE_AT).replace(tzinfo=UTC)
    except ValueError:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)


@sensitive_variables()
def _write(key: SigningKey) -> None:
    directory = Path(settings.TOKEN_SIGNING_KEYS_DIR)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem = key.private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = directory / f"{timezone.now():{_MADE_AT}}_{key.id}.pem"
    draft = directory / f".{path.name}.draft"
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    _mark_as_changed()


def _new_key() -> SigningKey:
    """One whose id no command takes for an option: a thumbprint may begin with a dash."""
    while True:
        key = _describe(_generate(settings.TOKEN_SIGNING_ALGORITHM))
        if not key.id.startswith("-"):
            return key


def _generate(algorithm: str) -> PrivateKey:
    if algorithm == "RS256":
        return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    return ec.generate_private_key(ec.SECP256R1())


@sensitive_variables()
def _read_pem(pem: bytes, source: str) -> PrivateKey:
    """Raises ``ImproperlyConfigured``, whose message names the source and shows nothing of it."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ImproperlyConfigured(f"A signing key in {source} cannot be read as an unencrypted PEM key.") from None
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        return key
    raise ImproperlyConfigured(f"A signing key in {source} is neither P-256 nor RSA of at least 2048 bits.")


def _describe(private_key: PrivateKey, *, made_at: datetime | None = None) -> SigningKey:
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
    public_jwk = {**required, "kid": key_id, "use": "sig", "alg": algorithm}
    return SigningKey(key_id, algorithm, private_key, public_jwk, made_at)


def _thumbprint(required: dict[str, Any]) -> str:
    """RFC 7638 section 3: SHA-256 of the required members, sorted, without white space."""
    text = json.dumps(required, sort_keys=True, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
