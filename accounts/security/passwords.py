"""Password rules in addition to Django's, which check the length and common passwords.

No rule requires digits or signs, or a new password from time to time: both lead to worse passwords.
"""

import gzip
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from django.contrib.auth.password_validation import CommonPasswordValidator
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.models import User

COMMON_LONG_PASSWORDS = Path(__file__).parent / "data" / "common-long-passwords.txt.gz"

PRODUCT_WORDS = ("opsera", "portal", "pipeline", "password", "token")
SHORTEST_WORD = 3
# What remains of a password without easily guessed words must be at least this long.
SHORTEST_REST = 8
FEWEST_CHARACTERS = 5

_LOOK_ALIKES = str.maketrans("0134578@$!|€", "oleastbasiie")


class MaximumLengthValidator:
    """Longer passwords add no security, and each sign-in has to hash all of it."""

    def __init__(self, max_length: int = 128) -> None:
        self.max_length = max_length

    def validate(self, password: str, user: User | None = None) -> None:
        if len(password) > self.max_length:
            said = ngettext(
                "This password is too long: at most %(count)s character.",
                "This password is too long: at most %(count)s characters.",
                self.max_length,
            )
            raise ValidationError(said % {"count": self.max_length}, "too_long")

    def get_help_text(self) -> str:
        return f"At most {self.max_length} characters."


class VarietyValidator:
    """Refuses passwords such as `abcabcabcabc`."""

    def validate(self, password: str, user: User | None = None) -> None:
        if len(set(password)) < FEWEST_CHARACTERS:
            raise ValidationError(_("This password repeats the same few characters. Choose another one."), "repeats")

    def get_help_text(self) -> str:
        return f"At least {FEWEST_CHARACTERS} different characters."


class DecoratedCommonPasswordValidator(CommonPasswordValidator):
    """Refuses common passwords, also with digits and signs before or after them, or in place of letters.

    Few of Django's 20,000 common passwords are long enough to be allowed here, so this adds the 10,000 most common ones
    that are (ASVS 6.2.4, 6.2.12). They come from Mark Burnett's list of ten million leaked passwords, which he released
    into the public domain in 2015.
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
    """Refuses what somebody who knows the person would try first: names of the product, the organization and the
    person, and the address; also backwards, with signs in place of letters, or followed by a year.

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
                    _(
                        "This password is easy to guess: it is mostly the name of the portal, of your organization, "
                        "or your own. Choose another one."
                    ),
                    code="password_of_context",
                )

    def get_help_text(self) -> str:
        return "Not the name of the portal, of your organization, or your own."


def _words_about(user: User | None) -> set[str]:
    texts: list[str] = [*PRODUCT_WORDS]
    if user is not None:
        # Without the top-level domain: ".com" names nobody.
        texts += [user.name, user.email.rpartition(".")[0]]
        if user.organization is not None:
            texts += [user.organization.name, user.organization.slug]
    words = {_plain(user.email)} if user is not None else set()
    for text in texts:
        words |= {_plain(text), *map(_plain, re.split(r"[\W_]+", text))}
    return {word for word in words if len(word) >= SHORTEST_WORD}


def _spellings(password: str) -> Iterator[str]:
    """Only letters and digits, in lower case: as typed, and with look-alike signs replaced by letters."""
    folded = unicodedata.normalize("NFKC", password).casefold()
    yield _plain(folded)
    yield _plain(folded.translate(_LOOK_ALIKES))
    yield _plain(folded.replace("1", "i").translate(_LOOK_ALIKES))


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).casefold())
