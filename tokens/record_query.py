"""The one query that checks a request with a token: the token's record, owner and organization, and whether the owner
has two-factor if the organization requires it.

With the ORM, building the statement and reading the row takes longer than the database needs to answer. This module
builds the statement once, from the models' own fields; a test compares its result with the ORM's.
"""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from allauth.mfa.models import Authenticator
from django.db import DEFAULT_DB_ALIAS
from django.db.models import DateTimeField, Field, UUIDField

from accounts.models import Organization, User
from accounts.querysets import SECOND_FACTOR_TYPES
from core.db.prepared_statements import own_connection, prepared_cursor, uuid_as_stored
from tokens.models import Token

Reader = Callable[[Any], Any]

# No request with a token reads these. They are deferred: reading one makes a query.
_LEFT_OUT = {"password", "last_login"}
_TOKEN_FIELDS, _USER_FIELDS, _ORGANIZATION_FIELDS = (
    [field for field in model._meta.concrete_fields if field.attname not in _LEFT_OUT]
    for model in (Token, User, Organization)
)


def find_token(*, token_id: uuid.UUID, owner_id: uuid.UUID) -> Token | None:
    """The token with this id and owner, with ``owner`` and ``organization`` loaded; ``None`` if there is none."""
    connection = own_connection()
    as_stored = uuid_as_stored(connection)
    with prepared_cursor(connection) as cursor:
        cursor.execute(_statement(), [as_stored(token_id), as_stored(owner_id)])
        row = cursor.fetchone()
    if row is None:
        return None
    readers = _readers(connection.vendor)
    values = [value if read is None or value is None else read(value) for read, value in zip(readers, row, strict=True)]
    users, organizations = len(_TOKEN_FIELDS), len(_TOKEN_FIELDS) + len(_USER_FIELDS)
    token: Token = _instance(Token, _TOKEN_FIELDS, values[:users])
    token.owner = _instance(User, _USER_FIELDS, values[users:organizations])
    token.organization = _instance(Organization, _ORGANIZATION_FIELDS, values[organizations:-1])
    if values[-1] is not None:
        # `tokens.policy` reads it; the property would make a query.
        token.owner.has_two_factor = values[-1]
    return token


@lru_cache(maxsize=1)
def _statement() -> str:
    columns = ", ".join(
        f'{alias}."{field.column}"'
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


@lru_cache
def _readers(vendor: str) -> list[Reader | None]:
    """For each column, the function that converts its value. PostgreSQL's driver returns Python's own types; SQLite has
    no UUIDs, no time zones and no booleans."""
    fields = [*_TOKEN_FIELDS, *_USER_FIELDS, *_ORGANIZATION_FIELDS]
    if vendor != "sqlite":
        return [None] * (len(fields) + 1)
    return [*(_sqlite_reader(field) for field in fields), bool]


def _sqlite_reader(field: "Field[Any, Any]") -> Reader | None:
    kind: Any = getattr(field, "target_field", field)
    if isinstance(kind, UUIDField):
        return uuid.UUID
    return _utc if isinstance(kind, DateTimeField) else None


def _utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC)


def _instance(model: Any, fields: "list[Field[Any, Any]]", values: list[Any]) -> Any:
    return model.from_db(DEFAULT_DB_ALIAS, [field.attname for field in fields], values)
