"""Services in a real browser: from adding one to a token that opens it, and opening the demo's without a token."""

from contextlib import ExitStack

import httpx
import pytest
from playwright.sync_api import expect

from opsera_portal.tests.browser import send_sign_in

pytestmark = [pytest.mark.browser, pytest.mark.once]

SERVICES = "/organization/services/"
LOG = "/profile/authentication-log/"


def test_administrator_adds_a_service_and_a_user_makes_a_token_for_it(browser_of):
    page = browser_of("admin")
    page.goto(SERVICES)
    page.get_by_role("link", name="Add service").click()
    page.get_by_label("Name", exact=True).fill("Wiki")
    page.get_by_label("Short name").fill("wiki")
    page.get_by_label("Address").fill("wiki.example.com")
    page.get_by_label("Scopes").fill("read")
    page.get_by_label("Path rules").fill("GET /pages/** read")
    page.get_by_role("checkbox", name="User", exact=True).check()
    page.get_by_role("button", name="Save").click()
    # Each mistake is named beside its field, and nothing of what was typed is lost.
    expect(page.locator("#id_scopes_error")).to_contain_text("Line 1")
    expect(page.locator("#id_address_error")).to_contain_text("https://grafana.example.com")
    expect(page.locator("#id_rules")).to_have_value("GET /pages/** read")
    page.get_by_label("Scopes").fill("read | Read pages | reads")
    page.get_by_label("Address").fill("https://wiki.example.com")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Wiki")).to_be_visible()
    expect(page.locator("#scopes")).to_contain_text("Only reads")
    expect(page.locator("#access")).to_contain_text("User")

    page = browser_of("user")
    page.goto("/services/")
    page.get_by_role("link", name="Create a token for Wiki").click()
    expect(page.get_by_role("checkbox", name="Read")).to_be_visible()


def test_token_for_the_service_is_let_through_and_logged(browser_of, portal):
    page = browser_of("user")
    page.goto("/profile/tokens/")
    page.get_by_role("link", name="Dashboards", exact=True).click()
    page.locator("#id_name").fill("reads dashboards")
    page.get_by_role("checkbox", name="Read dashboards").check()
    page.get_by_role("button", name="Create token").click()
    page.wait_for_url("**/reveal/")
    signed_jwt = page.locator("#signed-jwt").text_content()
    page.get_by_role("link", name="I have saved it").click()
    address = address_of_demo_service(page)

    def ask(method, path):
        return httpx.request(method, f"{address}{path}", headers={"Authorization": f"Bearer {signed_jwt}"})

    assert ask("GET", "/api/dashboards/7").json()["caller"]["Email"] == "user@demo.example"
    refused = ask("DELETE", "/api/dashboards/7")
    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
    page.goto(f"{LOG}?q=dashboards/7")
    rows = page.locator("#authentication-log tbody tr")
    expect(rows.nth(0)).to_contain_text("DELETE /api/dashboards/7")
    expect(rows.nth(1)).to_contain_text("Allowed")
    rows.nth(0).locator(f"a[href*='{LOG}']").first.click()
    page.get_by_role("link", name="Create a token with Change dashboards").click()
    expect(page.get_by_role("checkbox", name="Read dashboards")).to_be_checked()
    expect(page.get_by_role("checkbox", name="Change dashboards")).to_be_checked()


def test_service_that_is_open_in_the_browser_ends_with_the_sign_out(own_session, portal):
    page = own_session("power@demo.example")
    address = address_of_demo_service(page)
    use_public_address(page)
    # It leads to the portal, which asks, and back to the same page.
    page.goto(f"{address}/api/dashboards/7")
    expect(page.get_by_text("gets your e-mail address")).to_be_visible()
    page.get_by_role("button", name="Open Dashboards").click()
    page.wait_for_url(f"{address}/api/dashboards/7")
    expect(page.get_by_text("power@demo.example")).to_be_visible()

    page.goto(f"{portal.url.replace('127.0.0.1', 'localhost')}/logout/")
    page.get_by_role("main").get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/login/**")
    page.goto(f"{address}/api/dashboards/7")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_auditor_sees_the_service_but_can_not_open_it(browser_of):
    address = address_of_demo_service(browser_of("user"))
    page = browser_of("auditor", alone=True)
    use_public_address(page)

    assert page.goto(address).status == 403
    expect(page.get_by_text("You can see this service, but you aren't allowed to use it.")).to_be_visible()


@pytest.fixture
def own_session(chromium, portal):
    """Opens a page in a session that no other test uses, for a test that ends it."""
    with ExitStack() as opened:

        def sign_in(email):
            context = opened.enter_context(chromium.new_context(base_url=portal.url))
            send_sign_in(context, email)
            return context.new_page()

        yield sign_in


def use_public_address(page):
    """The service sends browsers to the portal's public address, which is a name. Tests use the number."""
    page.context.add_cookies([cookie | {"domain": "localhost"} for cookie in page.context.cookies()])


def address_of_demo_service(page):
    page.goto("/services/")
    return page.locator("#services tr", has_text="Dashboards").locator("code").text_content()
