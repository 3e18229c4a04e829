"""Forms in a real browser: sent twice by a double click, and sent after the session has ended."""

import pytest

from opsera_portal.tests.portal import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.once]


@pytest.fixture
def context(chromium, portal):
    context = chromium.new_context(base_url=portal.url)
    yield context
    context.close()


def sign_in(page):
    page.get_by_label("E-mail address").fill("user@demo.example")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url(lambda url: "/login/" not in url)


def test_double_click_on_create_makes_one_token_and_shows_it(context):
    page = context.new_page()
    page.goto("/profile/tokens/")
    sign_in(page)
    page.get_by_label("Name").first.fill("clicked twice")
    page.locator("#id_scopes_api-readonly").check()
    page.get_by_role("button", name="Create token").dblclick()
    page.wait_for_url("**/reveal/")

    assert "This is the only time you will see it" in page.content()
    page.goto("/profile/tokens/?q=clicked")
    assert page.locator("#tokens tbody tr").count() == 1


def test_button_works_again_after_loading_was_stopped(context):
    page = context.new_page()
    page.clock.install()
    page.goto("/pipelines/new/")
    sign_in(page)
    page.get_by_label("Name").fill("Sent again")
    page.route("**/pipelines/new/", lambda route: route.abort("aborted"), times=1)
    create = page.get_by_role("button", name="Create pipeline")
    create.click()
    create.click()
    assert page.url.endswith("/pipelines/new/")

    page.clock.fast_forward(11_000)
    create.click()

    page.wait_for_url("**/steps/")


def test_form_typed_before_the_session_ended_is_filled_in_after_signing_in(context):
    page = context.new_page()
    page.goto("/pipelines/new/")
    sign_in(page)
    page.get_by_label("Name").fill('Late "é" <build>')
    page.get_by_label("Description").fill("first\nsecond")
    context.clear_cookies(name="sessionid")
    page.get_by_role("button", name="Create pipeline").click()

    assert page.get_by_text("Your session ended. Sign in to continue where you were.").is_visible()
    sign_in(page)
    assert page.get_by_text("Your session ended before this was saved.").is_visible()
    assert page.get_by_label("Name").input_value() == 'Late "é" <build>'
    assert page.get_by_label("Description").input_value() == "first\nsecond"


def test_form_open_during_a_sign_in_in_another_tab_is_filled_in(context):
    page = context.new_page()
    page.goto("/pipelines/new/")
    sign_in(page)
    page.get_by_label("Name").fill("Two tabs")
    context.clear_cookies()
    other = context.new_page()
    other.goto("/login/")
    sign_in(other)

    page.get_by_role("button", name="Create pipeline").click()

    assert page.get_by_text("Your session ended before this was saved.").is_visible()
    assert page.get_by_label("Name").input_value() == "Two tabs"
