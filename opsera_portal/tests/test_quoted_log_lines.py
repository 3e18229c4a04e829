"""Documents quote lines of the server's log so that operators can search for them. The code must write these words."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from django.conf import settings

from opsera_portal.tests.files import python_files_below

pytestmark = pytest.mark.once

ROOT = Path(settings.BASE_DIR)
CODE = ("accounts", "auditlog", "core", "opsera_portal", "pipelines", "tokens")
QUOTED = re.compile(r"`([^`]+)`")

# Quoted lines that contain a value. The code contains the words around it.
PARTS = {
    "403 for person": [" for person "],
    "Followers of the ... log get no new entries": ["Followers of the ", " log get no new entries"],
    'answers 401: error "invalid_client"': [" answers ", "error "],
    'error "invalid_grant"': ["error "],
    "the provider sends the browser back: error ...": ["the provider sends the browser back", "error "],
    # Written by Python.
    "Traceback": [],
}


def section(document, heading):
    text = (ROOT / "docs" / document).read_text()
    start = text.index(f"\n## {heading}\n")
    return text[start : text.find("\n## ", start + 1)]


def first_cells(text, header):
    """Returns the first cells of the table with this header."""
    table = text[text.index(f"| {header} |") :].split("\n\n")[0]
    return [line.split(" | ")[0] for line in table.splitlines()[2:]]


def quoted_lines():
    monitoring = first_cells(section("operations.md", "12 Monitoring"), "Line contains | Meaning")
    sign_in = first_cells(section("single-sign-on.md", "When a sign-in fails"), "The line says | Check")
    return [line for cell in [*monitoring, *sign_in] for line in QUOTED.findall(cell)]


@cache
def texts_of_the_code():
    """Returns every string in the product's code and the fixed parts of f-strings."""
    return [
        node.value
        for path in python_files_below(*(ROOT / app for app in CODE))
        if not {"tests", "migrations"} & set(path.parts)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def test_documents_quote_lines():
    assert len(quoted_lines()) > 20


@pytest.mark.parametrize("line", quoted_lines())
def test_quoted_line_of_the_log_is_written_by_the_code(line):
    parts = PARTS.get(line, [line.removesuffix("...").strip()])

    assert [part for part in parts if not any(part in text for text in texts_of_the_code())] == []
