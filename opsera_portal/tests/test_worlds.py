"""Helpers for tables: a failed row shows its wrong cells, and changes of each cell are undone."""

import pytest

from accounts.models import Organization
from accounts.tests.factories import OrganizationFactory
from core import rate_limits
from opsera_portal import api_reference
from opsera_portal.tests.worlds import SHORT, check_row, created_once, unrendered

pytestmark = pytest.mark.django_db


def test_a_failed_row_shows_each_cell_and_marks_the_wrong_ones():
    with pytest.raises(AssertionError) as failure:
        check_row("GET /", {"owner": "ok", "guest": "gone"}, lambda column: "ok")

    assert str(failure.value).splitlines() == [
        "GET /",
        "       expected  got",
        "owner  ok        ok",
        "guest  gone      ok  <-- wrong",
    ]


def test_long_row_shows_only_the_wrong_cells():
    columns = [f"column {number}" for number in range(SHORT + 1)]

    with pytest.raises(AssertionError) as failure:
        check_row("GET /", dict.fromkeys(columns, "ok"), lambda column: "ok" if column != columns[3] else 200)

    assert str(failure.value).splitlines()[2:] == [
        "column 3  ok        200  <-- wrong",
        f"({SHORT} more are as expected)",
    ]


def test_pages_have_content_for_the_first_and_the_last_column_with_each_outcome(client):
    shown = {}

    def attempt(column):
        answer = client.get("/login/" if column != "stranger" else "/nothing/")
        shown[column] = bool(answer.content)
        return answer.status_code

    row = {"owner": 200, "user": 200, "guest": 200, "stranger": 404}
    check_row("GET /login/", row, attempt, renders_all=False)

    assert shown == {"owner": True, "user": False, "guest": True, "stranger": True}


def test_error_in_a_cell_fails_the_row_but_other_cells_are_tried():
    tried = []

    def attempt(column):
        tried.append(column)
        if column == "owner":
            raise ValueError("no such thing")
        return "ok"

    with pytest.raises(AssertionError, match=r"ValueError: no such thing  <-- wrong") as failure:
        check_row("GET /", {"owner": "ok", "guest": "ok"}, attempt)

    assert tried == ["owner", "guest"]
    assert isinstance(failure.value.__cause__, ValueError)


def test_changes_of_a_cell_are_undone():
    def attempt(column):
        assert not Organization.objects.exists()
        assert rate_limits._here == {}
        OrganizationFactory()
        rate_limits.Limit("of this test", amount=1, seconds=60).take(column)
        if column == "owner":
            raise ValueError
        return "ok"

    with pytest.raises(AssertionError):
        check_row("GET /", {"owner": "ok", "guest": "ok"}, attempt)

    assert not Organization.objects.exists()


def test_a_world_is_undone_after_its_last_test(django_db_blocker):
    fixture = created_once(django_db_blocker, OrganizationFactory)
    world = next(fixture)
    assert Organization.objects.get() == world

    assert next(fixture, None) is None
    assert not Organization.objects.exists()


def test_world_is_undone_if_its_creation_fails(django_db_blocker):
    def create():
        OrganizationFactory()
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        next(created_once(django_db_blocker, create))

    assert not Organization.objects.exists()


def test_a_page_without_content_is_not_kept():
    api_reference.rendered.cache_clear()
    with unrendered():
        assert api_reference.rendered() == ""

    assert api_reference.rendered()
