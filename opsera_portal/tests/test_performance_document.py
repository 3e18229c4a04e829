"""`make bench` writes its tables and its chart into docs/performance.md."""

import re

import pytest

from benchmarks import charts, document
from benchmarks.charts import Bar

pytestmark = pytest.mark.once

OUTPUT = """- 2026-11-29, two cores

### SQLite

| endpoint | requests/s | range |
| --- | ---: | ---: |
| portal: checked | 1,501 | 1445-1568 |
| open & free | 2823 | 2754-2933 |
"""


def test_document_has_a_place_for_each_part():
    found = re.findall(r"<!-- (begin|end) (\w+) -->", document.DOCUMENT.read_text())

    assert sorted(found) == sorted((end, part) for part in document.PARTS for end in ("begin", "end"))


def test_only_the_text_between_the_marks_is_replaced():
    before = "# Performance\n<!-- begin memory -->\nold\n<!-- end memory -->\nby hand\n"

    after = document.with_block(before, "memory", OUTPUT)

    assert after == f"# Performance\n<!-- begin memory -->\n\n{OUTPUT}\n<!-- end memory -->\nby hand\n"


def test_part_without_a_place_is_an_error():
    with pytest.raises(ValueError, match="marks of pages 0 times"):
        document.with_block("# Performance\n", "pages", OUTPUT)


def test_bars_of_a_chart_come_from_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(document, "CHART", tmp_path / "chart.svg")

    document.draw(OUTPUT)

    drawn = (tmp_path / "chart.svg").read_text()
    assert "open &amp; free" in drawn
    assert [float(width) for width in re.findall(r'width="([\d.]+)"', drawn)] == [223.3, 420.0]
    assert drawn.count('class="ours"') == 1


def test_longest_bar_and_its_value_fit_into_the_chart():
    drawn = charts.horizontal_bars("Requests", {"SQLite": [Bar("a", 99_999, is_ours=True)]})

    assert charts.LABELS + charts.VALUES + 420 <= charts.WIDTH
    assert ">99,999</text>" in drawn
