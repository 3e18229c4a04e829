"""Template tags and filters for times, states, form fields and charts."""

import math
import uuid
from calendar import monthrange
from collections.abc import Callable, Sequence
from datetime import MAXYEAR, MINYEAR, UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any

from django import template
from django.forms import BoundField
from django.utils import timezone
from django.utils.dates import MONTHS_ALT
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import get_language, gettext, ngettext_lazy

from core.badges import SERVICE_ACCOUNT, Badge
from core.pages import chart_parts, charts, line_breaks, submissions
from core.pages.widgets import adding_picker
from core.reading import local, offset_of
from core.service_accounts import handle_of, is_service_account
from core.text import Text, grouped

register = template.Library()

_DAY = 86400
# Each unit with its length in seconds, and the length of the next smaller unit.
_UNITS = (("day", _DAY, 3600), ("hour", 3600, 60), ("minute", 60, 1))
# More are shown in months.
_MOST_DAYS = 90
_HALF_A_DAY, _HALF_A_MONTH = timedelta(hours=12), timedelta(days=15)


# These two are in every row of a table, where a template takes ten times as long.
@register.simple_tag
def moment(value: datetime | None, words: str = "", *, is_stop: bool = False) -> SafeString | str:
    """A time in words, by default relative to now, with the exact time and zone as a tooltip.

    The focus shows the exact time. Fingers give it with a tap. With ``is_stop``, the tab key does, too: for times that
    are neither in a row with a link or a button, nor in a summary or timeline, which show the exact time anyway.
    """
    if value is None:
        return "–"
    return format_html(
        '<time class="moment" tabindex="{3}" datetime="{0}" title="{1}">{2}'
        '<span class="moment-exact"> {1}</span></time>',
        value.isoformat(),
        exact(value),
        words or relative(value),
        0 if is_stop else -1,
    )


@register.simple_tag
def logged_at(value: datetime) -> SafeString:
    """A time in a log, in the reader's time zone, with its offset and UTC where exact times appear."""
    here = f"{local(value):%Y-%m-%d %H:%M:%S}"
    if not local(value).utcoffset():
        return format_html(
            '<time datetime="{}" title="{}">{}</time>', value.isoformat(), f"{here} UTC\n{relative(value)}", here
        )
    zone = offset_of(local(value))
    in_utc = f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return format_html(
        '<time class="logged" datetime="{}" title="{}">{}<span class="moment-exact">'
        ' <span class="moment-offset">{} · </span>{}</span></time>',
        value.isoformat(),
        f"{here} {zone}\n{in_utc}\n{relative(value)}",
        here,
        zone,
        in_utc.removeprefix(f"{local(value):%Y-%m-%d }"),
    )


@register.simple_tag
def time_zone() -> str:
    """The reader's time zone, with its offset at the moment: `Europe/Berlin (now UTC+1)`; or `UTC`."""
    name = timezone.get_current_timezone_name()
    if name == "UTC":
        return name
    return gettext("%(name)s (now %(offset)s)") % {"name": name, "offset": offset_of(local(timezone.now()))}


@register.simple_tag
def badge(state: Badge) -> SafeString:
    """A state as sign, word and color."""
    return _badge(state.sign, str(state.label), state.tone)


# Remembered by the translated label, so that each language has its own.
@lru_cache(maxsize=256)
def _badge(sign: str, label: str, tone: str) -> SafeString:
    return format_html(
        '<span class="badge" data-tone="{}"><span aria-hidden="true">{}</span>{}</span>', tone, sign, label
    )


@register.simple_tag
def name_and_address(person: Any, *, is_named: bool = True) -> SafeString | str:
    """``person``: something with ``name`` and ``email``. ``is_named``: whether the reader may know the name.

    A service account has a badge instead of an address that nobody can write to.
    """
    if is_service_account(person.email):
        handle = handle_of(person.email)
        shown = format_html('{} <span class="hint">{}</span>', person.name, handle) if is_named else handle
        return format_html("{} {}", shown, badge(SERVICE_ACCOUNT))
    return format_html('{} <span class="hint">{}</span>', person.name, person.email) if is_named else person.email


