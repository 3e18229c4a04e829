"""The main pages with many rows and with names that are hard to show: nothing overflows, and axe finds nothing."""

import pytest

from opsera_portal.tests.test_pages_in_browser import assert_good, look_at, page_for_axe

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.once]


@pytest.fixture(scope="module")
def page(chromium, crowded_portal):
    with chromium.signed_in(crowded_portal, "admin@demo.example") as context:
        yield page_for_axe(context)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/profile/tokens/",
        "/organization/users/?q=wolfeschlegel",
        "/organization/groups/",
        "/organization/authentication-log/",
        "/organization/activity-log/",
        "/organization/access-review/",
        "/organization/mails/",
        "/pipelines/",
        "/pipelines/runs/",
    ],
)
def test_list_with_many_rows_is_accessible(page, path):
    look_at(page, path)
    assert_good(page)


@pytest.mark.parametrize(
    ("path", "name", "below"),
    [
        ("/organization/users/?q=wolfeschlegel", "Maximiliane", [""]),
        ("/organization/groups/", "Platform reliability", [""]),
        ("/pipelines/?q=build_and_release", "build_and_release", ["", "steps/", "access-rules/", "runs/2/", "runs/3/"]),
        ("/profile/tokens/?q=continuous", "continuous-integration", [""]),
    ],
)
def test_page_of_a_row_with_a_long_name_is_accessible(page, path, name, below):
    page.goto(path)
    address = page.get_by_role("link", name=name).first.get_attribute("href")
    for rest in below:
        look_at(page, address + rest)
        assert_good(page)
