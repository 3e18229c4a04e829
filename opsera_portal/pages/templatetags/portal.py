"""How times, states and form fields are written on every page."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django import template
from django.forms import BoundField
from django.utils import timezone

from opsera_portal.pages import charts

register = template.Library()

_UNITS = (("year", 365 * 86400), ("month", 30 * 86400), ("day", 86400), ("hour", 3600), ("minute", 60))


@register.inclusion_tag("includes/moment.html")
def moment(value: datetime | None) -> dict[str, Any]:
    """A point in time: in words, with the exact time and zone at hand."""
    if value is None:
        return {"value": None}
    return {"value": value, "relative": relative(value), "exact": exact(value)}


@register.inclusion_tag("includes/badge.html")
def badge(state: Any) -> dict[str, Any]:
    """A state as word, sign and color. ``state`` has ``sign``, ``label`` and ``tone``."""
    return {"state": state}


@register.inclusion_tag("includes/field.html")
def field(bound_field: BoundField) -> dict[str, Any]:
    """A form field with its label, hint and errors."""
    return {"field": bound_field}


@register.inclusion_tag("includes/chart.html")
def chart(days: Sequence[charts.Day], label: str) -> dict[str, Any]:
    """A bar for each day's uses, allowed and refused; the last day is today. ``label`` names the chart."""
    return {"chart": charts.per_day(days), "label": label}


@register.filter
def grouped(number: int) -> str:
    """`12,345`."""
    return f"{number:,}"


@register.filter
def exact(value: datetime) -> str:
    """`3 May 2026, 14:05 UTC`."""
    utc = value.astimezone(UTC)
    return f"{utc.day} {utc:%B %Y, %H:%M} UTC"


@register.filter
def relative(value: datetime) -> str:
    """`3 minutes ago`, `in 6 days`: the largest unit that fits, rounded down."""
    seconds = int((value - timezone.now()).total_seconds())
    size = abs(seconds)
    for unit, length in _UNITS:
        if size >= length:
            number = size // length
            words = f"{number} {unit}{'' if number == 1 else 's'}"
            return f"in {words}" if seconds > 0 else f"{words} ago"
    return "in less than a minute" if seconds > 0 else "just now"