@register.simple_tag
def service_account_badge() -> SafeString:
    return badge(SERVICE_ACCOUNT)


@register.simple_tag
def actor(address: str) -> SafeString | str:
    """The address of a person, or the handle of a service account with its badge."""
    return format_html("{} {}", handle_of(address), badge(SERVICE_ACCOUNT)) if is_service_account(address) else address


register.filter("handle", handle_of)


@register.inclusion_tag("includes/field.html")
def field(bound_field: BoundField) -> dict[str, Any]:
    """A form field with its label, hint and errors."""
    return {"field": bound_field}


@register.inclusion_tag("includes/chart.html")
def chart(
    days: Sequence[charts.Day], label: Text, *, log_url: str = "", anchor: str = "", is_complete: bool = True
) -> dict[str, Any]:
    """A bar chart of the uses of each day (UTC), allowed and refused. The last day is today. ``label`` names the chart.

    Each bar leads to the entries of its day in the log at ``log_url`` (by default on the same page), at ``anchor``. If
    it is not complete, it says so.
    """
    drawn = charts.per_day(days)
    return {
        "chart": drawn,
        "bars": chart_parts.bars_of(drawn, log_url=log_url, anchor=anchor),
        "rows": chart_parts.rows_of(drawn, log_url=log_url, anchor=anchor),
        "label": label,
        "is_complete": is_complete,
        "day_began_at": _beginning_of_day(),
    }


def _beginning_of_day() -> str:
    """When the current day in UTC began for a reader in another time zone; empty in UTC."""
    midnight = datetime.combine(timezone.now().astimezone(UTC), time(), UTC)
    here = local(midnight)
    return f"{here:%H:%M}" if here.utcoffset() else ""


@register.simple_tag
def submission() -> SafeString:
    """The hidden id of a form that must be carried out only once (core/pages/submissions.py)."""
    return format_html('<input type="hidden" name="{}" value="{}">', submissions.FIELD, uuid.uuid4().hex)


# Below a text field that a template draws by itself.
register.simple_tag(adding_picker)
register.filter("grouped", grouped)
register.filter("breakable", line_breaks.breakable)
register.filter("ip_address", line_breaks.ip_address)


@register.filter
def offset(value: datetime) -> str:
    """How far the reader's time zone was from UTC at that moment: `UTC+1`."""
    return offset_of(local(value))


@register.filter
def milliseconds(value: datetime) -> str:
    """Those of its second, rounded down: `040`."""
    return f"{value.microsecond // 1000:03}"


@register.filter
def exact(value: datetime) -> str:
    """`3 May 2026, 14:05 UTC`; for a reader in another time zone `3 May 2026, 16:05 UTC+2 (14:05 UTC)`."""
    utc, here = value.astimezone(UTC), local(value)
    if here.utcoffset() == utc.utcoffset():
        return f"{_day_and_time(utc)} UTC"
    in_utc = f"{utc:%H:%M}" if here.date() == utc.date() else _day_and_time(utc)
    return f"{_day_and_time(here)} {offset_of(here)} ({in_utc} UTC)"


def _day_and_time(moment: datetime) -> str:
    return _day(moment.date(), get_language()) % {"time": f"{moment:%H:%M}"}


@lru_cache(maxsize=1024)
def _day(day: date, language: str | None) -> str:
    # Month names in the form that follows a day: in Polish another one than alone.
    words = {"day": day.day, "month": MONTHS_ALT[day.month], "year": day.year, "time": "%(time)s"}
    return gettext("%(day)s %(month)s %(year)s, %(time)s") % words


