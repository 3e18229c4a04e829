"""Compares docs/security.md with the standard and the code: it lists each requirement once, and each proof exists."""

import ast
import json
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from django.conf import settings

pytestmark = pytest.mark.once

DOCUMENT = settings.BASE_DIR / "docs" / "security.md"
STATES = ("Met", "Partly", "Not met", "Does not apply")
ROW = re.compile(rf"^\| (\d+\.\d+\.\d+) \| (\d) \| ({'|'.join(STATES)}) \| (.+?) \| (.*?) \|$", re.MULTILINE)
TEST = re.compile(r"`([\w/]+/test_\w+\.py)::(\w+)`")
FINDING = re.compile(r"^\| ([AIH]\d+) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)
# Found by attacks (A), integrations (I) and the first hour of use (H).
FINDINGS = [f"{kind}{number}" for kind, last in (("A", 13), ("I", 13), ("H", 5)) for number in range(1, last + 1)]
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def rows():
    """Returns (id, level, state, how, proof) of each row."""
    return ROW.findall(DOCUMENT.read_text())


@cache
def names_in(path):
    file = settings.BASE_DIR / path
    if not file.exists():
        return set()
    nodes = ast.parse(file.read_text()).body
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


@cache
def anchors_of(path):
    """Returns the anchors that GitHub creates for the headings."""
    headings = HEADING.findall(path.read_text())
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def leads_nowhere(link):
    place, _, anchor = link.partition("#")
    target = (DOCUMENT.parent / place).resolve() if place else DOCUMENT
    if not target.exists():
        return True
    return bool(anchor) and anchor not in anchors_of(target)


def test_every_requirement_of_levels_1_and_2_is_listed_once_with_its_level():
    wanted = json.loads((Path(__file__).parent / "data" / "asvs.json").read_text())["levels"]

    assert sorted((number, int(level)) for number, level, *_ in rows()) == sorted(wanted.items())


def test_every_line_of_the_tables_is_read():
    lines = re.findall(r"^\| *\d+\.\d+\.\d+.*$", DOCUMENT.read_text(), re.MULTILINE)

    assert len(lines) == len(rows())


@pytest.mark.slow
def test_every_named_test_exists():
    named = TEST.findall(DOCUMENT.read_text())

    assert len(named) > 200
    assert [f"{path}::{name}" for path, name in named if name not in names_in(path)] == []


def test_every_finding_is_listed_once_with_its_tests():
    rows = FINDING.findall(DOCUMENT.read_text())

    assert [finding for finding, *_ in rows] == FINDINGS
    assert [finding for finding, _, _, tests in rows if not TEST.findall(tests)] == []


def test_every_link_has_a_target():
    links = [link for link in LINK.findall(DOCUMENT.read_text()) if not link.startswith("https://")]

    assert len(links) > 50
    assert [link for link in links if leads_nowhere(link)] == []


def test_met_requirement_has_a_test_or_a_document():
    unproven = [number for number, _, state, _, proof in rows() if state in {"Met", "Partly"} and not proofs_in(proof)]

    assert unproven == []


def proofs_in(cell):
    return TEST.findall(cell) + LINK.findall(cell)


def test_requirement_that_is_not_met_has_no_proof():
    assert [number for number, _, state, _, proof in rows() if state == "Not met" and proofs_in(proof)] == []


@pytest.mark.parametrize("level", ["1", "2"])
def test_sums_match_the_rows(level):
    counted = Counter(state for _, of_level, state, _, _ in rows() if of_level == level)
    said = re.search(rf"^\| {level} \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", DOCUMENT.read_text(), re.MULTILINE)

    assert [int(number) for number in said.groups()] == [counted[state] for state in STATES]
