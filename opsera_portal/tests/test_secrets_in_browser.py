"""A secret is removed from its page when the reader leaves it, also from the page that the Back button restores."""

import re

import pytest
from django.conf import settings

# Events of leaving a page, and of restoring it from the cache of the Back button. Automated
# browsers disable that cache.
LEAVE = 'window.dispatchEvent(new PageTransitionEvent("pagehide", {persisted: true}))'
COME_BACK = 'window.dispatchEvent(new PageTransitionEvent("pageshow", {persisted: true}))'


def test_every_secret_in_the_templates_is_marked_for_the_script():
    """Templates use the class `secret` or `qr-code`; the script looks for `data-secret`."""
    found = []
    for path in (settings.BASE_DIR / "templates").rglob("*.html"):
        tags = re.findall(r'<[a-z]+\s[^>]*class="(?:secret|secret [^"]*|qr-code)"[^>]*>', path.read_text())
        found += [(path.name, "data-secret" in tag) for tag in tags]

    assert len(found) >= 4
    assert [name for name, is_marked in found if not is_marked] == []


@pytest.fixture
def page(browser_of):
    return browser_of("user")


def open_token(page):
    page.goto("/profile/tokens/")
    page.get_by_label("Name", exact=True).first.fill("left alone")
    page.get_by_role("checkbox", name="Pipeline Access", exact=True).check()
    page.get_by_role("button", name="Create token").click()
    page.wait_for_url("**/reveal/")


def open_app_key(page):
    page.goto("/profile/security/two-factor/app/add/")


@pytest.mark.browser
@pytest.mark.once
@pytest.mark.parametrize("opens", [open_token, open_app_key])
def test_secret_is_removed_from_its_page_and_the_page_is_loaded_again(page, opens):
    opens(page)
    page.locator("[data-secret]").first.wait_for()
    secret = page.locator("code.secret").text_content()
    assert secret in page.content()

    page.evaluate(LEAVE)
    assert secret not in page.content()
    assert not page.locator("a[data-secret][href]").count()

    with page.expect_navigation():
        page.evaluate(COME_BACK)


@pytest.mark.browser
@pytest.mark.once
def test_page_without_a_secret_is_not_loaded_again(page):
    page.goto("/profile/")
    page.evaluate("document.title = 'the same page'")

    page.evaluate(LEAVE)
    page.evaluate(COME_BACK)
    page.wait_for_timeout(200)

    assert page.title() == "the same page"
