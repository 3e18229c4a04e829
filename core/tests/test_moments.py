"""Times relative to now, and durations, in words."""

import random
import re
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from dateutil.relativedelta import relativedelta

from core.pages.templatetags.portal import exact, logged_at, moment, relative, time_zone, took
from core.reading import reading_as, time_zones, zone_of
from tokens.lifetimes import Lifetime, end_of

NOW = datetime(2027, 2, 1, 9, 30, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize("lifetime", Lifetime)
@pytest.mark.parametrize("month", range(1, 13))
@pytest.mark.parametrize("later", [0 * SECOND, SECOND, MINUTE, 20 * MINUTE], ids=str)
def test_expiry_of_a_new_token_is_shown_as_its_chosen_lifetime(lifetime, month, later):
    start = datetime(2027, month, 28, 23, 59, 59, tzinfo=UTC)
    words = "7 days" if lifetime == Lifetime.ONE_WEEK else lifetime.label

    with time_machine.travel(start + later, tick=False):
        assert relative(end_of(lifetime, start=start)) == f"in {words}"


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (SECOND, "in less than a minute"),
        (59 * SECOND, "in less than a minute"),
        (59.5 * SECOND, "in 1 minute"),
        (89 * SECOND, "in 1 minute"),
        (90 * SECOND, "in 2 minutes"),
        (HOUR - 31 * SECOND, "in 59 minutes"),
        (HOUR - 30 * SECOND, "in 1 hour"),
        (89 * MINUTE, "in 1 hour"),
        (DAY - 31 * MINUTE, "in 23 hours"),
        (DAY - 30 * MINUTE, "in 1 day"),
        (DAY + 11 * HOUR, "in 1 day"),
        (DAY + 12 * HOUR, "in 2 days"),
        (7 * DAY - SECOND, "in 7 days"),
        (27 * DAY, "in 27 days"),
        (28 * DAY - SECOND, "in 1 month"),
        (30 * DAY, "in 30 days"),
        (58 * DAY, "in 58 days"),
        (59 * DAY - SECOND, "in 2 months"),
        (60 * DAY, "in 60 days"),
        (90 * DAY, "in 90 days"),
        (103 * DAY, "in 3 months"),
        (106 * DAY, "in 4 months"),
        (345 * DAY, "in 11 months"),
        (353 * DAY, "in 1 year"),
        (700 * DAY, "in 23 months"),
        (29 * 30.5 * DAY, "in 2 years"),
        (31 * 30.5 * DAY, "in 3 years"),
        (365 * DAY - SECOND, "in 1 year"),
        (366 * DAY, "in 1 year"),
        (-SECOND, "just now"),
        (-59 * SECOND, "just now"),
        (-MINUTE, "1 minute ago"),
        (-HOUR + SECOND, "59 minutes ago"),
        (-HOUR, "1 hour ago"),
        (-DAY + SECOND, "23 hours ago"),
        (-DAY, "1 day ago"),
        (-30 * DAY, "30 days ago"),
        (-31 * DAY, "31 days ago"),
        (-91 * DAY + SECOND, "90 days ago"),
        (-91 * DAY, "3 months ago"),
        (-110 * DAY, "4 months ago"),
        (-365 * DAY, "1 year ago"),
        (-2 * 365 * DAY, "2 years ago"),
        (timedelta(), "just now"),
    ],
    ids=str,
)
def test_relative_time_is_shown_in_its_largest_unit(left, words):
    with time_machine.travel(NOW, tick=False):
        assert relative(NOW + left) == words


def test_months_are_rounded_to_the_nearest_as_dateutil_counts_them():
    rng = random.Random("moments")
    for _ in range(2000):
        start = datetime(2023, 1, 1, tzinfo=UTC) + timedelta(days=rng.randrange(1500), hours=rng.choice([0, 0, 12]))
        end = start + timedelta(days=rng.randrange(91, 700), hours=rng.choice([0, 12, 12]), seconds=rng.choice([0, 1]))
        counted = relativedelta(end, start)
        exact_months = counted.years * 12 + counted.months + counted.days / 30.4

        with time_machine.travel(end, tick=False):
            number, unit, _ = relative(start).split()

        assert abs(int(number) * (12 if unit.startswith("year") else 1) - exact_months) < 0.6, (start, end)


@pytest.mark.parametrize(
    ("duration", "words"),
    [
        (None, "–"),
        (timedelta(), "0 ms"),
        (timedelta(milliseconds=18), "18 ms"),
        (timedelta(milliseconds=999.9), "999 ms"),
        (SECOND, "1.0 s"),
        (timedelta(seconds=59.99), "59.9 s"),
        (MINUTE, "1 min 0 s"),
        (3 * MINUTE + 5.9 * SECOND, "3 min 5 s"),
        (HOUR - timedelta(milliseconds=1), "59 min 59 s"),
        (2 * HOUR + 10 * MINUTE, "2 h 10 min"),
        (4 * DAY + 3 * HOUR, "4 d 3 h"),
    ],
    ids=str,
)
def test_duration_is_shown_in_its_two_largest_units(duration, words):
    assert took(duration) == words


