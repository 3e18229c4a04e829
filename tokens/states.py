"""The states of a token: computed from its metadata and the clock, never stored (docs/product.md#tokens)."""

from enum import Enum

from core.badges import Badge


class TokenState(Enum):
    PENDING = ("pending", Badge("◌", "Not revealed", "waiting"))
    ACTIVE = ("active", Badge("●", "Active", "good"))
    EXPIRED = ("expired", Badge("○", "Expired", "neutral"))
    REVOKED = ("revoked", Badge("⊘", "Expired early", "bad"))
    OWNER_DEACTIVATED = ("owner_deactivated", Badge("⊘", "Owner deactivated", "bad"))
    BLOCKED_BY_POLICY = ("blocked_by_policy", Badge("⚠", "Blocked by policy", "warning"))

    @property
    def id(self) -> str:
        return self.value[0]

    @property
    def label(self) -> str:
        return self.badge.label

    @property
    def badge(self) -> Badge:
        return self.value[1]


ENDED = frozenset({TokenState.EXPIRED, TokenState.REVOKED})
CHOICES: list[tuple[str, str]] = [(state.id, state.label) for state in TokenState]
LIVE_CHOICES: list[tuple[str, str]] = [(state.id, state.label) for state in TokenState if state not in ENDED]
