"""Where the pages of one token belong: to the person's own tokens, to a service account's, or to the organization's."""

import uuid
from typing import NamedTuple

from django.core.exceptions import BadRequest
from django.http import Http404
from django.urls import reverse
from django.utils.translation import gettext

from accounts.models import User
from accounts.roles import Ability
from accounts.views.base import place_of_service_accounts
from core.api.paging import MAX_PAGE_SIZE
from tokens.models import Token


def ids_in(texts: list[str]) -> set[uuid.UUID]:
    """The ids of tokens that a form or an address names. Raises ``Http404`` for what is no id, and ``BadRequest`` for
    more than a page can show."""
    if len(texts) > MAX_PAGE_SIZE:
        raise BadRequest("A request can't name so many tokens.")
    try:
        return {uuid.UUID(text) for text in texts}
    except ValueError:
        raise Http404 from None


class Place(NamedTuple):
    """The section and the tab of the list that contains the token."""

    section: str
    tab: str


def is_managed(token: Token, person: User) -> bool:
    """Whether it is the person's own, or that of a service account whose tokens they manage. At most one query."""
    if token.owner_id == person.pk:
        return True
    return token.owner.is_service_account and User.objects.manageable_by(person).filter(pk=token.owner_id).exists()


def place_of(token: Token, person: User) -> Place:
    if token.owner_id == person.pk:
        return Place("profile", "tokens:token_list")
    if person.may(Ability.READ_TOKENS) and not is_managed(token, person):
        return Place("organization", "tokens:organization_token_list")
    return Place(*place_of_service_accounts(person))


def list_of(token: Token, person: User) -> str:
    if token.owner_id != person.pk and is_managed(token, person):
        return reverse("tokens:service_account_tokens", args=[token.owner_id])
    return reverse(place_of(token, person).tab)


def back_link(token: Token, person: User, url: str = "") -> dict[str, str]:
    """The link above the page, to ``url`` or to the whole list."""
    if token.owner_id == person.pk:
        label = gettext("Access tokens")
    elif is_managed(token, person):
        label = gettext("Tokens of %(account)s") % {"account": token.owner.name}
    else:
        label = gettext("The organization's tokens")
    return {"label": label, "url": url or list_of(token, person)}
