"""What a chart has for each of its days, for `includes/chart.html`. A template would take five times as long."""

from collections.abc import Iterator
from typing import Any

from django.utils.dateformat import format as format_date
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from core.pages.charts import Bar, Chart
from core.text import grouped

_BAR = (
    '<a class="chart-bar"{} data-day="{}"><title>{}</title>'
    '<rect class="chart-slot" x="{}%" y="{}" width="{}%" height="{}" />{}{}'
    '<text class="chart-words" x="{}%" y="13" text-anchor="{}">{}</text></a>'
)
_PART = '<rect class="{}" x="{}%" y="{}" width="{}%" height="{}" />'
_ROW = (
    '<tr><td data-label="{}">{}</td><td class="numeric" data-label="{}">{}</td>'
    '<td class="numeric" data-label="{}">{}</td></tr>'
)


def bars_of(chart: Chart, *, log_url: str, anchor: str) -> SafeString:
    """The bars, each with a link to the uses of its day. The Tab key leads to the last bar with uses."""
    last = chart.last_used_day

    def values(bar: Bar) -> Iterator[Any]:
        link = ' href="{}?{}{}" tabindex="{}"', log_url, bar.period, anchor, 0 if bar.day == last else -1
        yield from (format_html(*link) if bar.total else "", bar.day, bar.words)
        yield from (bar.slot_x, chart.top, bar.slot_width, chart.bars_height)
        for kind, y, height in (
            ("chart-allowed", bar.allowed_y, bar.allowed_height),
            ("chart-refused", bar.refused_y, bar.refused_height),
        ):
            yield format_html(_PART, kind, bar.x, y, bar.width, height) if height else ""
        yield from (bar.words_x, bar.anchor, bar.words)

    return format_html_join("", _BAR, map(tuple, map(values, chart.bars)))


def rows_of(chart: Chart, *, log_url: str, anchor: str) -> SafeString:
    """The rows of the table, the newest day first."""
    day, allowed, refused, words = _("Day"), _("Allowed"), _("Refused"), _("j F Y")

    def values(bar: Bar) -> tuple[Any, ...]:
        on = format_date(bar.day, words)
        linked = format_html('<a href="{}?{}{}">{}</a>', log_url, bar.period, anchor, on) if bar.total else on
        return day, linked, allowed, grouped(bar.allowed), refused, grouped(bar.refused)

    return format_html_join("", _ROW, map(values, reversed(chart.bars)))
