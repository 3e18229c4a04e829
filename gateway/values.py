"""Checks what people enter about a service, and brings it into the form in which it is stored.

`take` sets all given values, or raises the errors of all fields that are wrong.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.utils.translation import gettext

from accounts.roles import SiteRole
from core.errors import errors_of
from core.text import NOT_PRINTABLE, composed, is_invisible, is_printable, name_key
from gateway import path_rules
from gateway.models import (
    ADDRESS_MAX_LENGTH,
    DESCRIPTION_MAX_LENGTH,
    NAME_MAX_LENGTH,
    SCOPE_DESCRIPTION_MAX_LENGTH,
    SCOPE_LABEL_MAX_LENGTH,
    SCOPES_LIMIT,
    Check,
    Service,
)
from gateway.path_rules import ANY, NOBODY

SLUG_PATTERN = "[a-z][a-z0-9-]{0,19}"

_SLUG = re.compile(SLUG_PATTERN)
# What a `Host` header can have: a name or an address, and a port.
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[1-9][0-9]{0,4})?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def take(service: Service, values: Mapping[str, Any]) -> None:
    """``values``: by field, as `gateway.services.create_service` has them. Raises ``ValidationError`` by field."""
    errors: dict[str, Any] = {}
    for name, value in values.items():
        try:
            with errors_of(name):
                _TAKERS[name](service, value)
        except ValidationError as error:
            errors |= error.message_dict
    if not errors and values.keys() & {"scopes", "rules"}:
        _check_together(service, "rules" if "rules" in values else "scopes")
    if errors:
        raise ValidationError(errors)


def _check_together(service: Service, field: str) -> None:
    """Each path rule needs a scope that the service has."""
    with errors_of(field):
        service.rules = path_rules.clean(service.rules, scopes=[scope["name"] for scope in service.scopes])


def _take_name(service: Service, value: str) -> None:
    service.name = _text(value, NAME_MAX_LENGTH, needed=True)
    service.name_key = name_key(service.name)


def _take_slug(service: Service, value: str) -> None:
    if not _SLUG.fullmatch(value):
        raise ValidationError(_not_a_word())
    service.slug = value


def _take_address(service: Service, value: str) -> None:
    service.address = clean_address(value)


def _take_description(service: Service, value: str) -> None:
    service.description = _text(value, DESCRIPTION_MAX_LENGTH)


def _take_check_by(service: Service, value: str) -> None:
    if value not in Check.values:
        raise ValidationError(gettext("Choose how the service checks tokens."))
    service.check_by = value


def _take_scopes(service: Service, value: Sequence[Mapping[str, Any]]) -> None:
    service.scopes = clean_scopes(value)


def _take_rules(service: Service, value: str) -> None:
    """Checked together with the scopes."""
    service.rules = value


def _take_site_roles(service: Service, value: Sequence[str]) -> None:
    if set(value) - set(SiteRole.values):
        raise ValidationError(gettext("Choose site roles from the list."))
    service.site_roles = " ".join(role for role in SiteRole.values if role in value)


def _flag(name: str) -> Callable[[Service, Any], None]:
    def take_flag(service: Service, value: bool) -> None:
        setattr(service, name, value)

    return take_flag


_TAKERS: dict[str, Callable[[Service, Any], None]] = {
    "name": _take_name,
    "slug": _take_slug,
    "address": _take_address,
    "description": _take_description,
    "check_by": _take_check_by,
    "scopes": _take_scopes,
    "rules": _take_rules,
    "site_roles": _take_site_roles,
    "needs_approval": _flag("needs_approval"),
    "allows_sessions": _flag("allows_sessions"),
}


def clean_address(value: str) -> str:
    """Scheme and host in lower case and without the usual port, as browsers send `Host`. Empty stays empty."""
    text = value.strip()
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        host = parts.netloc.lower().removesuffix(_DEFAULT_PORTS[parts.scheme])
        is_good = _HOST.fullmatch(host) and (parts.port is None or parts.port > 0)
    except (KeyError, ValueError):
        is_good = None
    if not is_good or not text.isascii() or not text.isprintable() or set(text) & set("?# @\\"):
        raise ValidationError(gettext("Enter an address like https://grafana.example.com, without ?, # and user."))
    if len(text) > ADDRESS_MAX_LENGTH:
        raise ValidationError(gettext("Use at most %(most)s characters.") % {"most": ADDRESS_MAX_LENGTH})
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"


def clean_scopes(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str | bool]]:
    """Raises ``ValidationError`` that says which scope is wrong."""
    if len(rows) > SCOPES_LIMIT:
        raise ValidationError(gettext("A service has at most %(most)s scopes.") % {"most": SCOPES_LIMIT})
    found: dict[str, dict[str, str | bool]] = {}
    for number, row in enumerate(rows, start=1):
        try:
            scope = _scope(row)
            if scope["name"] in found:
                raise ValidationError(gettext("Another scope has this name already."))
        except ValidationError as error:
            said = gettext("Scope %(number)s: %(why)s") % {"number": number, "why": " ".join(error.messages)}
            raise ValidationError(said) from None
        found[str(scope["name"])] = scope
    return list(found.values())


def _scope(row: Mapping[str, Any]) -> dict[str, str | bool]:
    name = row["name"]
    if not _SLUG.fullmatch(name):
        raise ValidationError(_not_a_word())
    if name in (ANY, NOBODY):
        raise ValidationError(gettext("“%(name)s” is a word of the path rules. Choose another name.") % {"name": name})
    return {
        "name": name,
        "label": _cell(row["label"], SCOPE_LABEL_MAX_LENGTH, needed=True),
        "description": _cell(row.get("description", ""), SCOPE_DESCRIPTION_MAX_LENGTH),
        "only_reads": bool(row.get("only_reads", False)),
    }


def _cell(value: str, most: int, *, needed: bool = False) -> str:
    """A text that the form can show in its line of a scope."""
    if "|" in value:
        raise ValidationError(gettext("A label and a description can't have this character: |"))
    return _text(value, most, needed=needed)


def _text(value: str, most: int, *, needed: bool = False) -> str:
    """One printable line."""
    text = composed(value).strip()
    if needed and not text:
        raise ValidationError(gettext("Enter a name."))
    if len(text) > most:
        raise ValidationError(gettext("Use at most %(most)s characters.") % {"most": most})
    if not is_printable(text) or any(map(is_invisible, text)):
        raise ValidationError(NOT_PRINTABLE)
    return text


def _not_a_word() -> str:
    return gettext("Use lower-case letters, digits and hyphens, at most 20, and begin with a letter.")
