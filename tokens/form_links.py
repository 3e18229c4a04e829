"""Links to the form for a new token that fill in its fields, for teams that send each other such links.

``?name=nightly build&scopes=pipeline,api-readonly&lifetime=1w``, or ``lifetime=custom&expires_at=2026-12-31``.
``pipelines`` has the ids of the only pipelines that the token reaches, ``networks`` the only networks from which it can
be used, ``max_uses`` how often, ``not_before`` from when on (`2026-12-31T08:00Z`). A link only fills in the form: each
value follows the rules of the form, and a value that breaks one is left out with a sentence for the person. Nothing is
created before the person sends the form.

``service`` has the short name or the id of the service that the token is for. The form itself says if it is wrong.
"""

import re
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import ValidationError
from django.http import QueryDict
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from accounts.pipelines_for_tokens import pipelines_for_tokens
from core import ids
from core.api.scopes import API, BY_ID, SCIM, Scope, as_string
from core.networks import MAX_LENGTH, MOST_NETWORKS, clean_networks, words_of
from tokens.forms import CUSTOM, ONLY_THESE
from tokens.lifetimes import Lifetime, as_typed, chosen_end, longest_lifetime, parse_start, preset_of
from tokens.models import Token
from tokens.names import clean_name
from tokens.pipeline_choice import MOST_PIPELINES, check_number, listed
from tokens.policy.rules import scopes_not_allowed
from tokens.scope_cards import usable_by
from tokens.service_choice import NO_PIPELINES, find_service
from tokens.services import check_scopes, free_name_like
from tokens.uses import clean_max_uses

FIELDS = ("name", "service", "scopes", "pipelines", "networks", "max_uses", "not_before", "lifetime", "expires_at")
LIFETIMES = (*Lifetime.values, CUSTOM)

