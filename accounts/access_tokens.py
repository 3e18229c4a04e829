"""What accounts need from access tokens. The app of tokens stands above this one and implements it."""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

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
    def check_sent(self, request: HttpRequest, encoded: str, *, service_id: uuid.UUID) -> AccessToken:
        """As ``check``, for a token in the body of the request."""

    @abstractmethod
    def claims_of(self, token: AccessToken) -> dict[str, Any]:
        """What the JWT of a token that is good now says (RFC 9068 section 2.2). ``exp`` has not passed."""

    @abstractmethod
    def sign_introspection(self, answer: dict[str, Any], *, client_id: str) -> str:
        """The answer to the service with this id, as a JWT (RFC 9701) that nobody accepts as a token."""

    @abstractmethod
    def revoke_by_service(
        self, encoded: str, *, service_id: uuid.UUID, service_name: str, request: HttpRequest
    ) -> None:
        """Ends the token if it is a genuine one of this service and has not ended, and tells its owner."""

    @abstractmethod
    def report(self, encoded: str, *, request: HttpRequest) -> None:
        """Ends the token if it is genuine and has not ended, as one that was reported as leaked. Raises
        ``Throttled``."""

    @abstractmethod
    def issue_for_test(
        self, actor: "User", *, service_id: uuid.UUID, name: str, lifetime: timedelta, request: HttpRequest | None
    ) -> tuple[AccessToken, str]:
        """A new token of the actor with all scopes of the service, and the token itself. Raises what creating a token
        raises, and ``DomainError`` if it would have to wait for an approval."""

    @abstractmethod
    def end_test(self, token: AccessToken, *, actor: "User", request: HttpRequest | None) -> None:
        """Ends it, unless it has ended."""

    @abstractmethod
    def metadata(self) -> dict[str, Any]:
        """What programs need to know to get and to verify tokens: members of RFC 8414."""

    @abstractmethod
    def of_service(self, service_id: uuid.UUID, ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, AccessToken]:
        """Those of these tokens that were made for the service, also ended ones, with owner and organization loaded."""


@cache
def access_tokens() -> AccessTokens:
    """The implementation that ``settings.ACCESS_TOKENS`` names, as ``AUTH_USER_MODEL`` names the model of people."""
    implementation: type[AccessTokens] = import_string(settings.ACCESS_TOKENS)
    return implementation()
