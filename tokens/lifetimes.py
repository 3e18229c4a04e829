"""The lifetimes of tokens: the presets, and reading a custom end and a start time (docs/product.md#tokens)."""

from datetime import UTC, date, datetime, time, timedelta, tzinfo

from dateutil.relativedelta import relativedelta
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy, ngettext

from accounts.models import Organization, User
from core.reading import local
from core.text import grouped


def longest_lifetime(policy: Organization, owner: User) -> timedelta:
    """For tokens of this owner: service accounts have a limit of their own."""
    if owner.is_service_account:
        return timedelta(days=policy.max_service_token_lifetime_days)
    return timedelta(days=policy.max_token_lifetime_days)


class Lifetime(models.TextChoices):
    ONE_DAY = "1d", gettext_lazy("1 day")
    ONE_WEEK = "1w", gettext_lazy("1 week")
    ONE_MONTH = "1mo", gettext_lazy("1 month")
    TWO_MONTHS = "2mo", gettext_lazy("2 months")
    THREE_MONTHS = "3mo", gettext_lazy("3 months")


DEFAULT_LIFETIME = Lifetime.ONE_MONTH

_LENGTHS = {
    Lifetime.ONE_DAY: relativedelta(days=1),
    Lifetime.ONE_WEEK: relativedelta(weeks=1),
    Lifetime.ONE_MONTH: relativedelta(months=1),
    Lifetime.TWO_MONTHS: relativedelta(months=2),
    Lifetime.THREE_MONTHS: relativedelta(months=3),
}


def now_in_seconds() -> datetime:
    """The time in whole seconds, as in a JWT, so that the record and the token have exactly the same times."""
    return timezone.now().replace(microsecond=0)


def chosen_end(preset: Lifetime | None, custom: str, *, longest: timedelta) -> datetime:
    """The end of a token that is created now, by the preset or else the custom end. Raises ``ValidationError``."""
    start = now_in_seconds()
    end = end_of(preset, start=start) if preset else parse_expiry(custom, start=start, longest=longest)
    check_expiry(end, start=start, longest=longest)
    return end


def end_of(lifetime: Lifetime, *, start: datetime) -> datetime:
    """The same time of day, days, weeks or calendar months later (a month after 31 January is 28 February)."""
    return start + _LENGTHS[lifetime]


def preset_of(start: datetime, end: datetime) -> Lifetime | None:
    """The preset with which a token that was created at ``start`` has this end; ``None`` if it has a custom end."""
    return next((preset for preset in Lifetime if end_of(preset, start=start) == end), None)


def same_lifetime(created_at: datetime, expires_at: datetime, *, start: datetime, longest: timedelta) -> datetime:
    """The end of a token that is created at ``start`` and lives as long as another one, or as long as is allowed."""
    preset = preset_of(created_at, expires_at)
    end = end_of(preset, start=start) if preset else start + (expires_at - created_at)
    return min(end, start + longest)


def end_of_day(day: date) -> datetime:
    """The last second of the day, UTC: a token "until 3 May" works on 3 May."""
    return datetime.combine(day, time(23, 59, 59), UTC)


def parse_expiry(text: str, *, start: datetime, longest: timedelta) -> datetime:
    """A custom end: an ISO 8601 date (its last second, UTC, or the latest allowed moment of that day) or date and time.

    A time without a zone is UTC. Raises ``ValidationError``.
    """
    text = text.strip()
    if not text:
        raise ValidationError(gettext("Choose the date on which the token expires."))
    try:
        if len(text) <= len("2026-12-31"):
            day = date.fromisoformat(text)
            latest = start + longest
            return latest if day == latest.date() else end_of_day(day)
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        return moment.replace(microsecond=0)
    except (ValueError, OverflowError):
        raise ValidationError(
            gettext("Enter a date like 2026-12-31, or a date and time like 2026-12-31T12:00:00Z.")
        ) from None


def check_expiry(expires_at: datetime, *, start: datetime, longest: timedelta) -> None:
    """Raises ``ValidationError`` for an end in the past or after the organization's maximum."""
    if expires_at <= start:
        raise ValidationError(gettext("Choose a time in the future."))
    if expires_at - start > longest:
        latest = start + longest
        raise ValidationError(
            ngettext(
                "Your organization allows tokens a lifetime of %(count)s day at most: choose %(date)s or earlier.",
                "Your organization allows tokens a lifetime of %(count)s days at most: choose %(date)s or earlier.",
                longest.days,
            )
            % {"count": grouped(longest.days), "date": f"{latest:%Y-%m-%d}"}
        )


def chosen_start(text: str, *, expires_at: datetime) -> datetime | None:
    """The start time of a token that is created now. Raises ``ValidationError``."""
    not_before = parse_start(text, zone=timezone.get_current_timezone())
    check_start(not_before, start=now_in_seconds(), expires_at=expires_at)
    return not_before


def parse_start(text: str, *, zone: tzinfo | None) -> datetime | None:
    """An ISO 8601 date (its first second) or date and time; ``None`` if the text is empty.

    ``zone``: of a time without one: the person's on pages, UTC in the API. With ``None``, such a time is refused.
    Raises ``ValidationError``.
    """
    text = text.strip()
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text).replace(microsecond=0)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
        if zone is not None:
            return _in_zone(moment, zone)
    except (ValueError, OverflowError):
        raise ValidationError(gettext("Enter a date and time like 2026-12-31T08:00.")) from None
    raise ValidationError(gettext("Add the time zone, such as Z for UTC: 2026-12-31T08:00Z."))


def _in_zone(moment: datetime, zone: tzinfo) -> datetime:
    """The later one of two such times: when clocks are set back, an hour comes twice."""
    found = moment.replace(tzinfo=zone, fold=1).astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) != moment:
        raise ValidationError(
            gettext("There is no such time in your time zone, because clocks are set forward then. Choose another one.")
        )
    return found


def check_start(not_before: datetime | None, *, start: datetime, expires_at: datetime) -> None:
    """Raises ``ValidationError`` for a start time in the past, or not before the end."""
    if not_before is None:
        return
    if not_before <= start:
        raise ValidationError(gettext("Choose a time in the future."))
    if not_before >= expires_at:
        raise ValidationError(gettext("Choose a time before the token expires. Its lifetime counts from its creation."))


def as_typed(moment: datetime) -> str:
    """As a form's field for date and time has it, in the reader's time zone: `2026-12-31T08:00`."""
    return local(moment).replace(tzinfo=None).isoformat(timespec="seconds").removesuffix(":00")
