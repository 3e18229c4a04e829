"""Recovery codes: each signs in once, in place of a second factor that was lost.

They are made in the act of showing them, and only their hashes are kept, slow and salted like those of passwords: what
has fewer than 112 bits could be guessed from any other (ASVS 6.5.2). The row that keeps them is allauth's. Its ``data``
holds ``hashes``, by first digit of the code, of those that are not used so far, and nothing before they were shown.
"""

import re
import secrets
from collections.abc import Iterable, Mapping

from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher, BasePasswordHasher
from django.utils.module_loading import import_string

# One digit tells them apart, so that each try costs one hash and not ten.
COUNT = 10
# Digits can be typed on any phone, and none is taken for another. 15 of them are 49 bits.
RANDOM_DIGITS = 15

CODE = re.compile(rf"[0-9]{{{1 + RANDOM_DIGITS}}}")


class RecoveryCodeHasher(Argon2PasswordHasher):
    """The least that ASVS 5.0, appendix C.4, allows for passwords: nobody chose these, and ten are hashed at once."""

    memory_cost = 19 * 1024
    time_cost = 2
    parallelism = 1


def make() -> list[str]:
    return [f"{number}{secrets.randbelow(10**RANDOM_DIGITS):0{RANDOM_DIGITS}}" for number in range(COUNT)]


def as_shown(code: str) -> str:
    """`4821-9937-0412-5563`"""
    return "-".join(re.findall("....", code))


def read(typed: str) -> str | None:
    """The code that somebody typed, with or without dashes and spaces; ``None`` if it has another shape."""
    code = re.sub(r"[\s-]", "", typed)
    return code if CODE.fullmatch(code) else None


def hashes_of(codes: Iterable[str]) -> dict[str, str]:
    """Takes a moment, on purpose: not for while a row is locked."""
    hasher = _hasher()
    return {code[0]: hasher.encode(code, hasher.salt()) for code in codes}


def fits(code: str, hashes: Mapping[str, str]) -> bool:
    """Whether it is one of those that are not used so far. Takes a moment, too."""
    kept = hashes.get(code[0])
    return kept is not None and _hasher().verify(code, kept)


def _hasher() -> BasePasswordHasher:
    hasher: BasePasswordHasher = import_string(settings.RECOVERY_CODE_HASHER)()
    return hasher
