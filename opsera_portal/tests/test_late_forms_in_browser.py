"""Forms in a real browser: sent twice by a double click, and sent after the session has ended."""

import pytest
from playwright.sync_api import expect

from opsera_portal.tests.browser import sign_in

pytestmark = [pytest.mark.browser, pytest.mark.once]

USER = "user@demo.example"


@pytest.fixture
def page(browser_of):
    return browser_of("user")


def test_double_click_on_create_creates_one_token_and_shows_it(page):
    page.goto("/profile/tokens/")
    page.get_by_label("Name").first.fill("clicked twice")
    page.locator("#id_scopes_api-readonly").check()
    page.get_by_role("button", name="Create token").dblclick()
    page.wait_for_url("**/reveal/")

    assert "This is the only time you will see it" in page.content()
    page.goto("/profile/tokens/?q=clicked")
    assert page.locator("#tokens tbody tr").count() == 1


def test_button_works_again_after_loading_was_stopped(browser_of):
    page = browser_of("user", alone=True)
    page.clock.install()
    page.goto("/pipelines/new/")
    page.get_by_label("Name").fill("Sent again")
    page.route("**/pipelines/new/", lambda route: route.abort("aborted"), times=1)
    create = page.get_by_role("button", name="Create pipeline")
    create.click()
    create.click()
    assert page.url.endswith("/pipelines/new/")

    page.clock.fast_forward(11_000)
    create.click()

    page.wait_for_url("**/steps/")


def test_form_typed_before_the_session_ended_is_filled_in_after_signing_in(page):
    page.goto("/pipelines/new/")
    page.get_by_label("Name").fill('Late "é" <build>')
    page.get_by_label("Description").fill("first\nsecond")
    page.context.clear_cookies(name="sessionid")
    page.get_by_role("button", name="Create pipeline").click()

    expect(page.get_by_text("Your session ended. Sign in to continue where you were.")).to_be_visible()
    sign_in(page, USER)
    expect(page.get_by_text("Your session ended before this was saved.")).to_be_visible()
    assert page.get_by_label("Name").input_value() == 'Late "é" <build>'
    assert page.get_by_label("Description").input_value() == "first\nsecond"


def test_form_open_during_a_sign_in_in_another_tab_is_filled_in(page):
    page.goto("/pipelines/new/")
    page.get_by_label("Name").fill("Two tabs")
    page.context.clear_cookies()
    other = page.context.new_page()
    other.goto("/login/")
    sign_in(other, USER)

    page.get_by_role("button", name="Create pipeline").click()

    expect(page.get_by_text("Your session ended before this was saved.")).to_be_visible()
    assert page.get_by_label("Name").input_value() == "Two tabs"


@pytest.mark.parametrize("scripts", [True, False])
def test_page_with_errors_opens_with_the_focus_on_them(browser_of, scripts):
    page = browser_of("user", java_script_enabled=scripts)
    page.goto("/profile/tokens/")
    page.get_by_label("Name").first.fill("%")
    page.get_by_label("Name").first.press("Enter")

    summary = page.locator("#error-summary")
    expect(summary).to_be_focused()
    expect(summary).to_be_in_viewport()
    page.keyboard.press("Tab")
    expect(summary.get_by_role("link").first).to_be_focused()
