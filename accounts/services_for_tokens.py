"""What tokens need from services: the programs of an organization that its tokens open, beside the portal's own API.

The app of tokens calls this, and the app of services (`gateway`) implements it. Neither of the two imports the other.
"""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from functools import cache
from typing import TYPE_CHECKING, Protocol

from django.conf import settings
from django.utils.module_loading import import_string

from core.api.scopes import ServiceScope

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from accounts.models import User


class TokenService(Protocol):
    """A service, as tokens know it. ``Token.service`` is one.

    ``address``: where it can be reached; may be empty. ``needs_approval``: a second person must approve new tokens.
    ``uses_status_list``: it reads which tokens have ended from a list, instead of asking the portal at each use.
    """

    name: str
    slug: str
    address: str
    is_enabled: bool
    needs_approval: bool

    @property
    def pk(self) -> uuid.UUID: ...
    @property
    def uses_status_list(self) -> bool: ...
    @property
    def all_scopes(self) -> Sequence[ServiceScope]: ...
    def chosen(self, scope: str) -> list[ServiceScope]:
        """Those of its scopes that a token has. ``scope``: as the token stores them, separated by spaces."""
        ...

    def opened_by(self, scope: ServiceScope) -> list[str]:
        """The requests that need this scope, such as ``GET,HEAD /api/**``, in the order of the rules."""
        ...

    def scope_for(self, method: str, target: str) -> ServiceScope | None:
        """The scope that a logged request needed, by the rules as they are now. ``None`` if it needs none, or if the
        rules close it."""
        ...


class ServicesForTokens(ABC):
    """Each function except `of_organization` only knows services that are switched on and that the person may use, with
    the rule that decides at each use of a token."""

    @abstractmethod
    def offered_to(self, person: "User") -> Sequence[TokenService]:
        """All of them, by name. One query."""

    @abstractmethod
    def find(self, person: "User", word: str) -> TokenService | None:
        """The one with this id or short name (``slug``)."""

    @abstractmethod
    def lock(self, person: "User", service_id: uuid.UUID) -> TokenService | None:
        """The one with this id as it is now. It can't change before the transaction ends, which must be the one that
        creates the token."""

    @abstractmethod
    def of_organization(self, person: "User") -> Sequence[TokenService]:
        """All services of the person's organization, by name, also those that are switched off. One query."""

    @abstractmethod
    def usable_pairs(self, pairs: Collection[tuple["User", TokenService]]) -> set[tuple[uuid.UUID, uuid.UUID]]:
        """The ids of those pairs where the person may use the service now. At most three queries."""

    @abstractmethod
    def may_use(self, person: "User", service_id: uuid.UUID) -> bool:
        """Whether the person may use it now. One query."""

    @abstractmethod
    def people_who_may_use(self, service_id: uuid.UUID) -> "QuerySet[User]":
        """Everyone who may use it now, for a query about many tokens."""


@cache
def services_for_tokens() -> ServicesForTokens:
    """The implementation that ``settings.SERVICES_FOR_TOKENS`` names, as ``ACCESS_TOKENS`` names that of tokens."""
    implementation: type[ServicesForTokens] = import_string(settings.SERVICES_FOR_TOKENS)
    return implementation()
