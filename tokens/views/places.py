"""Where the pages of one token belong: to the person's own tokens, or to the organization's."""

from typing import NamedTuple

from django.urls import reverse
from django.utils.translation import gettext

from accounts.models import User
from tokens.models import Token


class Place(NamedTuple):
    """The section and the tab of the list that contains the token."""

    section: str
    tab: str


def place_of(token: Token, person: User) -> Place:
    if token.owner_id == person.pk:
        return Place("profile", "tokens:token_list")
    return Place("organization", "tokens:organization_token_list")


def list_of(token: Token, person: User) -> str:
    return reverse(place_of(token, person).tab)


def back_link(token: Token, person: User, url: str = "") -> dict[str, str]:
    """The link above the page, to ``url`` or to the whole list."""
    is_own = token.owner_id == person.pk
    label = gettext("Access tokens") if is_own else gettext("The organization's tokens")
    return {"label": label, "url": url or list_of(token, person)}
