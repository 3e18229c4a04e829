"""Links in documents have targets, and citations of documents in the code name existing headings.

`test_cited_names.py` checks the files and names that documents cite.
"""

import re
from functools import cache
from pathlib import Path

import pytest
from django.conf import settings

from opsera_portal import __version__
from opsera_portal.tests.files import files_below, python_files_below

ROOT = Path(settings.BASE_DIR)
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/guides/*.md")])
CODE = ("accounts", "auditlog", "benchmarks", "core", "opsera_portal", "pipelines", "tokens")
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
CITATION = re.compile(r"\b(docs/[\w-]+\.md)((?:#[\w-]+)?)")

pytestmark = pytest.mark.once


# A merge that was not finished leaves these lines.
MERGE_MARK = re.compile(r"^(<{7}|>{7}) ", re.MULTILINE)
SOURCES = {".md", ".py", ".html", ".css", ".js", ".toml", ".conf", ".txt", ".in", ".json", ".yaml", ".sh"}


@cache
def anchors_of(path):
    """The anchors of a document's headings, as GitHub writes them."""
    headings = HEADING.findall(path.read_text())
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def leads_nowhere(document, link):
    place, _, anchor = link.partition("#")
    target = (document.parent / place).resolve() if place else document
    return not target.exists() or (bool(anchor) and anchor not in anchors_of(target))


def test_no_file_has_marks_of_an_unfinished_merge():
    folders = [ROOT / name for name in (*CODE, "assets", "templates", "docs", "deploy", "static")]
    files = [path for folder in folders for path in files_below(folder) if path.suffix in SOURCES]
    files += [path for path in ROOT.iterdir() if path.suffix in SOURCES]

    assert len(files) > 500
    assert [str(path.relative_to(ROOT)) for path in files if MERGE_MARK.search(path.read_text())] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_in_documents_have_targets(document):
    links = [link for link in LINK.findall(document.read_text()) if not re.match(r"[a-z]+:", link)]

    assert [link for link in links if leads_nowhere(document, link)] == []


def test_navigation_of_the_site_has_every_document():
    navigation = re.findall(r'"([\w/-]+\.md)"', (ROOT / "zensical.toml").read_text())

    assert sorted(navigation) == [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]


def test_citations_in_the_code_name_existing_headings():
    cited = {
        (path, *found)
        for path in python_files_below(*(ROOT / folder for folder in CODE))
        for found in CITATION.findall(path.read_text())
    }

    assert len(cited) > 20
    assert [
        f"{path.relative_to(ROOT)}: {document}{anchor}"
        for path, document, anchor in cited
        if leads_nowhere(ROOT / "README.md", f"{document}{anchor}")
    ] == []


def test_architecture_answers_twenty_questions_with_one_file_each():
    text = (ROOT / "docs" / "architecture.md").read_text()
    answers = re.findall(r"^\| (\d+) \| [^|]+\? \| `([\w./]+)`", text, re.MULTILINE)

    assert [int(number) for number, _ in answers] == list(range(1, 21))
    assert [path for _, path in answers if not (ROOT / path).is_file()] == []


def test_changelog_begins_with_the_version_of_the_portal_and_its_date():
    newest = re.search(r"^## (?!\[Unreleased\])(.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert re.fullmatch(rf"\[{re.escape(__version__)}\] - \d{{4}}-\d\d-\d\d", newest[1])


def test_api_schema_has_the_version_of_the_portal():
    assert settings.SPECTACULAR_SETTINGS["VERSION"] == __version__
