"""The lists of Django admin: times with their zone, states as badges, and columns that the reader needs."""

import re
from datetime import UTC, datetime

import pytest

from accounts.tests.factories import OperatorFactory
from opsera_portal.tests.admin_pages import MODELS, address, rows_of
from pipelines.models import Pipeline
from tokens.models import Token

# Lists with states, and a state in each.
BADGES = {
    "token": ("good", "Active"),
    "user": ("good", "Active"),
    "token_use": ("good", "Allowed"),
    "run": ("good", "Success"),
    "mail": ("waiting", "Waiting"),
}


@pytest.fixture
def ours(owner):
    return rows_of(owner, "acme")


@pytest.fixture
def operator(client, db):
    client.force_login(OperatorFactory())
    return client


def badges(page):
    return re.findall(r'<span class="badge" data-tone="(\w+)"><span aria-hidden="true">.</span>([^<]+)</span>', page)


@pytest.mark.parametrize("name", BADGES)
def test_state_is_the_badge_of_the_portal(operator, ours, name):
    assert BADGES[name] in badges(operator.get(address(name)).content.decode())


def test_locked_pipeline_has_a_badge(operator, ours):
    assert badges(operator.get(address("pipeline")).content.decode()) == []

    Pipeline.objects.update(locked_at=datetime(2026, 11, 30, tzinfo=UTC))

    assert badges(operator.get(address("pipeline")).content.decode()) == [("neutral", "Locked")]


def test_run_shows_its_state_as_a_badge(operator, ours):
    assert ("good", "Success") in badges(operator.get(address("run", "change", ours["run"])).content.decode())


@pytest.mark.parametrize("page", ["list", "change"])
def test_times_are_iso_dates_with_their_zone(operator, ours, page):
    Token.objects.update(expires_at=datetime(2027, 1, 9, 14, 5, tzinfo=UTC))

    assert "2027-01-09 14:05 UTC" in operator.get(address("token", page, ours["token"])).content.decode()


@pytest.mark.parametrize("name", MODELS)
def test_only_operators_see_the_column_of_the_organization(client, administrator, ours, name):
    client.force_login(administrator)

    assert "column-organization" not in client.get(address(name)).content.decode()


@pytest.mark.parametrize("name", ["token", "user", "group", "pipeline"])
def test_operators_see_the_organization_of_each_row(operator, ours, name):
    assert "column-organization" in operator.get(address(name)).content.decode()


def test_page_has_the_brand_mark(operator):
    assert '<svg class="brand-mark"' in operator.get("/admin/").content.decode()


def test_related_rows_are_a_table_with_a_name_for_each_column(operator, ours):
    page = operator.get(address("pipeline", "change", ours["pipeline"])).content.decode()

    assert "acme step" in page
    assert not re.search(r"<th[^>]*>\s*</th>", page)


def test_fields_of_an_expired_token_have_the_words_of_the_pages(operator, ours):
    page = operator.get(address("token", "change", ours["token"])).content.decode()

    assert "Expired early at:" in page
    assert "Revoked" not in page


def scripts(page):
    return [
        re.sub(r"\.[0-9a-f]{12}\.", ".", name)
        for name in re.findall(r'<script [^>]*src="/static/admin/js/([^"]+)"', page)
    ]


@pytest.mark.parametrize("name", MODELS)
def test_list_loads_only_the_scripts_that_it_needs(operator, ours, name):
    assert scripts(operator.get(address(name)).text) == ["theme.js", "actions.js", "filters.js"]


@pytest.mark.parametrize("name", ["token", "token_use", "activity", "run", "mail"])
def test_page_that_changes_nothing_loads_no_jquery(operator, ours, name):
    assert scripts(operator.get(address(name, "change", ours[name])).text) == ["theme.js", "change_form.js"]


def test_form_loads_jquery_only_for_its_links_to_other_objects(client, administrator, ours):
    client.force_login(administrator)

    page = client.get(address("pipeline", "change", ours["pipeline"])).text

    assert scripts(page) == [
        "theme.js",
        "vendor/jquery/jquery.min.js",
        "jquery.init.js",
        "admin/RelatedObjectLookups.js",
        "change_form.js",
    ]


@pytest.mark.parametrize("name", ["token", "token_use", "activity", "run"])
def test_labels_are_words(operator, ours, name):
    pages = [operator.get(address(name)).text, operator.get(address(name, "change", ours[name])).text]

    labels = [label for page in pages for label in re.findall(r"<(?:label|a|span)[^>]*>([A-Z][a-z ]+):?</", page)]
    assert len(labels) > 10
    assert [label for label in labels if re.search(r"\b([Ii]p|[Ii]d|At|email)\b", label)] == []
