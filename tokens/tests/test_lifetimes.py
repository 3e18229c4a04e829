from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError

from tokens.lifetimes import Lifetime, end_of, parse_expiry

START = datetime(2026, 1, 31, 14, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("lifetime", "end"),
    [
        (Lifetime.ONE_DAY, "2026-02-01T14:05"),
        (Lifetime.ONE_WEEK, "2026-02-07T14:05"),
        (Lifetime.ONE_MONTH, "2026-02-28T14:05"),
        (Lifetime.TWO_MONTHS, "2026-03-31T14:05"),
        (Lifetime.THREE_MONTHS, "2026-04-30T14:05"),
    ],
)
def test_presets_end_at_the_same_time_of_day(lifetime, end):
    assert end_of(lifetime, start=START) == datetime.fromisoformat(f"{end}+00:00")


@pytest.mark.parametrize(("month", "day"), [(m, d) for m in range(1, 13) for d in (1, 28)])
def test_three_months_never_exceed_the_default_maximum(month, day):
    start = datetime(2027, month, day, tzinfo=UTC)

    assert end_of(Lifetime.THREE_MONTHS, start=start) - start <= timedelta(days=92)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("2026-02-03", "2026-02-03T23:59:59+00:00"),
        (" 2026-02-03 ", "2026-02-03T23:59:59+00:00"),
        ("2026-02-03T10:00:00Z", "2026-02-03T10:00:00+00:00"),
        ("2026-02-03T10:00:00", "2026-02-03T10:00:00+00:00"),
        ("2026-02-03T10:00:00.9+02:00", "2026-02-03T08:00:00+00:00"),
        # The last allowed day ends when the maximum lifetime ends.
        ("2026-05-03", "2026-05-03T14:05:00+00:00"),
    ],
)
def test_custom_end_is_a_day_or_a_time(text, end):
    assert parse_expiry(text, start=START, longest=timedelta(days=92)) == datetime.fromisoformat(end)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "2026-02-30",
        "03.02.2026",
        "9999-99-99",
        "2026-02-03T25:00:00",
        "\x00",
        "0001-01-01T00:00:00+14:00",
    ],
)
def test_text_that_is_no_date_is_refused(text):
    with pytest.raises(ValidationError):
        parse_expiry(text, start=START, longest=timedelta(days=92))
