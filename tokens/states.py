"""The states of a token: computed from its metadata and the clock, never stored (docs/product.md#tokens)."""

from enum import Enum

from django.utils.translation import pgettext_lazy

from core.badges import Badge
from core.text import Text


class TokenState(Enum):
    """The value is the id. The badge is not a part of it: Python hashes values when it imports the class, and a
    translated text can only be hashed later."""

    WAITING = "waiting"
    PENDING = "pending"
    SCHEDULED = "scheduled"
    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"
    OWNER_DEACTIVATED = "owner_deactivated"
    BLOCKED_BY_POLICY = "blocked_by_policy"

    @property
    def id(self) -> str:
        return self.value

    @property
    def label(self) -> Text:
        return self.badge.label

    @property
    def badge(self) -> Badge:
        return _BADGES[self]


_BADGES = {
    TokenState.WAITING: Badge("◷", pgettext_lazy("state of a token", "Waiting for approval"), "waiting"),
    TokenState.PENDING: Badge("◌", pgettext_lazy("state of a token", "Not revealed"), "waiting"),
    TokenState.SCHEDULED: Badge("◷", pgettext_lazy("state of a token", "Not started"), "waiting"),
    TokenState.ACTIVE: Badge("●", pgettext_lazy("state of a token", "Active"), "good"),
    TokenState.EXPIRED: Badge("○", pgettext_lazy("state of a token", "Expired"), "neutral"),
    TokenState.REVOKED: Badge("⊘", pgettext_lazy("state of a token", "Expired early"), "bad"),
    TokenState.OWNER_DEACTIVATED: Badge("⊘", pgettext_lazy("state of a token", "Owner deactivated"), "bad"),
    TokenState.BLOCKED_BY_POLICY: Badge("⚠", pgettext_lazy("state of a token", "Blocked by policy"), "warning"),
}

ENDED = frozenset({TokenState.EXPIRED, TokenState.REVOKED})
CHOICES: list[tuple[str, Text]] = [(state.id, state.label) for state in TokenState]
LIVE_CHOICES: list[tuple[str, Text]] = [(state.id, state.label) for state in TokenState if state not in ENDED]
