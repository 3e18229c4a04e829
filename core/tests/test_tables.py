"""Tables render their rows themselves, with the same content as django-tables2."""

import re
from datetime import UTC, datetime

import pytest
from django.db import connection
from django.db.models import Count
from django.test.html import parse_html
from django.test.utils import CaptureQueriesContext
from django_tables2 import Column

from accounts.models import User
from accounts.tests.factories import OrganizationFactory, UserFactory
from core.badges import Badge
from core.pages.tables import BadgeColumn, CodeColumn, MomentColumn, PortalTable

JOINED = datetime(2026, 5, 3, 14, 5, tzinfo=UTC)


class PeopleTable(PortalTable):
    name = Column(verbose_name="{Name}")
    site_role = Column(attrs={"td": {"class": "wide"}})
    organization = Column(accessor="organization__name")
    email = CodeColumn()
    joined_at = MomentColumn(default="Never")
    is_active = BadgeColumn(empty_values=())
    remove = Column(empty_values=(), verbose_name="")

    def row_attributes(self, record):
        return {"data-user": record.pk}

    def render_is_active(self, value, column):
        return column.render(Badge("●", "Yes" if value else "No", "good"))

    def render_remove(self, record):
        return f"Remove {record.name}"


@pytest.fixture
def people(db):
    organization = OrganizationFactory(name="R&D")
    UserFactory(organization=organization, email="a@example.com", name="<b>{Ann}</b>", joined_at=JOINED)
    UserFactory(organization=organization, email="b@example.com", name="Bo", joined_at=None, is_active=False)
    return User.objects.order_by("email")


def test_cells_have_the_content_that_django_tables2_gives_them(people):
    table = PeopleTable(people)
    rows = [
        "".join(
            f'<td {column.attrs["td"].as_html()} data-label="{column.header}" data-column="{column.name}">'
            f"{cell if hasattr(cell, '__html__') else str(cell).replace('&', '&amp;').replace('<', '&lt;')}</td>"
            for column, cell in row.items()
        )
        for row in table.rows
    ]
    expected = "".join(f'<tr data-user="{user.pk}">{row}</tr>' for user, row in zip(people, rows, strict=True))

    assert parse_html(f"<table>{table.body()}</table>") == parse_html(f"<table>{expected}</table>")
    assert "{Name}" in table.body()
    assert "&lt;b&gt;{Ann}&lt;/b&gt;" in table.body()
    assert "R&amp;D" in table.body()


def test_table_without_rows_has_an_empty_body(db):
    assert PeopleTable(User.objects.none()).body() == ""


def test_body_has_the_rows_of_its_page_only(people):
    table = PeopleTable(people)
    table.paginate(page=2, per_page=1)

    assert table.body().count("<tr") == 1
    assert "Bo" in table.body()


@pytest.mark.each_database
def test_later_page_computes_the_columns_of_its_own_rows_only(people):
    computed = people.annotate(token_count=Count("tokens")).order_by("-token_count", "name")

    for number, names in ((1, ["&lt;b&gt;{Ann}&lt;/b&gt;"]), (2, ["Bo"])):
        table = PeopleTable(computed)
        table.paginate(page=number, per_page=1)
        with CaptureQueriesContext(connection) as queries:
            body = table.body()
        assert [name in body for name in names] == [True]
        assert bool(re.search(r'"id" IN \(SELECT .+ OFFSET 1\)', queries[0]["sql"])) is (number == 2)
