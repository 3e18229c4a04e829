"""Filters of SCIM as conditions of a query."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from functools import reduce
from typing import Any

from django.db.models import Q, QuerySet
from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_naive

from accounts.models import Group, User
from accounts.scim import schemas
from accounts.scim.grammar import Attribute, Both, Comparison, Either, Filter, Not, Selection, parse_filter
from accounts.scim.problems import InvalidFilter
from core import ids

EVERYTHING = ~Q(pk__in=[])
NOTHING = Q(pk__in=[])

_ORDER = {"gt": "gt", "ge": "gte", "lt": "lt", "le": "lte"}
_TEXT = {"eq": "iexact", "co": "icontains", "sw": "istartswith", "ew": "iendswith"} | _ORDER
_EXACT_TEXT = {"eq": "exact", "co": "contains", "sw": "startswith", "ew": "endswith"} | _ORDER

Condition = Callable[[str, Any], Q]


def _text(column: str, lookups: Mapping[str, str] = _TEXT) -> Condition:
    def condition(wanted: str, value: Any) -> Q:
        if wanted == "pr":
            return ~Q(**{column: ""})
        if not isinstance(value, str):
            raise InvalidFilter("This attribute is compared with a text in quotation marks.")
        return Q(**{f"{column}__{lookups[wanted]}": value})

    return condition


def _id(column: str) -> Condition:
    def condition(wanted: str, value: Any) -> Q:
        if wanted == "pr":
            return EVERYTHING
        _check_operator(wanted, {"eq"})
        return Q(**{column: ids.read(value)}) if isinstance(value, str) and ids.FORM.fullmatch(value) else NOTHING

    return condition


def _flag(column: str) -> Condition:
    def condition(wanted: str, value: Any) -> Q:
        if wanted == "pr":
            return EVERYTHING
        _check_operator(wanted, {"eq"})
        # Entra ID writes `active eq "True"`.
        found = {"true": True, "false": False}.get(str(value).lower())
        if found is None:
            raise InvalidFilter("This attribute is compared with true or false.")
        return Q(**{column: found})

    return condition


def _moment(column: str) -> Condition:
    def condition(wanted: str, value: Any) -> Q:
        if wanted == "pr":
            return EVERYTHING
        _check_operator(wanted, {"eq", *_ORDER})
        try:
            moment = parse_datetime(value) if isinstance(value, str) else None
            # SQLite gets it in UTC, which the first and the last moments can't be converted to.
            moment = None if moment is None or is_naive(moment) else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            moment = None
        if moment is None:
            raise InvalidFilter('This attribute is compared with a time, such as "2026-01-31T12:00:00Z".')
        return Q(**{f"{column}__{_ORDER.get(wanted, 'exact')}": moment})

    return condition


def _always(constant: Any) -> Condition:
    """For what is the same for all resources."""
    compared: dict[str, Callable[[Any, Any], bool]] = {
        "eq": operator.eq,
        "co": lambda text, part: part in text,
        "sw": lambda text, part: text.startswith(part),
        "ew": lambda text, part: text.endswith(part),
    }

    def condition(wanted: str, value: Any) -> Q:
        if wanted == "pr":
            return EVERYTHING
        if isinstance(constant, bool):
            return EVERYTHING if wanted == "eq" and str(value).lower() == str(constant).lower() else NOTHING
        _check_operator(wanted, compared.keys())
        is_met = isinstance(value, str) and compared[wanted](constant.lower(), value.lower())
        return EVERYTHING if is_met else NOTHING

    return condition


def _never(wanted: str, value: Any) -> Q:
    """For what the portal does not store."""
    return NOTHING


def _check_operator(wanted: str, known: Any) -> None:
    if wanted not in known:
        raise InvalidFilter(f"{wanted} does not fit this attribute.")


@dataclass(frozen=True)
class Values:
    """A multi-valued attribute. One row of ``rows`` is one value; ``of`` is its column with the resource's id."""

    attributes: Mapping[str, Condition]
    rows: Callable[[], QuerySet[Any]] | None = None
    of: str = ""

    def having(self, condition: Q) -> Q:
        if self.rows is None:
            return condition
        return Q(pk__in=self.rows().filter(condition).values(self.of))


def _memberships() -> QuerySet[Any]:
    return Group.members.through._default_manager.filter(user__is_service_account=False)


