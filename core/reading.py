"""The language and the time zone of the person who reads a page or a mail.

Everything else speaks English and UTC: the API, Django admin, commands, and the server's log.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from django.conf import settings
from django.utils import timezone, translation

# Of the IANA database. Other names are of offsets, or older names of the same places.
AREAS = (
    "Africa/",
    "America/",
    "Antarctica/",
    "Arctic/",
    "Asia/",
    "Atlantic/",
    "Australia/",
    "Europe/",
    "Indian/",
    "Pacific/",
)


@cache
def time_zones() -> tuple[str, ...]:
    """UTC, and the names of all places in the IANA database, such as ``Europe/Berlin``, in order."""
    return ("UTC", *sorted(name for name in available_timezones() if name.startswith(AREAS)))


def zone_of(name: str) -> tzinfo:
    """The time zone with this name; UTC if the name is empty or no longer in the database."""
    return ZoneInfo(name) if name and name in time_zones() else UTC


def local(moment: datetime) -> datetime:
    """The moment in the reader's time zone. In UTC if it would be before the year 1 or after 9999 there."""
    with suppress(OverflowError):
        return moment.astimezone(timezone.get_current_timezone())
    return moment.astimezone(UTC)


def offset_of(moment: datetime) -> str:
    """How far the moment's time zone is from UTC: `UTC`, `UTC+1`, `UTC+5:45`, `UTC−3`.

    Shown instead of a name, because languages have different ones: "CET" is "MEZ" in German. With a minus sign, where
    no line breaks.
    """
    minutes = round((moment.utcoffset() or timedelta()) / timedelta(minutes=1))
    hours, rest = divmod(abs(minutes), 60)
    sign = "+" if minutes > 0 else "\N{MINUS SIGN}"
    return f"UTC{sign}{hours}{f':{rest:02}' if rest else ''}" if minutes else "UTC"


@contextmanager
def reading_as(language: str, time_zone: str) -> Iterator[None]:
    """Texts are translated, and times shown, for someone with this language and time zone. Empty: English, and UTC."""
    with translation.override(language or settings.LANGUAGE_CODE), timezone.override(zone_of(time_zone)):
        yield
