"""The states of a token: computed from its metadata and the clock, never stored (docs/product.md#tokens)."""

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class StateLook:
    id: str
    label: str
    sign: str
    tone: str


class TokenState(Enum):
    PENDING = StateLook("pending", "Not revealed", "◌", "waiting")
    ACTIVE = StateLook("active", "Active", "●", "good")
    EXPIRED = StateLook("expired", "Expired", "○", "neutral")
    REVOKED = StateLook("revoked", "Expired early", "⊘", "bad")
    OWNER_DEACTIVATED = StateLook("owner_deactivated", "Owner deactivated", "⊘", "bad")
    BLOCKED_BY_POLICY = StateLook("blocked_by_policy", "Blocked by policy", "⚠", "warning")

    @property
    def id(self) -> str:
        return self.value.id

    @property
    def label(self) -> str:
        return self.value.label


CHOICES: list[tuple[str, str]] = [(state.id, state.label) for state in TokenState]
