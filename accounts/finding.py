"""Finds a person of the organization by what somebody typed: an e-mail address or a full name.

Suggestions have the form of mail programs, `Nora Fresh <nora@example.com>`, which all browsers show as it is.
"""

import re
from collections.abc import Iterable

from django.core.exceptions import ValidationError
from django.utils.translation import gettext

from accounts.models import User
from core.text import composed

# Name, address, and what a suggestion has around them.
TEXT_MAX_LENGTH = 100 + 254 + len(" <>")
# How many addresses an error lists.
LISTED = 5

_SUGGESTION = re.compile(r".*<([^<>\s]+@[^<>\s]+)>")


def suggestions(people: Iterable[tuple[str, str]]) -> list[str]:
    """``people``: names and addresses."""
    return [f"{name} <{email}>" for name, email in people]


def address_in(text: str) -> str:
    """The address of a suggestion, or the text itself, in the form in which addresses are stored."""
    chosen = _SUGGESTION.fullmatch(text.strip())
    return (chosen[1] if chosen else text).strip().lower()


def person_named(text: str, *, reader: User) -> User | None:
    """The only active person with this full name, in any case, among those whom ``reader`` can see.

    Raises ``ValidationError``, which lists their addresses, if several people have the name. People who can't see the
    organization's people find nobody: a name would tell them an address.
    """
    wanted = _folded(text)
    people = User.objects.of_organization_readable_by(reader).active().order_by("email")
    # Compared here, because SQLite knows no case of letters outside of ASCII.
    keys = [pk for pk, name in people.values_list("pk", "name") if _folded(name) == wanted]
    found: list[User] = list(people.filter(pk__in=keys[: LISTED + 1])) if keys else []
    if len(found) > 1:
        addresses = [person.email for person in found[:LISTED]] + ["…"] * (len(found) > LISTED)
        raise ValidationError(
            gettext("Several people have this name. Enter one of these e-mail addresses: %(addresses)s")
            % {"addresses": ", ".join(addresses)}
        )
    return found[0] if found else None


def _folded(name: str) -> str:
    return " ".join(composed(name.casefold()).split())
