"""The geometry of the bar chart of uses per day. `chart_parts.py` and `includes/chart.html` draw it.

Horizontal values are in percent, so that the chart fits any width without stretching its text; vertical ones in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from django.utils.dateformat import format as format_date
from django.utils.translation import gettext as _

from core.text import grouped

HEIGHT = 120
# Space above the bars for the label of the highest bar, and for the text of the selected bar.
ABOVE = 20
BELOW = 22
BASELINE = ABOVE + HEIGHT
# The height of a small value, so that it is visible beside large ones.
SMALLEST = 3
# The part of a day's width that the bar fills. The rest is the gap to the next bar.
FILLED = 0.7

Day = tuple[date, int, int]

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Bar:
    """One day in UTC. ``x`` and ``width`` in percent, the rest in pixels from the top."""

    day: date
    allowed: int
    refused: int
    words: str
    slot_x: float
    slot_width: float
    x: float
    width: float
    allowed_y: int
    allowed_height: int
    refused_y: int
    refused_height: int

    @property
    def total(self) -> int:
        return self.allowed + self.refused

    @property
    def period(self) -> str:
        """The filters of a log that find exactly the uses of this day (UTC)."""
        return f"since_at={self.day}T00:00Z&before_at={self.day + _DAY}T00:00Z"

    @property
    def middle(self) -> float:
        return round(self.x + self.width / 2, 3)

    @property
    def anchor(self) -> str:
        """How to align text: near an end of the chart, it extends toward the middle."""
        return "start" if self.middle < 30 else "end" if self.middle > 70 else "middle"

    @property
    def words_x(self) -> int:
        """Where the text of the bar begins, ends or is centered, so that it also fits a narrow chart."""
        return {"start": 0, "middle": 50, "end": 100}[self.anchor]

    @property
    def anchor_x(self) -> float:
        return {"start": self.x, "middle": self.middle, "end": round(self.x + self.width, 3)}[self.anchor]


@dataclass(frozen=True)
class Chart:
    bars: list[Bar]
    height: int = ABOVE + HEIGHT + BELOW
    top: int = ABOVE
    bars_height: int = HEIGHT
    baseline: int = BASELINE

    @property
    def allowed(self) -> int:
        return sum(bar.allowed for bar in self.bars)

    @property
    def refused(self) -> int:
        return sum(bar.refused for bar in self.bars)

    @property
    def total(self) -> int:
        return self.allowed + self.refused

    @property
    def today(self) -> Bar:
        return self.bars[-1]

    @property
    def last_used_day(self) -> date | None:
        """The last day with uses, whose bar the Tab key leads to."""
        return next((bar.day for bar in reversed(self.bars) if bar.total), None)

    @property
    def peak(self) -> Bar | None:
        """The day with the most uses, the latest of several; ``None`` without uses."""
        return max(reversed(self.bars), key=lambda bar: bar.total) if self.total else None


def per_day(days: Sequence[Day]) -> Chart:
    """A bar for each day, in order; the last one is today."""
    most = max((allowed + refused for _, allowed, refused in days), default=0)
    return Chart([_bar(day, place, len(days), most) for place, day in enumerate(days)])


def _bar(day: Day, place: int, places: int, most: int) -> Bar:
    on, allowed, refused = day
    slot = 100 / places
    allowed_height, refused_height = _heights(allowed, refused, most)
    return Bar(
        day=on,
        allowed=allowed,
        refused=refused,
        words=_("%(day)s: %(allowed)s allowed, %(refused)s refused")
        % {"day": format_date(on, _("j M")), "allowed": grouped(allowed), "refused": grouped(refused)},
        slot_x=round(slot * place, 3),
        slot_width=round(slot, 3),
        x=round(slot * (place + (1 - FILLED) / 2), 3),
        width=round(slot * FILLED, 3),
        allowed_y=BASELINE - allowed_height,
        allowed_height=allowed_height,
        refused_y=BASELINE - allowed_height - refused_height,
        refused_height=refused_height,
    )


def _heights(allowed: int, refused: int, most: int) -> tuple[int, int]:
    """The heights of the two parts of a bar, which together are never higher than the chart."""
    if not allowed + refused:
        return 0, 0
    whole = max(round(HEIGHT * (allowed + refused) / most), SMALLEST * (bool(allowed) + bool(refused)))
    upper = round(whole * refused / (allowed + refused))
    if allowed and refused:
        upper = min(max(upper, SMALLEST), whole - SMALLEST)
    return whole - upper, upper