@pytest.mark.parametrize(
    ("zone", "at", "shown"),
    [
        ("", datetime(2026, 5, 3, 14, 5, tzinfo=UTC), "3 May 2026, 14:05 UTC"),
        ("Europe/Berlin", datetime(2026, 5, 3, 14, 5, tzinfo=UTC), "3 May 2026, 16:05 UTC+2 (14:05 UTC)"),
        ("Europe/Berlin", datetime(2026, 1, 3, 14, 5, tzinfo=UTC), "3 January 2026, 15:05 UTC+1 (14:05 UTC)"),
        (
            "Asia/Kathmandu",
            datetime(2026, 12, 31, 23, 0, tzinfo=UTC),
            "1 January 2027, 04:45 UTC+5:45 (31 December 2026, 23:00 UTC)",
        ),
        ("Europe/London", datetime(2026, 1, 3, 14, 5, tzinfo=UTC), "3 January 2026, 14:05 UTC"),
        # The hour that happens twice: the offset tells the two apart.
        ("Europe/Berlin", datetime(2026, 10, 25, 0, 30, tzinfo=UTC), "25 October 2026, 02:30 UTC+2 (00:30 UTC)"),
        ("Europe/Berlin", datetime(2026, 10, 25, 1, 30, tzinfo=UTC), "25 October 2026, 02:30 UTC+1 (01:30 UTC)"),
        (
            "America/St_Johns",
            datetime(2026, 1, 3, 14, 5, tzinfo=UTC),
            "3 January 2026, 10:35 UTC\N{MINUS SIGN}3:30 (14:05 UTC)",
        ),
        # A name that a later database of time zones no longer has.
        ("Europe/Atlantis", datetime(2026, 5, 3, 14, 5, tzinfo=UTC), "3 May 2026, 14:05 UTC"),
    ],
)
def test_exact_time_is_in_the_zone_of_the_reader_with_utc_beside_it(zone, at, shown):
    with reading_as("", zone):
        assert exact(at) == shown


@pytest.mark.parametrize(("is_stop", "tabindex"), [(False, "-1"), (True, "0")])
def test_time_in_words_can_have_the_focus_and_contains_the_exact_time(is_stop, tabindex):
    with time_machine.travel(NOW, tick=False):
        shown = moment(NOW - DAY, is_stop=is_stop)

    at = "31 January 2027, 09:30 UTC"
    assert shown == (
        f'<time class="moment" tabindex="{tabindex}" datetime="2027-01-31T09:30:00+00:00" title="{at}">1 day ago'
        f'<span class="moment-exact"> {at}</span></time>'
    )


@pytest.mark.parametrize(
    ("zone", "at", "shown", "exact_part"),
    [
        ("", datetime(2026, 5, 3, 14, 5, 7, tzinfo=UTC), "2026-05-03 14:05:07", ""),
        ("Europe/London", datetime(2026, 1, 3, 14, 5, 7, tzinfo=UTC), "2026-01-03 14:05:07", ""),
        ("Europe/Berlin", datetime(2026, 5, 3, 14, 5, 7, tzinfo=UTC), "2026-05-03 16:05:07", "UTC+2 · 14:05:07 UTC"),
        (
            "Asia/Tokyo",
            datetime(2026, 5, 3, 23, 5, 7, tzinfo=UTC),
            "2026-05-04 08:05:07",
            "UTC+9 · 2026-05-03 23:05:07 UTC",
        ),
    ],
)
def test_time_in_a_log_has_its_offset_and_utc_beside_it(zone, at, shown, exact_part):
    with reading_as("", zone):
        words, _, utc = re.sub(r"</?time[^>]*>", "", logged_at(at)).partition('<span class="moment-exact">')

    assert (words, re.sub("<[^>]*>", "", utc).strip()) == (shown, exact_part)


@pytest.mark.parametrize(
    ("zone", "name"),
    [
        ("", "UTC"),
        ("Europe/Berlin", "Europe/Berlin (now UTC+1)"),
        ("Asia/Kathmandu", "Asia/Kathmandu (now UTC+5:45)"),
        ("America/New_York", "America/New_York (now UTC\N{MINUS SIGN}5)"),
    ],
)
def test_zone_of_the_reader_has_its_offset(zone, name):
    with reading_as("", zone), time_machine.travel(NOW, tick=False):
        assert time_zone() == name


def test_time_zones_are_places_and_utc():
    assert {"UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Asia/Calcutta"} <= set(time_zones())
    assert not {"Etc/GMT+3", "localtime", "posixrules", "EST5EDT", "../UTC"} & set(time_zones())
    assert [str(zone_of(name)) for name in ("", "../UTC", "Europe/Berlin")] == ["UTC", "UTC", "Europe/Berlin"]
