"""The installation's signing keys: a ring of private keys, one of which signs and all of which verify.

Keys live in a directory outside of the database (``TOKEN_SIGNING_KEYS_DIR``, one PEM file a key, mode 0600) or come
from the environment (``TOKEN_SIGNING_KEYS``, PEM texts one after the other, the first signs). They are never
``SECRET_KEY``. A key's id is its RFC 7638 thumbprint, so it says nothing and cannot be chosen.

In the directory, each file's name says from when on its key signs. A new key is published for `PUBLISHED_BEFORE` before
it signs: services that verify tokens keep the published keys for `JWKS_MAX_AGE`, and must not meet a key that they do
not know.

Every use of the ring looks whether the directory has changed, so that a rotation reaches every process at once. Which
keys are still needed, and when one goes, `tokens/keys/retirement.py` knows.
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
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
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
_MOMENT = "%Y%m%dT%H%M%S%fZ"

# How long verifiers of tokens may keep the published keys.
JWKS_MAX_AGE = timedelta(minutes=5)
# A cache in between may give away its copy just before that is too old, and the next one keeps it as long again. Five
# minutes more for clocks that differ.
PUBLISHED_BEFORE = 2 * JWKS_MAX_AGE + timedelta(minutes=5)
# Before ids that would begin with a dash, which commands take for options.
_INSTEAD_OF_DASH = "k-"
_ID_LENGTH = 43


class KeysAreGiven(Exception):
    """The keys come from the environment: whoever sets it changes them. The message says how."""


class KeyWaits(Exception):
    """The last rotation is not finished: its ``key`` is published and does not sign yet."""

    def __init__(self, key: "SigningKey") -> None:
        super().__init__(key)
        self.key = key


@dataclass(frozen=True, repr=False)
class SigningKey:
    """``id`` is computed from the key and names it. ``signs_from`` is null where the keys come from the environment,
    which does not say so.

    ``former_id`` is set for a key whose thumbprint begins with a dash: older versions used that as its id, so it stands
    in tokens, and verifies them.
    """

    id: str
    algorithm: Algorithm
    private_key: PrivateKey = field(compare=False)
    public_jwk: dict[str, Any] = field(compare=False)
    signs_from: datetime | None = None
    former_id: str = ""

    @property
    def ids(self) -> set[str]:
        return {self.id, self.former_id} - {""}

    def __repr__(self) -> str:
        return f"<SigningKey {self.id} {self.algorithm}>"


@dataclass(frozen=True)
class KeyRing:
    """``keys`` with the one first that signs last: those that wait for their time, the one that signs, older ones."""

    keys: tuple[SigningKey, ...]

    @property
    def current(self) -> SigningKey:
        """The one that signs at this moment. Where the clock was set back, and all would have to wait, the oldest."""
        return next((key for key in self.keys if not _waits(key)), self.keys[-1])

    @property
    def waiting(self) -> SigningKey | None:
        """The one that signs next."""
        position = self.keys.index(self.current)
        return self.keys[position - 1] if position else None

    def find(self, key_id: object) -> SigningKey | None:
        return next((key for key in self.keys if key_id in (key.id, key.former_id or key.id)), None)

    def superseded_at(self, key: SigningKey) -> datetime | None:
        """From when on another key signs in its place; ``None`` if no other does, or if nothing tells."""
        position = self.keys.index(key)
        return self.keys[position - 1].signs_from if position else None

    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """The public halves, as a JWK set (RFC 7517 section 5). The one that signs is the first."""
        keys = sorted(self.keys, key=lambda key: key != self.current)
        return {"keys": [{**key.public_jwk, "kid": key_id} for key in keys for key_id in sorted(key.ids, reverse=True)]}


_lock = threading.Lock()
_cached: tuple[object, KeyRing] | None = None


def key_ring() -> KeyRing:
    """The keys as they are now. Makes the first one where there is none."""
    global _cached
    if _cached is None or _cached[0] != _state():
        with _lock:
            _cached = _load_as_it_stands()
    return _cached[1]


def ids_like(key_id: str) -> set[str]:
    """All ids that a key with this one has or had, also of a key that is not there any more."""
    if key_id.startswith("-"):
        return {key_id, _INSTEAD_OF_DASH + key_id[1:]}
    if key_id.startswith(_INSTEAD_OF_DASH) and len(key_id) > _ID_LENGTH:
        return {key_id, key_id[1:]}
    return {key_id}


def are_given() -> bool:
    """Whether the keys come from the environment, and not from the directory."""
    return bool(settings.TOKEN_SIGNING_KEYS)


def plan_rotation() -> SigningKey:
    """Makes a new key, which is published at once and signs after `PUBLISHED_BEFORE`, in every process. Older keys
    continue to verify. Raises ``KeysAreGiven``, and ``KeyWaits`` where a key waits already."""
    _refuse_where_given()
    # Two at once would both find that no key waits.
    with nobody_signs():
        waiting = key_ring().waiting
        if waiting is not None:
            raise KeyWaits(waiting)
        return _write(_new_key(), signs_from=timezone.now() + PUBLISHED_BEFORE)


def rotate() -> SigningKey:
    """Lets another key sign from now on, in every process: the one that waits, or a new one. Older keys continue to
    verify. Raises ``KeysAreGiven``."""
    _refuse_where_given()
    waiting = key_ring().waiting
    if waiting is None:
        return _write(_new_key(), signs_from=timezone.now())
    return _let_sign(waiting, timezone.now())


def _refuse_where_given() -> None:
    if are_given():
        minutes = PUBLISHED_BEFORE // timedelta(minutes=1)
        raise KeysAreGiven(
            "The keys come from TOKEN_SIGNING_KEYS. Put a new key behind the others there and restart every process, "
            f"so that all of them know and publish it. Wait {minutes} minutes, since others may keep the published "
            "keys for that long; then put it first and restart them again: it signs from then on."
        )


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
        if key_id in _read_file(path).ids:
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
        keys = (_describe(_read_pem(pem.encode(), "TOKEN_SIGNING_KEYS")) for pem in found)
        return KeyRing(tuple(map(_without_dash, keys)))
    if not _key_files():
        # The first one. No token has been verified so far, so nobody keeps published keys without it.
        _write(_new_key(), signs_from=timezone.now())
    return KeyRing(tuple(_read_file(path) for path in _key_files()))


def _waits(key: SigningKey) -> bool:
    return key.signs_from is not None and key.signs_from > timezone.now()


def _without_dash(key: SigningKey) -> SigningKey:
    """The key with an id that no command takes for an option."""
    if not key.id.startswith("-"):
        return key
    return replace(key, id=_INSTEAD_OF_DASH + key.id[1:], former_id=key.id)


def _key_files() -> list[Path]:
    """Newest first, by the time in the file's name: times of files do not survive a copy to another machine."""
    files = Path(settings.TOKEN_SIGNING_KEYS_DIR).glob("[!.]*.pem")
    return sorted(files, key=lambda path: (_signs_from(path), path.name), reverse=True)