# By names in lower case.
USER_ATTRIBUTES: dict[str, Condition | Values] = {
    **dict.fromkeys(schemas.NOT_STORED, _never),
    **dict.fromkeys(("name.givenname", "name.familyname", "name.middlename"), _never),
    "id": _id("pk"),
    "externalid": _text("external_id", _EXACT_TEXT),
    "username": _text("email"),
    "displayname": _text("name"),
    "name": _text("name"),
    "name.formatted": _text("name"),
    "active": _flag("is_active"),
    "emails": Values({"value": _text("email"), "type": _always("work"), "primary": _always(True)}),
    "roles": Values({"value": _text("site_role")}),
    "groups": Values(
        {"value": _id("group_id"), "display": _text("group__name"), "type": _always("direct")},
        _memberships,
        "user_id",
    ),
    "meta.created": _moment("created_at"),
    "meta.resourcetype": _always("User"),
}
GROUP_ATTRIBUTES: dict[str, Condition | Values] = {
    "id": _id("pk"),
    "externalid": _text("external_id", _EXACT_TEXT),
    "displayname": _text("name"),
    "members": Values({"value": _id("user_id"), "type": _always("User")}, _memberships, "group_id"),
    "meta.created": _moment("created_at"),
    "meta.resourcetype": _always("Group"),
}
_KNOWN: dict[type[User] | type[Group], tuple[str, dict[str, Condition | Values]]] = {
    User: (schemas.USER, USER_ATTRIBUTES),
    Group: (schemas.GROUP, GROUP_ATTRIBUTES),
}


def condition_for(model: type[User] | type[Group], text: str, *, among_others: bool = False) -> Q:
    """``among_others``: other resources are searched with the same filter, and it may be about those. Raises
    ``InvalidFilter``."""
    return _Translator(*_KNOWN[model], among_others=among_others).translate(parse_filter(text))


class _Translator:
    def __init__(self, urn: str, attributes: Mapping[str, Condition | Values], *, among_others: bool) -> None:
        self._urn = urn.lower()
        self._attributes = attributes
        self._among_others = among_others

    def translate(self, found: Filter) -> Q:
        match found:
            case Not():
                return ~self.translate(found.inner)
            case Both():
                return reduce(operator.and_, map(self.translate, found.terms))
            case Either():
                return reduce(operator.or_, map(self.translate, found.terms))
            case Selection():
                values = self._found(found.attribute)
                if values is None:
                    return NOTHING
                if not isinstance(values, Values):
                    raise InvalidFilter(f"{found.attribute.name} has no values to choose from.")
                inner = _Translator("", values.attributes, among_others=False)
                return values.having(inner.translate(found.inner))
        return self._compared(found)

    def _compared(self, found: Comparison) -> Q:
        if found.operator == "ne":
            return ~self._compared(Comparison(found.attribute, "eq", found.value))
        if found.value is None and found.operator == "eq":
            # RFC 7643 section 2.5: null is the same as no value.
            return ~self._compared(Comparison(found.attribute, "pr"))
        attribute = found.attribute
        values = self._attributes.get(attribute.name)
        if isinstance(values, Values):
            self._check_schema(attribute)
            if found.operator == "pr" and not attribute.sub:
                return values.having(EVERYTHING)
            inner = Comparison(Attribute(attribute.sub or "value"), found.operator, found.value)
            return values.having(_Translator("", values.attributes, among_others=False).translate(inner))
        condition = self._found(attribute)
        if condition is None:
            return NOTHING
        if isinstance(condition, Values):
            raise InvalidFilter(f"{attribute.name} has no such part.")
        return condition(found.operator, found.value)

    def _found(self, attribute: Attribute) -> Condition | Values | None:
        """``None`` for an attribute of another resource."""
        self._check_schema(attribute)
        name = f"{attribute.name}.{attribute.sub}" if attribute.sub else attribute.name
        found = self._attributes.get(name)
        if found is None and attribute.sub and self._attributes.get(attribute.name) is _never:
            return _never
        if found is None and not self._among_others:
            raise InvalidFilter(f"People and groups can't be found by {name}.")
        return found

    def _check_schema(self, attribute: Attribute) -> None:
        if attribute.urn and attribute.urn != self._urn and not self._among_others:
            raise InvalidFilter(f"The portal has nothing of the schema {attribute.urn}.")
