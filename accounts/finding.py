"""Finds people and groups of the organization by what somebody typed: an e-mail address or a full name.

A suggested person has the form of mail programs, `Nora Fresh <nora@example.com>`.
"""

import re
from collections.abc import Iterator
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.utils.translation import gettext

from accounts.models import Group, User
from accounts.roles import Ability
from core.pages.suggestions import Suggestion
from core.service_accounts import handle_of, is_service_account
from core.text import Text, composed

# Name, address, and what a suggestion has around them.
TEXT_MAX_LENGTH = 100 + 254 + len(" <>")
# How many addresses an error lists.
LISTED = 5

_SUGGESTION = re.compile(r".*<([^<>\s]+@[^<>\s]+)>")


def suggestion(name: str, email: str) -> str:
    return f"{name} <{email}>"


def suggested(people: QuerySet[User]) -> Iterator[Suggestion]:
    """What a field suggests for these people, by name."""
    for name, email in people.order_by("name", "email").values_list("name", "email"):
        yield Suggestion(suggestion(name, email), name, hint_of(email))


def hint_of(email: str) -> str:
    """What a suggestion shows beside the name."""
    return f"{handle_of(email)} · {gettext('Service account')}" if is_service_account(email) else email


def shown(person: User, *, reader: User) -> str:
    """With the name for people who can see the organization's people, otherwise the address alone."""
    return suggestion(person.name, person.email) if reader.may(Ability.READ_USERS) else person.email


def address_in(text: str) -> str:
    """The address of a suggestion, or the text itself, in the form in which addresses are stored."""
    chosen = _SUGGESTION.fullmatch(text.strip())
    return (chosen[1] if chosen else text).strip().lower()


def person_in(text: str, *, people: QuerySet[User], reader: User, unknown: Text) -> User:
    """The person among ``people`` whose address the text has, or whose full name it is (`person_named`).

    Raises ``ValidationError``: ``unknown`` if nobody has the address.
    """
    found = people.filter(email=address_in(text)).first()
    if found is None and ("@" in text or not reader.may(Ability.READ_USERS)):
        raise ValidationError(unknown)
    found = found or person_named(text, reader=reader)
    if found is None:
        raise ValidationError(gettext("Nobody in your organization has this name. Enter the full name."))
    return found


def words_in(lines: str) -> Iterator[str]:
    """The addresses and names of a text with one or, as mail programs write them, several people in a line."""
    for line in filter(None, map(str.strip, lines.splitlines())):
        if (line.count("@") == 1 and _SUGGESTION.fullmatch(line)) or "@" not in line:
            yield line
        else:
            yield from filter(None, re.split(r"[,;]\s*" if "<" in line else r"[,;\s]+", line))


def groups_named(lines: str, *, reader: User) -> list[Group]:
    """The groups with the names in the lines, in any case. Raises ``ValidationError`` for an unknown one."""
    groups = {_folded(group.name): group for group in Group.objects.readable_by(reader)}
    names = list(filter(None, map(str.strip, lines.splitlines())))
    for name in names:
        if _folded(name) not in groups:
            raise ValidationError(gettext("No group in your organization has this name: %(name)s") % {"name": name})
    return list({groups[_folded(name)].pk: groups[_folded(name)] for name in names}.values())


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


def subject_named(text: str, *, organization_id: UUID, reader: User) -> User | Group:
    """The person or the group of the organization that somebody typed into a form of access rules.

    Raises ``ValidationError``.
    """
    text, here = text.strip(), {"organization_id": organization_id}
    subject: User | Group | None = (
        User.objects.filter(email=text.lower(), **here).first()
        or Group.objects.filter(name__iexact=text, **here).first()
        or User.objects.filter(email=address_in(text), **here).first()
        or person_named(text, reader=reader)
    )
    if subject is None:
        raise ValidationError(gettext("No such person or group in your organization."))
    return subject


def _folded(name: str) -> str:
    return " ".join(composed(name.casefold()).split())
