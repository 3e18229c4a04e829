"""Template tags and filters for times, states, form fields and charts."""

import math
import uuid
from calendar import monthrange
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from typing import Any

from django import template
from django.forms import BoundField
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from core.badges import Badge
from core.pages import charts, submissions
from core.text import counted, grouped

register = template.Library()

# Each unit with its length in seconds, and the length of the next smaller unit.
_UNITS = (("day", 86400, 3600), ("hour", 3600, 60), ("minute", 60, 1))


# These two are in every row of a table, where a template takes ten times as long.
@register.simple_tag
def moment(value: datetime | None) -> SafeString | str:
    """A time in words, with the exact time and zone as a tooltip."""
    if value is None:
        return "–"
    return format_html(
        '<time class="moment" datetime="{0}" title="{1}">{2}<span class="moment-exact"> {1}</span></time>',
        value.isoformat(),
        exact(value),
        relative(value),
    )


@register.simple_tag
@lru_cache(maxsize=256)
def badge(state: Badge) -> SafeString:
    """A state as sign, word and color."""
    return format_html(
        '<span class="badge" data-tone="{}"><span aria-hidden="true">{}</span>{}</span>',
        state.tone,
        state.sign,
        state.label,
    )


@register.inclusion_tag("includes/field.html")
def field(bound_field: BoundField) -> dict[str, Any]:
    """A form field with its label, hint and errors."""
    return {"field": bound_field}


@register.inclusion_tag("includes/chart.html")
def chart(days: Sequence[charts.Day], label: str, *, is_complete: bool = True) -> dict[str, Any]:
    """A bar chart of the uses of each day, allowed and refused. The last day is today. ``label`` names the chart.

    If it is not complete, it says so.
    """
    return {"chart": charts.per_day(days), "label": label, "is_complete": is_complete}


@register.simple_tag
def submission() -> SafeString:
    """The hidden id of a form that must be carried out only once (core/pages/submissions.py)."""
    return format_html('<input type="hidden" name="{}" value="{}">', submissions.FIELD, uuid.uuid4().hex)


register.filter("grouped", grouped)


@register.filter
def exact(value: datetime) -> str:
    """`3 May 2026, 14:05 UTC`."""
    utc = value.astimezone(UTC)
    return f"{utc.day} {utc:%B %Y, %H:%M} UTC"


@register.filter
def took(value: timedelta | None) -> str:
    """`18 ms`, `2.4 s`, `3 min 5 s`, `2 h 10 min`, `4 d 3 h`; a dash without a value."""
    if value is None:
        return "–"
    if value < timedelta(seconds=1):
        return f"{value // timedelta(milliseconds=1)} ms"
    if value < timedelta(minutes=1):
        # Rounded down, so that 59.99 seconds are not 60.
        return f"{math.floor(value.total_seconds() * 10) / 10} s"
    minutes, seconds = divmod(int(value.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


@register.filter
def relative(value: datetime) -> str:
    """`3 minutes ago`, rounded down; `in 6 days`, rounded to the nearest.

    If rounded down, a new token for a month would expire "in 29 days" a second later. Months and years are calendar
    months and years, as in the lifetimes of tokens.
    """
    now = timezone.now()
    if value <= now:
        words = _span(value, now)
        return f"{words} ago" if words else "just now"
    words = _span(now, value, to_nearest=True)
    return f"in {words}" if words else "in less than a minute"


def _span(start: datetime, end: datetime, *, to_nearest: bool = False) -> str:
    """The time between two moments in its largest unit; empty for less than a minute."""
    half_a_day = timedelta(hours=12) if to_nearest else timedelta()
    # In both directions: a month after 31 January is 28 February, and a month before 28 March is 28 February, too.
    months = max(_months_after(start, end + half_a_day), _months_before(end, start - half_a_day))
    if months:
        return _count(months // 12, "year") if months >= 12 else _count(months, "month")
    seconds = (end - start).total_seconds()
    for unit, length, smaller in _UNITS:
        # A value that rounds up to a larger unit becomes that unit: 59 minutes and 40 seconds are an hour.
        if (_nearest(seconds / smaller) * smaller if to_nearest else seconds) >= length:
            return _count(_nearest(seconds / length) if to_nearest else int(seconds / length), unit)
    return ""


# The same as dateutil's `relativedelta`, which takes twenty times as long: these are computed for each row of a table.


def _months_after(start: datetime, end: datetime) -> int:
    """How often a month can be added to ``start`` until ``end``."""
    return _months(start, end) - (_in_month_of(end, start) > _in_month_of(end, end))


def _months_before(end: datetime, start: datetime) -> int:
    """How often a month can be subtracted from ``end`` until ``start``."""
    return _months(start, end) - (_in_month_of(start, end) < _in_month_of(start, start))


def _months(start: datetime, end: datetime) -> int:
    return (end.year - start.year) * 12 + end.month - start.month


def _in_month_of(other: datetime, moment: datetime) -> tuple[int, time]:
    """The day and time of ``moment`` in the month of ``other``, which may be shorter."""
    return min(moment.day, monthrange(other.year, other.month)[1]), moment.time()


def _nearest(number: float) -> int:
    return math.floor(number + 0.5)


def _count(number: int, unit: str) -> str:
    return counted(number, unit, f"{unit}s")
