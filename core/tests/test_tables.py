"""Tables render their rows themselves, with the same content as django-tables2."""

import re
from datetime import UTC, datetime
from typing import ClassVar

import pytest
from django.db import connection
from django.db.models import Count
from django.test.html import parse_html
from django.test.utils import CaptureQueriesContext
from django_tables2 import Column

import accounts.tables
import auditlog.tables
import pipelines.tables
import tokens.tables
from accounts.models import User
from accounts.tests.factories import OrganizationFactory, UserFactory
from core.badges import Badge
from core.pages.tables import BadgeColumn, CodeColumn, MomentColumn, PortalTable

JOINED = datetime(2026, 5, 3, 14, 5, tzinfo=UTC)


class PeopleTable(PortalTable):
    only_wide = ("organization",)
    first_line = ("is_active", "remove")
    second_line: ClassVar = {"email": "", "joined_at": "Joined"}
    not_printed = ("site_role", "organization")
    orders = (("-pk", "Newest first"),)

    name = Column(verbose_name="{Name}")
    site_role = Column(attrs={"td": {"class": "wide"}})
    organization = Column(accessor="organization__name")
    email = CodeColumn()
    joined_at = MomentColumn(verbose_name="{Joined}", default="Never")
    is_active = BadgeColumn(empty_values=())
    remove = Column(empty_values=(), verbose_name="")

    def row_attributes(self, record):
        return {"data-user": record.pk}

    def render_is_active(self, value, column):
        return column.render(Badge("●", "Yes" if value else "No", "good"))

    def render_remove(self, record):
        return f"Remove {record.name}"


# Attributes of cells that are not only a column.
PLACES = {
    "name": 'data-place="first"',
    "site_role": 'data-place="screen"',
    "organization": 'data-place="wide screen"',
    "email": 'data-place="second"',
    "joined_at": 'data-place="second" data-label="Joined"',
    "is_active": 'data-place="first"',
    "remove": 'data-place="first"',
}


def place_of(column):
    return f'data-column="{column.name}" {PLACES[column.name]}'


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
            f"<td {column.attrs['td'].as_html()} {place_of(column)}>"
            f"{cell if hasattr(cell, '__html__') else str(cell).replace('&', '&amp;').replace('<', '&lt;')}</td>"
            for column, cell in row.items()
        )
        for row in table.rows
    ]
    expected = "".join(f'<tr data-user="{user.pk}">{row}</tr>' for user, row in zip(people, rows, strict=True))

    assert parse_html(f"<table>{table.body()}</table>") == parse_html(f"<table>{expected}</table>")
    assert "&lt;b&gt;{Ann}&lt;/b&gt;" in table.body()
    assert "R&amp;D" in table.body()


def test_card_has_all_columns_with_their_labels_if_nothing_else_is_said(people):
    class Plain(PeopleTable):
        first_line, second_line = (), None

    cells = re.findall(r"<td [^>]*>", Plain(people).body())[: len(PLACES)]
    places = [re.search(r'data-place="(\w+)', cell)[1] for cell in cells]
    labels = [(re.search(r'data-label="([^"]*)"', cell) or ["", ""])[1] for cell in cells]

    headers = [str(column.header) for column in PeopleTable(people).columns]
    assert places == ["first"] + 6 * ["second"]
    assert labels == ["", *headers[1:]]
    assert "{Joined}" in headers


def test_head_of_a_table_has_the_places_of_its_cells(people):
    places = [re.search(r'data-place="([^"]*)"', attributes)[1] for attributes in PLACES.values()]

    assert [place for _, place in PeopleTable(people).placed_columns] == places


def test_table_can_be_sorted_by_columns_without_a_head_and_by_those_with_one(people):
    choices = PeopleTable(people, order_by="-email").order_choices

    assert choices[0] == ("-pk", "Newest first", False)
    assert ("name", "{Name} ↑", False) in choices
    assert [value for value, _, is_current in choices if is_current] == ["-email"]


TABLES = [
    table
    for module in (accounts.tables, auditlog.tables, pipelines.tables, tokens.tables)
    for table in vars(module).values()
    if isinstance(table, type) and issubclass(table, PortalTable)
]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_places_name_columns_that_exist(table):
    places = {*table.only_wide, *table.first_line, *(table.second_line or ()), *table.not_printed}

    assert places <= {*table.base_columns}


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
