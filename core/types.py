"""Types of people and tokens for annotations in apps that do not import `accounts` or `tokens`."""

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

__all__ = ["AccessToken", "User"]

if TYPE_CHECKING:
    # The class that settings.AUTH_USER_MODEL names: django-stubs resolves it.
    from django.contrib.auth.models import _User as User
else:
    User = Any


class AccessToken(Protocol):
    """The record of the token that a request was made with."""

    name: str
    scope: str
    created_at: datetime
    revoked_at: datetime | None
    is_limited: bool
    replaced_at: datetime | None
    replaced_by_id: uuid.UUID | None
    service_id: uuid.UUID | None

    @property
    def pk(self) -> uuid.UUID: ...
    @property
    def owner_id(self) -> uuid.UUID: ...
    @property
    def owner(self) -> User: ...
    @property
    def organization_id(self) -> uuid.UUID: ...
    @property
    def organization(self) -> Any: ...
    @property
    def ends_at(self) -> datetime: ...
    @property
    def policy_advice(self) -> str: ...