@sensitive_variables()
def _read_file(path: Path) -> SigningKey:
    try:
        pem = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ImproperlyConfigured(f"The signing key {path} cannot be read ({error.strerror}).") from None
    return _without_dash(_describe(_read_pem(pem, str(path)), signs_from=_signs_from(path)))


def _signs_from(path: Path) -> datetime:
    """From the file's name: when the key was made, and, if it was to wait, until when (``made_waits_id.pem``). From the
    file's time, where a person named it."""
    made_at, _, rest = path.stem.partition("_")
    return _moment(rest.partition("_")[0]) or _moment(made_at) or datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _moment(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, _MOMENT).replace(tzinfo=UTC)
    except ValueError:
        return None


def _let_sign(key: SigningKey, signs_from: datetime) -> SigningKey:
    """Changes from when on a key signs."""
    for path in _key_files():
        if _read_file(path).id == key.id:
            path.rename(path.with_name(_file_name(key, signs_from)))
    _mark_as_changed()
    return replace(key, signs_from=signs_from)


def _file_name(key: SigningKey, signs_from: datetime) -> str:
    return f"{timezone.now():{_MOMENT}}_{signs_from:{_MOMENT}}_{key.id}.pem"


@sensitive_variables()
def _write(key: SigningKey, *, signs_from: datetime) -> SigningKey:
    directory = Path(settings.TOKEN_SIGNING_KEYS_DIR)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem = key.private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = directory / _file_name(key, signs_from)
    draft = directory / f".{path.name}.draft"
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    _mark_as_changed()
    return replace(key, signs_from=signs_from)


def _new_key() -> SigningKey:
    """One whose thumbprint does not begin with a dash."""
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


def _describe(private_key: PrivateKey, *, signs_from: datetime | None = None) -> SigningKey:
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
    return SigningKey(key_id, algorithm, private_key, public_jwk, signs_from)


def _thumbprint(required: dict[str, Any]) -> str:
    """RFC 7638 section 3: SHA-256 of the required members, sorted, without white space."""
    text = json.dumps(required, sort_keys=True, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
