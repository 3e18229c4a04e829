"""States as pages show them."""

from dataclasses import dataclass
from typing import Literal

from django.utils.translation import gettext_lazy

from core.text import Text

Tone = Literal["good", "warning", "bad", "neutral", "waiting"]


@dataclass(frozen=True)
class Badge:
    """A state as sign, word and color, so that the color is never the only difference. ``tone`` selects the color."""

    sign: str
    label: Text
    tone: Tone


SERVICE_ACCOUNT = Badge("⚙", gettext_lazy("Service account"), "neutral")
