"""Recovery codes: each can be used once in place of a lost second factor.

They are created when they are shown. Only slow, salted hashes are stored, like those of passwords: with fewer than 112
bits, codes could be guessed from a fast hash (ASVS 6.5.2). They are in allauth's table. ``data`` is empty until the
codes are shown; then it has ``hashes`` of the unused codes, by their first digit.
"""

import re
import secrets
from collections.abc import Iterable, Mapping

from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher, BasePasswordHasher
from django.utils.module_loading import import_string

# The first digit of a code selects its hash, so that each attempt costs one hash and not ten.
COUNT = 10
# Digits are easy to type on any phone and hard to confuse. 15 of them are 49 bits.
RANDOM_DIGITS = 15

CODE = re.compile(rf"[0-9]{{{1 + RANDOM_DIGITS}}}")


class RecoveryCodeHasher(Argon2PasswordHasher):
    """The least that ASVS 5.0, appendix C.4, allows: the codes are random, and ten are hashed at once."""

    memory_cost = 19 * 1024
    time_cost = 2
    parallelism = 1


def create_codes() -> list[str]:
    return [f"{number}{secrets.randbelow(10**RANDOM_DIGITS):0{RANDOM_DIGITS}}" for number in range(COUNT)]


def as_shown(code: str) -> str:
    """`4821-9937-0412-5563`"""
    return "-".join(re.findall("....", code))


def read(typed: str) -> str | None:
    """The typed code without dashes and spaces; ``None`` if it does not look like a recovery code."""
    code = re.sub(r"[\s-]", "", typed)
    return code if CODE.fullmatch(code) else None


def hashes_of(codes: Iterable[str]) -> dict[str, str]:
    """Slow on purpose: don't call it while a row is locked."""
    hasher = _hasher()
    return {code[0]: hasher.encode(code, hasher.salt()) for code in codes}


def fits(code: str, hashes: Mapping[str, str]) -> bool:
    """Whether it is one of the unused codes. Slow on purpose, too."""
    kept = hashes.get(code[0])
    return kept is not None and _hasher().verify(code, kept)


def _hasher() -> BasePasswordHasher:
    hasher: BasePasswordHasher = import_string(settings.RECOVERY_CODE_HASHER)()
    return hasher
