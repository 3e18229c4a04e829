"""Tests have the markers that `make quick` and the run on PostgreSQL need (docs/testing.md)."""

import re
from pathlib import Path

from django.conf import settings

ASKS_WHICH_DATABASE = re.compile(r"\bconnection\.vendor\b|ENGINE")
MARKS = ("each_database", "transaction=True", "pytest.mark.once")


def test_module_that_depends_on_the_database_is_marked():
    texts = {path: path.read_text() for path in settings.BASE_DIR.glob("*/tests/test_*.py") if path != Path(__file__)}
    asking = {path: text for path, text in texts.items() if ASKS_WHICH_DATABASE.search(text)}

    assert len(asking) > 5
    assert [path.name for path, text in asking.items() if not any(mark in text for mark in MARKS)] == []


def test_committing_test_runs_on_each_database(request):
    """conftest.py adds the marker to it."""
    committing = [item for item in request.session.items if is_committing(item)]

    assert [item.nodeid for item in committing if not item.get_closest_marker("each_database")] == []


def test_files_that_run_on_postgresql_are_found_by_their_text(request):
    """The Makefile searches for these words, so that it need not collect all files."""
    marked = {item.path for item in request.session.items if item.get_closest_marker("each_database")}

    assert [path.name for path in marked if not any(mark in path.read_text() for mark in MARKS[:2])] == []


def is_committing(item):
    marker = item.get_closest_marker("django_db")
    return marker is not None and marker.kwargs.get("transaction") and not item.get_closest_marker("integration")
