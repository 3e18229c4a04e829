"""The one query that checks a request with a token: the token's record, owner and organization, and whether the owner
has two-factor if the organization requires it.

With the ORM, building the statement and reading the row takes longer than the database needs to answer. This module
builds the statement once, from the models' own fields; a test compares its result with the ORM's.
"""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Any

from allauth.mfa.models import Authenticator
from django.db import DEFAULT_DB_ALIAS
from django.db.models import DateTimeField, Field, UUIDField
from django.db.models.base import ModelState

from accounts.models import Organization, User
from accounts.querysets import SECOND_FACTOR_TYPES
from core.db.prepared_statements import fetch_one, own_connection, uuid_as_stored
from tokens.models import Token

# No request with a token reads these. They are deferred: reading one makes a query.
_LEFT_OUT = {
    "password",
    "last_login",
    "browser_language",
    "sign_in_networks",
    "sign_in_network_roles",
    "created_by_id",
    "status_list_id",
    "status_index",
    "external_id",
    "deprovisioned_at",
    "erased_at",
    "max_replacement_overlap_hours",
    "notification_choices",
    "expiry_mails_of_previous_release",
    "waits_until",
    "approved_at",
    "approval_scopes",
    "approval_lifetime_days",
    "approval_for_service_accounts",
}
_TOKEN_FIELDS, _USER_FIELDS, _ORGANIZATION_FIELDS = (
    [field for field in model._meta.concrete_fields if field.attname not in _LEFT_OUT]
    for model in (Token, User, Organization)
)
_FIELDS = [*_TOKEN_FIELDS, *_USER_FIELDS, *_ORGANIZATION_FIELDS]
_OWNER, _ORGANIZATION = Token._meta.get_field("owner"), Token._meta.get_field("organization")
_ORGANIZATION_OF_USER = User._meta.get_field("organization")


def find_token(*, token_id: uuid.UUID, owner_id: uuid.UUID) -> Token | None:
    """The token with this id and owner, with ``owner`` and ``organization`` loaded; ``None`` if there is none."""
    connection = own_connection()
    as_stored = uuid_as_stored(connection)
    row = fetch_one(connection, _statement(connection.vendor), [as_stored(token_id), as_stored(owner_id)])
    if row is None:
        return None
    of_token, of_owner, of_organization = _attributes(connection.vendor, row)
    token: Token = _instance(Token, of_token)
    owner: User = _instance(User, of_owner)
    organization: Organization = _instance(Organization, of_organization)
    _OWNER.set_cached_value(token, owner)
    _ORGANIZATION.set_cached_value(token, organization)
    if owner.organization_id == organization.pk:
        _ORGANIZATION_OF_USER.set_cached_value(owner, organization)
    return token


# Scripts send the same token again and again, and its row changes once a minute (`Token.last_used_at`). This remembers
# how a row reads, and not that it was found.
@lru_cache(maxsize=1000)
def _attributes(vendor: str, row: tuple[Any, ...]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The attributes of the three instances, read from a row."""
    values = [
        value if read is None or value is None else read(value)
        for read, value in zip(_readers(vendor), row, strict=True)
    ]
    has_two_factor = values.pop()
    named = iter(zip((field.attname for field in _FIELDS), values, strict=True))
    of_token, of_owner, of_organization = (
        dict(islice(named, len(fields))) for fields in (_TOKEN_FIELDS, _USER_FIELDS, _ORGANIZATION_FIELDS)
    )
    if has_two_factor is not None:
        # `tokens.policy` reads it; the property would make a query.
        of_owner["has_two_factor"] = has_two_factor
    return of_token, of_owner, of_organization


@lru_cache
def _statement(vendor: str) -> str:
    columns = ", ".join(
        _as_text(f'{alias}."{field.column}"', field, vendor)
        for alias, fields in (("t", _TOKEN_FIELDS), ("u", _USER_FIELDS), ("o", _ORGANIZATION_FIELDS))
        for field in fields
    )
    token, user, organization, factor = (model._meta.db_table for model in (Token, User, Organization, Authenticator))
    types = ", ".join(f"'{kind.value}'" for kind in SECOND_FACTOR_TYPES)
    # Null if the policy does not require it: the subquery takes a tenth of the whole query's time.
    has_two_factor = (
        f'CASE WHEN o."two_factor_roles" <> \'\' THEN EXISTS (SELECT 1 FROM "{factor}" f '  # noqa: S608
        f'WHERE f."user_id" = u."id" AND f."type" IN ({types})) END'
    )
    return (
        f'SELECT {columns}, {has_two_factor} FROM "{token}" t JOIN "{user}" u ON u."id" = t."owner_id" '  # noqa: S608
        f'JOIN "{organization}" o ON o."id" = t."organization_id" WHERE t."id" = %s AND t."owner_id" = %s'
    )


def _as_text(column: str, field: "Field[Any, Any]", vendor: str) -> str:
    """For SQLite, the text that is stored. Otherwise the driver would call Django's function for each moment."""
    return f"{column} || ''" if vendor == "sqlite" and isinstance(field, DateTimeField) else column


@lru_cache
def _readers(vendor: str) -> list[Callable[[Any], Any] | None]:
    """For each column, the function that converts its value. PostgreSQL's driver returns Python's own types; SQLite has
    no UUIDs and no moments."""
    if vendor != "sqlite":
        return [None] * (len(_FIELDS) + 1)
    return [*(_sqlite_reader(field) for field in _FIELDS), bool]


def _sqlite_reader(field: "Field[Any, Any]") -> Callable[[Any], Any] | None:
    kind: Any = getattr(field, "target_field", field)
    if isinstance(kind, UUIDField):
        return uuid.UUID
    return _moment if isinstance(kind, DateTimeField) else None


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _instance(model: Any, attributes: dict[str, Any]) -> Any:
    """An instance of the row, created without the signals of models, to which nothing listens."""
    instance = model.__new__(model)
    instance.__dict__.update(attributes)
    instance._state = ModelState()
    instance._state.adding, instance._state.db = False, DEFAULT_DB_ALIAS
    return instance