_WIDE = frozenset({API.id, SCIM.id})
_NUMBER = re.compile(r"[0-9]{1,20}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True)
class FilledForm:
    """``initial``: the values for the form. ``problems``: a sentence for each value that was left out or changed."""

    initial: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def says_more_than_service(self) -> bool:
        """False for the links with which people choose what the token is for."""
        return bool(self.problems) or any(value for name, value in self.initial.items() if name != "service")

    @property
    def is_wide(self) -> bool:
        """Whether the link asks for a scope that allows more than pipelines and reading."""
        return not _WIDE.isdisjoint(self.initial.get("scopes", ()))


def filled_by(query: QueryDict, *, owner: User) -> FilledForm | None:
    """What a link fills in; ``None`` if the address has none of the fields. At most two queries."""
    if not any(query.get(name) for name in FIELDS) and "pipelines" not in query:
        return None
    filled = FilledForm()
    readers = (
        _read_name,
        _read_service,
        _read_scopes,
        _read_pipelines,
        _read_networks,
        _read_uses,
        _read_start,
        _read_lifetime,
    )
    for read in readers:
        filled.problems.extend(_problems_of(read, query, owner, filled.initial))
    return filled


def form_link_like(
    token: Token, *, scopes: Iterable[Scope] | None = None, pipelines: Collection[uuid.UUID] | None = None
) -> str:
    """The address of the form, filled in with the name, the scopes, the limits and the lifetime of this token.

    ``scopes``, ``pipelines``: these instead of its own.
    """
    query = {"name": token.name, **_service_of(token), "scopes": ",".join(scope.id for scope in scopes or token.scopes)}
    reached = token.pipeline_ids if pipelines is None else pipelines
    if reached is not None:
        query["pipelines"] = ",".join(map(str, reached))
    if token.networks:
        query["networks"] = token.networks.replace(" ", ",")
    if token.max_uses:
        query["max_uses"] = str(token.max_uses)
    if token.not_before and not token.has_started(timezone.now()):
        query["not_before"] = f"{token.not_before:%Y-%m-%dT%H:%M:%SZ}"
    if preset := preset_of(token.created_at, token.expires_at):
        query["lifetime"] = preset.value
    return f"{_form_of(token)}?{urlencode(query)}"


def _service_of(token: Token) -> dict[str, str]:
    service = token.known_service
    return {} if service is None else {"service": service.slug}


def _form_of(token: Token) -> str:
    if token.owner.is_service_account:
        return reverse("tokens:service_account_tokens", args=[token.owner_id])
    return reverse("tokens:token_list")


Reader = Callable[[QueryDict, User, dict[str, Any]], Iterator[str]]


def _problems_of(read: Reader, query: QueryDict, owner: User, initial: dict[str, Any]) -> Iterator[str]:
    try:
        yield from read(query, owner, initial)
    except ValidationError as error:
        yield " ".join(error.messages)


def _read_name(query: QueryDict, owner: User, initial: dict[str, Any]) -> Iterator[str]:
    if not (given := _single(query, "name")):
        return
    try:
        name = clean_name(given)
    except ValidationError as error:
        yield _("The name was left out. %(why)s") % {"why": " ".join(error.messages)}
        return
    initial["name"] = free_name_like(owner=owner, name=name)
    if initial["name"] != name:
        if owner.is_service_account:
            said = _(
                "The service account already has a token with the name “%(name)s”. The form suggests “%(suggested)s”."
            )
        else:
            said = _("You already have a token with the name “%(name)s”. The form suggests “%(suggested)s”.")
        yield said % {"name": name, "suggested": initial["name"]}


def _read_service(query: QueryDict, owner: User, initial: dict[str, Any]) -> Iterator[str]:
    """As for networks: a wrong service stays in the form."""
    if given := _single(query, "service"):
        initial["service"] = given
    yield from ()


def _read_scopes(query: QueryDict, owner: User, initial: dict[str, Any]) -> Iterator[str]:
    words = dict.fromkeys(word for value in query.getlist("scopes") for word in re.split(r"[ ,]+", value) if word)
    if service := initial.get("service"):
        yield from _read_service_scopes(list(words), service, owner, initial)
        return
    known = [BY_ID[word] for word in words if word in BY_ID]
    refused = scopes_not_allowed(as_string(known), owner.own_organization)
    useless = [scope.id for scope in known if scope not in refused and not usable_by(owner, scope)]
    initial["scopes"] = [scope.id for scope in known if scope not in refused and scope.id not in useless]
    if unknown := [word for word in words if word not in BY_ID]:
        yield _("These scopes don't exist and were left out: %(scopes)s.") % {"scopes": listed(unknown)}
    if useless:
        if owner.is_service_account:
            said = _("With the service account's role, these scopes allow nothing and were left out: %(scopes)s.")
        else:
            said = _("With your role, these scopes allow nothing and were left out: %(scopes)s.")
        yield said % {"scopes": listed(useless)}
    check_scopes(known, owner.own_organization)


def _read_service_scopes(words: list[str], service: str, owner: User, initial: dict[str, Any]) -> Iterator[str]:
    """Without a service that the owner can use, the form says only that."""
    try:
        known = {scope.id for scope in find_service(owner, service).all_scopes}
    except ValidationError:
        return
    initial["scopes"] = [word for word in words if word in known]
    if unknown := [word for word in words if word not in known]:
        yield _("These scopes don't exist and were left out: %(scopes)s.") % {"scopes": listed(unknown)}


def _read_pipelines(query: QueryDict, owner: User, initial: dict[str, Any]) -> Iterator[str]:
    """A link with the field never fills in a form for a token without a limit: the person would create more than the
    link says."""
    if "pipelines" not in query:
        return
    if initial.get("service"):
        yield str(NO_PIPELINES)
        return
    words = list(dict.fromkeys(word for value in query.getlist("pipelines") for word in _words_in(value)))
    found = pipelines_for_tokens().found_by(owner, words[:MOST_PIPELINES])
    initial |= limited_to(found[word].id for word in words if word in found)
    if unknown := [word for word in words[:MOST_PIPELINES] if word not in found]:
        yield _("These pipelines don't exist, or you can't see them, and were left out: %(pipelines)s.") % {
            "pipelines": listed(unknown)
        }
    if len(words) > MOST_PIPELINES:
        check_number(words)
    if not found:
        yield _("The link limits the token to pipelines, but names none that you can see. Choose them.")


def _read_networks(query: QueryDict, owner: User, initial: dict[str, Any]) -> Iterator[str]:
    """Wrong ones stay in the form, which then refuses them: without them, the token could be used from everywhere."""
    words = words_of(" ".join(query.getlist("networks")))[: MOST_NETWORKS + 1]
    if words:
        initial["networks"] = " ".join(word[:MAX_LENGTH] for word in words)
        clean_networks(words)
    yield from ()


def _read_uses(query: QueryDict, owner: User, initial: dict[str, Any]) -> Iterator[str]:
    """As for networks: a wrong number stays in the form."""
    if not (given := _single(query, "max_uses")):
        return
    initial["max_uses"] = given[:20]
    if not _NUMBER.fullmatch(given):
        yield _("The number of uses must be a number.")
    else:
        clean_max_uses(int(given))


def _read_start(query: QueryDict, owner: User, initial: dict[str, Any]) -> Iterator[str]:
    """As for networks: a wrong time stays in the form. A time that has passed limits nothing."""
    if not (given := _single(query, "not_before")):
        return
    initial["not_before"] = given[:40]
    not_before = parse_start(given[:40], zone=None)
    if not_before is not None and not_before <= timezone.now():
        del initial["not_before"]
        yield _("The start time was left out, because it has passed.")
    elif not_before is not None:
        initial["not_before"] = as_typed(not_before)


def _words_in(value: str) -> list[str]:
    """Ids separated by commas or spaces, or else one name."""
    words = re.split(r"[ ,]+", value.strip())
    return [word for word in ([value.strip()] if not all(map(ids.FORM.fullmatch, words)) else words) if word]


def limited_to(chosen: Iterable[uuid.UUID]) -> dict[str, Any]:
    """Initial values of the form for a token that reaches only these."""
    return {"which_pipelines": ONLY_THESE, "pipelines": [str(pipeline_id) for pipeline_id in chosen]}


def _read_lifetime(query: QueryDict, owner: User, initial: dict[str, Any]) -> Iterator[str]:
    lifetime, date = _single(query, "lifetime"), _single(query, "expires_at")
    if not lifetime and not date:
        return
    lifetime = lifetime or CUSTOM
    if lifetime not in LIFETIMES:
        raise ValidationError(
            _("The lifetime was left out. It must be one of %(lifetimes)s.") % {"lifetimes": ", ".join(LIFETIMES)}
        )
    if lifetime == CUSTOM and not _DATE.fullmatch(date):
        raise ValidationError(_("The date was left out. It must look like 2026-12-31."))
    preset = None if lifetime == CUSTOM else Lifetime(lifetime)
    try:
        chosen_end(preset, date, longest=longest_lifetime(owner.own_organization, owner))
    except ValidationError as error:
        yield _("The lifetime was left out. %(why)s") % {"why": " ".join(error.messages)}
        return
    initial["lifetime"] = lifetime
    if preset is None:
        initial["expires_at"] = date
    elif date:
        yield _("The date was left out, because the link has a lifetime too: %(lifetime)s.") % {
            "lifetime": preset.label
        }


def _single(query: QueryDict, name: str) -> str:
    """The value of a field that has one; empty without a value. Raises ``ValidationError`` if there are several."""
    values = [value for value in query.getlist(name) if value]
    if len(values) > 1:
        raise ValidationError(_("The link has “%(name)s” more than once, so it was left out.") % {"name": name})
    return values[0] if values else ""
