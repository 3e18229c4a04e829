"""`make quality` measures pages and writes its tables into docs/quality.md."""

import re

import pytest

from benchmarks import quality
from benchmarks.quality import Page, Wire
from opsera_portal.tests import page_states

pytestmark = pytest.mark.once

GOOD = Page("Tokens: page", (), Wire(5, 42 * 1024), Wire(1, 7 * 1024), 0, 0.004)


def missed(result):
    return [goal.label for goal in result.goals if not goal.is_reached]


def test_document_has_a_place_for_each_part():
    found = re.findall(r"<!-- (begin|end) (\w+) -->", quality.DOCUMENT.read_text())

    assert sorted(found) == sorted((end, part) for part in [*quality.PARTS, "goals"] for end in ("begin", "end"))


def test_states_have_different_names():
    labels = [state.label for state in [*page_states.STATES, *page_states.CROWDED_STATES]]

    assert len(labels) > 90
    assert len({*labels}) == len(labels)


def test_good_pages_reach_all_goals():
    result = quality.result_of_pages([GOOD])

    assert missed(result) == []
    assert result.tables[0][1][1] == ["Tokens: page", "0", "42", "5", "7", "1", "0.000", "0.004"]


@pytest.mark.parametrize(
    ("values", "goal"),
    [
        ({"violations": ("color-contrast at p, dark, 360 pixels",)}, "violations that axe finds in 16 page views"),
        ({"first": Wire(5, 61 * 1024)}, "KiB of the heaviest page on a first visit"),
        ({"first": Wire(9, 1024)}, "requests of a page on a first visit"),
        ({"shift_on_phone": 0.11}, "layout shift of a page"),
    ],
)
def test_one_bad_page_misses_its_goal(values, goal):
    bad = Page(**{**vars(GOOD), "label": "Overview: page", **values})

    assert missed(quality.result_of_pages([GOOD, bad])) == [goal]


def test_violations_are_named():
    bad = Page(**{**vars(GOOD), "violations": ("target-size at a, light, 360 pixels",)})

    [(title, rows), _] = quality.result_of_pages([bad]).tables

    assert (title, rows[1]) == ("Violations", ["target-size", "1", "Tokens: page: target-size at a, light, 360 pixels"])


PO = """msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\\n"

msgid "Token"
msgstr "Zugangstoken"

msgid "Run"
msgstr ""
"""


def test_share_of_translated_texts(tmp_path):
    path = tmp_path / "de" / "LC_MESSAGES" / "django.po"
    path.parent.mkdir(parents=True)
    path.write_text(PO)

    result = quality.result_of_languages([path])

    assert result.tables[0][1][1] == ["de", "2", "1", "50 %"]
    assert missed(result) == ["texts translated: de"]


def test_portal_without_translations_says_so():
    result = quality.result_of_languages([])

    assert "no translations yet" in result.facts[0]
    assert missed(result) == []