@register.filter
def took(value: timedelta | None) -> str:
    """`18 ms`, `2.4 s`, `3 min 5 s`, `2 h 10 min`, `4 d 3 h`; a dash without a value."""
    if value is None:
        return "–"
    if value < timedelta(seconds=1):
        return gettext("%(milliseconds)s ms") % {"milliseconds": value // timedelta(milliseconds=1)}
    if value < timedelta(minutes=1):
        # Rounded down, so that 59.99 seconds are not 60.
        return gettext("%(seconds)s s") % {"seconds": number_format(math.floor(value.total_seconds() * 10) / 10, 1)}
    minutes, seconds = divmod(int(value.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return gettext("%(days)s d %(hours)s h") % {"days": days, "hours": hours}
    if hours:
        return gettext("%(hours)s h %(minutes)s min") % {"hours": hours, "minutes": minutes}
    return gettext("%(minutes)s min %(seconds)s s") % {"minutes": minutes, "seconds": seconds}


@register.filter
def relative(value: datetime) -> str:
    """`3 minutes ago`, rounded down; `in 6 days`, rounded to the nearest. Days up to 90, then months up to 23, then
    years, all rounded to the nearest.

    If rounded down, a new token for a month would expire "in 29 days" a second later. Months and years are calendar
    months and years, as in the lifetimes of tokens: in exactly 2 of them, a token ends "in 2 months".
    """
    now = timezone.now()
    if value <= now:
        number, unit = _largest_unit(value, now, rounded=math.floor)
        return _words(number, unit, get_language(), is_past=True) if number else gettext("just now")
    number, unit = _span_until(now, value)
    return _words(number, unit, get_language(), is_past=False) if number else gettext("in less than a minute")


# A message for each unit and direction, because nouns have cases: German says "3 Tage" and "vor 3 Tagen".
_PAST = {
    "year": ngettext_lazy("%(count)s year ago", "%(count)s years ago", "number"),
    "month": ngettext_lazy("%(count)s month ago", "%(count)s months ago", "number"),
    "day": ngettext_lazy("%(count)s day ago", "%(count)s days ago", "number"),
    "hour": ngettext_lazy("%(count)s hour ago", "%(count)s hours ago", "number"),
    "minute": ngettext_lazy("%(count)s minute ago", "%(count)s minutes ago", "number"),
}
_FUTURE = {
    "year": ngettext_lazy("in %(count)s year", "in %(count)s years", "number"),
    "month": ngettext_lazy("in %(count)s month", "in %(count)s months", "number"),
    "day": ngettext_lazy("in %(count)s day", "in %(count)s days", "number"),
    "hour": ngettext_lazy("in %(count)s hour", "in %(count)s hours", "number"),
    "minute": ngettext_lazy("in %(count)s minute", "in %(count)s minutes", "number"),
}


# Remembered, because a table has several times in each row, and there are few different ones.
@lru_cache(maxsize=2048)
def _words(number: int, unit: str, language: str | None, *, is_past: bool) -> str:
    message = (_PAST if is_past else _FUTURE)[unit]
    return message % {"number": number, "count": grouped(number)}


def _span_until(start: datetime, end: datetime) -> tuple[int, str]:
    """The time between two moments in its largest unit; 0 minutes for less than a minute."""
    full = max(_full_months(start, end, _HALF_A_DAY))
    if full > max(0, min(_full_months(start, end, -_HALF_A_DAY))):
        return _in_months(full)
    return _largest_unit(start, end, rounded=_nearest)


def _largest_unit(start: datetime, end: datetime, *, rounded: Callable[[float], int]) -> tuple[int, str]:
    seconds = (end - start).total_seconds()
    if rounded(seconds / _DAY) > _MOST_DAYS:
        return _in_months(max(_full_months(start, end, _HALF_A_MONTH)))
    for unit, length, smaller in _UNITS:
        # A value that rounds up to a larger unit becomes that unit: 59 minutes and 40 seconds are an hour.
        if rounded(seconds / smaller) * smaller >= length:
            return rounded(seconds / length), unit
    return 0, "minute"


def _in_months(months: int) -> tuple[int, str]:
    if months < 24 and months % 12:
        return months, "month"
    return _nearest(months / 12), "year"


def _full_months(start: datetime, end: datetime, more: timedelta) -> tuple[int, int]:
    """How many months there are in the time and ``more``: as counted from its start, and from its end.

    A month after 31 January is 28 February, and a month before 28 March is 28 February, too.
    """
    # At both ends of the calendar there is no further day.
    later = end + more if end.year < MAXYEAR else end
    earlier = start - more if start.year > MINYEAR else start
    return _months_after(start, later), _months_before(end, earlier)


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
