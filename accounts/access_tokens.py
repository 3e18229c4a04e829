"""What accounts need from access tokens. The app of tokens stands above this one and implements it."""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from functools import cache
from typing import TYPE_CHECKING

from django.conf import settings
from django.db.models.expressions import Combinable
from django.http import HttpRequest
from django.utils.module_loading import import_string

from core.types import AccessToken

if TYPE_CHECKING:
    from accounts.models import User


class AccessTokens(ABC):
    @abstractmethod
    def live_count(self) -> Combinable:
        """How many live tokens each person of a query has, for ``annotate``."""

    @abstractmethod
    def expire_all(self, *, actor: "User", reason: str, request: HttpRequest) -> int:
        """Expires all live tokens of ``actor`` and returns how many there were. Call it in a transaction."""

    @abstractmethod
    def expire_all_of(self, owner: "User", *, actor: "User", reason: str, request: HttpRequest | None) -> None:
        """Expires all tokens of ``owner`` that have not ended, without a mail. Call it in a transaction, after checking
        that ``actor`` may do this."""

    @abstractmethod
    def check(self, request: HttpRequest, header: str, *, service_id: uuid.UUID) -> AccessToken:
        """The token in this ``Authorization`` header, if it is good for the service now: all checks that come before
        scopes. Takes a use of a token that has only some, and lets the use be logged. Raises ``TokenRefused`` or
        ``Throttled``."""

    @abstractmethod
    def of_service(self, service_id: uuid.UUID, ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, AccessToken]:
        """Those of these tokens that were made for the service, also ended ones, with owner and organization loaded."""


@cache
def access_tokens() -> AccessTokens:
    """The implementation that ``settings.ACCESS_TOKENS`` names, as ``AUTH_USER_MODEL`` names the model of people."""
    implementation: type[AccessTokens] = import_string(settings.ACCESS_TOKENS)
    return implementation()
