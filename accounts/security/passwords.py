"""What a password must be, beside long enough and not common: the rules that Django does not bring along.

No rule asks for digits or signs, and none for a change now and then: both make people choose worse passwords.
"""

import gzip
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from django.contrib.auth.password_validation import CommonPasswordValidator
from django.core.exceptions import ValidationError

from accounts.models import User

COMMON_LONG_PASSWORDS = Path(__file__).parent / "data" / "common-long-passwords.txt.gz"

PRODUCT_WORDS = ("opsera", "portal", "pipeline", "password", "token")
SHORTEST_WORD = 3
# What stands beside the words that anybody would guess must be a secret of its own.
SHORTEST_REST = 8
FEWEST_CHARACTERS = 5

_LOOK_ALIKES = str.maketrans("0134578@$!|€", "oleastbasiie")


class MaximumLengthValidator:
    """Longer ones add nothing, and each sign-in reads all of it."""

    def __init__(self, max_length: int = 128) -> None:
        self.max_length = max_length

    def validate(self, password: str, user: User | None = None) -> None:
        if len(password) > self.max_length:
            raise ValidationError(f"This password is too long: at most {self.max_length} characters.", "too_long")

    def get_help_text(self) -> str:
        return f"At most {self.max_length} characters."


class VarietyValidator:
    """`abcabcabcabc` is long, and no secret."""

    def validate(self, password: str, user: User | None = None) -> None:
        if len(set(password)) < FEWEST_CHARACTERS:
            raise ValidationError("This password repeats the same few characters. Choose another one.", "repeats")

    def get_help_text(self) -> str:
        return f"At least {FEWEST_CHARACTERS} different characters."


class DecoratedCommonPasswordValidator(CommonPasswordValidator):
    """Common passwords, also with digits and signs before or behind them, and with signs that look like letters.

    Of Django's 20,000 few are as long as one must be here, so the 10,000 most common ones of that length come beside
    them (ASVS 6.2.4, 6.2.12). They are from Mark Burnett's ten million passwords, which leaks had made public and which
    he gave to the public domain in 2015.
    """

    def __init__(self) -> None:
        super().__init__()
        with gzip.open(COMMON_LONG_PASSWORDS, "rt", encoding="utf-8") as file:
            self.passwords = self.passwords | set(file.read().splitlines())

    def validate(self, password: str, user: User | None = None) -> None:
        super().validate(password, user)
        bare = re.sub(r"^[\W\d_]+|[\W\d_]+$", "", password)
        if self.passwords.intersection({bare.casefold(), *_spellings(password), *_spellings(bare)}):
            raise ValidationError(self.get_error_message(), code="password_too_common")


class ContextValidator:
    """Refuses what somebody who knows the person would try first: the product, the organization, the person's name and
    address, also backwards, with other signs in place of letters, and with a year behind it.

    Such a word may be part of a password, if enough is left without it.
    """

    def validate(self, password: str, user: User | None = None) -> None:
        words = sorted(_words_about(user), key=len, reverse=True)
        for spelled in _spellings(password):
            rest = spelled
            for word in words:
                rest = rest.replace(word, "").replace(word[::-1], "")
            if rest != spelled and len(rest) < SHORTEST_REST:
                raise ValidationError(
                    "This password is easy to guess: it is mostly the name of the portal, of your organization, or "
                    "your own. Choose another one.",
                    code="password_of_context",
                )

    def get_help_text(self) -> str:
        return "Not the name of the portal, of your organization, or your own."


def _words_about(user: User | None) -> set[str]:
    texts: list[str] = [*PRODUCT_WORDS]
    if user is not None:
        # Without the last part of the address: ".com" is nobody's name.
        texts += [user.name, user.email.rpartition(".")[0]]
        if user.organization is not None:
            texts += [user.organization.name, user.organization.slug]
    words = {_plain(user.email)} if user is not None else set()
    for text in texts:
        words |= {_plain(text), *map(_plain, re.split(r"[\W_]+", text))}
    return {word for word in words if len(word) >= SHORTEST_WORD}


def _spellings(password: str) -> Iterator[str]:
    """Letters and digits only, in small letters: as it stands, and with the letters that signs stand for."""
    folded = unicodedata.normalize("NFKC", password).casefold()
    yield _plain(folded)
    yield _plain(folded.translate(_LOOK_ALIKES))
    yield _plain(folded.replace("1", "i").translate(_LOOK_ALIKES))


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).casefold())
