"""What tokens need from pipelines. The app of tokens calls this, and the app of pipelines implements it.

Neither of the two imports the other.
"""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Collection
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from django.conf import settings
from django.utils.module_loading import import_string

from core.types import AccessToken

if TYPE_CHECKING:
    from accounts.models import User


class NamedPipeline(NamedTuple):
    id: uuid.UUID
    name: str


class OfferedPipeline(NamedTuple):
    """``can_run``: whether the person can run it. Their token can only read the others."""

    id: uuid.UUID
    name: str
    can_run: bool


class PipelinesForTokens(ABC):
    """Each function only knows pipelines that the person can see, with the rule of the pages."""

    @abstractmethod
    def offered_to(self, person: "User", *, most: int) -> list[OfferedPipeline]:
        """The first of them, by name. One query."""

    @abstractmethod
    def count_seen_by(self, person: "User") -> int:
        """How many there are."""

    @abstractmethod
    def seen_by(self, person: "User", ids: Collection[uuid.UUID]) -> list[NamedPipeline]:
        """Those with these ids, by name."""

    @abstractmethod
    def found_by(self, person: "User", words: Collection[str]) -> dict[str, NamedPipeline]:
        """For each word that is the id or the name of one, that one. At most one query."""

    @abstractmethod
    def limit(self, token: AccessToken, *, actor: "User", ids: Collection[uuid.UUID]) -> list[NamedPipeline]:
        """Makes a new token reach those of them that the actor can see now, and returns these. They can't be deleted
        before the transaction ends, which must be the one that creates the token."""


@cache
def pipelines_for_tokens() -> PipelinesForTokens:
    """The implementation that ``settings.PIPELINES_FOR_TOKENS`` names, as ``ACCESS_TOKENS`` names that of tokens."""
    implementation: type[PipelinesForTokens] = import_string(settings.PIPELINES_FOR_TOKENS)
    return implementation()
