"""The chart of uses per day: its geometry and its texts."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
import time_machine
from django.template import Context, Template
from hypothesis import given
from hypothesis import strategies as st

from core.pages.charts import ABOVE, BASELINE, HEIGHT, SMALLEST, per_day
from core.reading import reading_as

TODAY = date(2026, 5, 20)


def days(*counts):
    """Assigns a day to each pair of (allowed, refused). The last pair is today."""
    first = TODAY - timedelta(days=len(counts) - 1)
    return [(first + timedelta(days=n), *count) for n, count in enumerate(counts)]


def drawn(*counts):
    return Template("{% load portal %}{% chart days 'Uses' log_url='/log/' anchor='#rows' %}").render(
        Context({"days": days(*counts)})
    )


counts = st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**12)), min_size=1, max_size=60)


@given(counts)
def test_bar_is_within_the_chart(counts):
    chart = per_day(days(*counts))

    right = 0.0
    for bar, (allowed, refused) in zip(chart.bars, counts, strict=True):
        assert (bar.allowed, bar.refused) == (allowed, refused)
        assert right <= bar.x < bar.x + bar.width <= 100
        right = bar.x + bar.width
        assert bar.allowed_y + bar.allowed_height == BASELINE
        assert bar.refused_y + bar.refused_height == bar.allowed_y
        assert bar.refused_y >= ABOVE
        assert 0 <= bar.anchor_x <= 100


@given(counts)
def test_small_value_is_visible_and_zero_is_not(counts):
    for bar in per_day(days(*counts)).bars:
        assert (bar.allowed_height >= SMALLEST) == (bar.allowed > 0)
        assert (bar.refused_height >= SMALLEST) == (bar.refused > 0)
        assert bool(bar.allowed_height) == bool(bar.allowed)
        assert bool(bar.refused_height) == bool(bar.refused)


@given(counts)
def test_day_with_more_uses_never_has_a_lower_bar(counts):
    """Very low bars are an exception: they are drawn taller so that they can be seen."""
    bars = sorted(per_day(days(*counts)).bars, key=lambda bar: bar.total)
    heights = [bar.allowed_height + bar.refused_height for bar in bars]

    for lower, higher in pairwise(heights):
        assert lower <= max(higher, 2 * SMALLEST)
    if bars[-1].total:
        assert max(heights) == HEIGHT


def test_parts_of_a_bar_are_proportional_to_the_counts():
    chart = per_day(days((30, 10), (10, 10), (0, 0)))

    assert [(bar.allowed_height, bar.refused_height) for bar in chart.bars] == [(90, 30), (30, 30), (0, 0)]


@pytest.mark.parametrize(
    ("counts", "peak", "anchor"),
    [
        ([(9, 0)] + [(1, 0)] * 29, 0, "start"),
        ([(1, 0)] * 29 + [(9, 0)], 29, "end"),
        ([(1, 0)] * 15 + [(0, 9)] + [(1, 0)] * 14, 15, "middle"),
        ([(5, 5), (10, 0)], 1, "end"),
        ([(1, 0)], 0, "middle"),
    ],
)
def test_label_of_the_highest_bar_is_within_the_chart(counts, peak, anchor):
    chart = per_day(days(*counts))

    assert chart.peak is chart.bars[peak]
    assert chart.peak.anchor == anchor


@pytest.mark.parametrize("counts", [[], [(0, 0)], [(0, 0)] * 30])
def test_chart_without_uses_has_no_highest_bar(counts):
    assert per_day(days(*counts)).peak is None


def test_totals_are_the_sums_of_the_days():
    chart = per_day(days((1, 2), (3, 4)))

    assert (chart.allowed, chart.refused, chart.total) == (4, 6, 10)
    assert chart.today.day == TODAY


def test_chart_has_a_description():
    html = drawn((1500, 0), (0, 12), (0, 0))

    assert 'role="group"' in html
    assert 'aria-label="Uses: 1,512 in 3 days, 1,500 allowed and 12 refused"' in html
    assert "<title>18 May: 1,500 allowed, 0 refused</title>" in html
    assert "1,500 on 18 May" in html
    # The others are reached with the arrow keys.
    assert (html.count('tabindex="0"'), html.count('tabindex="-1"')) == (1, 1)
    assert html.count('class="chart-allowed"') == html.count('class="chart-refused"') == 1


def test_bar_and_row_of_the_table_link_to_the_uses_of_their_day_in_utc():
    html = drawn((1500, 0), (0, 12), (0, 0))

    period = "since_at=2026-05-18T00:00Z&amp;before_at=2026-05-19T00:00Z"
    assert f'<a class="chart-bar" href="/log/?{period}#rows" tabindex="-1"' in html
    assert f'<a href="/log/?{period}#rows">18 May 2026</a>' in html
    # Not the day without uses.
    assert html.count("since_at=") == 4


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        ("UTC", "Days in UTC\n"),
        ("Asia/Kolkata", "Today began at 05:30 in your time zone."),
        ("America/New_York", "Today began at 20:00 in your time zone."),
    ],
)
def test_chart_says_when_the_day_began_for_the_reader(zone, words):
    with time_machine.travel(datetime(2026, 5, 20, 12, tzinfo=UTC)), reading_as("en", zone):
        assert words in drawn((1, 0))


def test_table_has_the_same_values_newest_first():
    html = drawn((1500, 0), (0, 12), (0, 0))

    table = html[html.index("<tbody>") :]
    assert table.index("20 May 2026") < table.index("19 May 2026") < table.index("18 May 2026")
    assert table.count("<tr>") == 3


def test_chart_has_no_inline_styles_or_scripts():
    html = drawn((1, 1), (2, 0))

    assert "style=" not in html
    assert "<style" not in html
    assert "<script" not in html


def test_chart_without_uses_is_replaced_by_a_sentence():
    html = drawn(*[(0, 0)] * 30)

    assert "<svg" not in html
    assert "No uses in the last 30 days." in html
