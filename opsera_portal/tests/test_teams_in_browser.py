"""What several people of an organization do together, in a real browser: approvals, notifications and webhooks."""

import httpx
import pytest
from playwright.sync_api import expect

from accounts.tests.test_webhooks import Receiver, is_signed

pytestmark = [pytest.mark.browser, pytest.mark.once]


@pytest.fixture
def receiver():
    found = Receiver()
    yield found
    found.server.shutdown()
    found.server.server_close()


def test_second_person_approves_a_token_and_its_maker_sees_it_once(browser_of, portal):
    maker = browser_of("power")
    fill_in(maker, "copy of the logs", "security-logs")
    maker.locator("#approval-reason summary").click()
    maker.get_by_label("Why you need it").fill("The archive is empty. Ticket OPS-7.")
    maker.get_by_role("button", name="Create token").click()
    expect(maker.get_by_role("main")).to_contain_text("This token waits for approval")
    address = maker.url

    other = browser_of("security")
    other.goto("/organization/approvals/?state=waiting")
    other.get_by_role("link", name="copy of the logs").click()
    expect(other.locator("#why")).to_have_text("The archive is empty. Ticket OPS-7.")
    other.get_by_label("Reason").fill("Only until the archive is full.")
    other.get_by_role("button", name="Approve").click()
    expect(other.locator("#outcome")).to_contain_text("Only until the archive is full.")
    expect(other.get_by_role("button", name="Approve")).to_have_count(0)

    maker.goto(address)
    maker.get_by_role("link", name="Show it now").click()
    signed_jwt = maker.locator("#signed-jwt").text_content()
    assert use(portal, signed_jwt).json()["token"]["name"] == "copy of the logs"
    maker.reload()
    expect(maker.locator("#signed-jwt")).to_have_count(0)


def test_bell_counts_what_a_person_wants_to_be_told(browser_of, portal):
    page = browser_of("power")
    page.goto("/profile/preferences/")
    page.get_by_label("First use of a token", exact=True).select_option(label="Off")
    page.get_by_label("First refusal of a token", exact=True).select_option(label="In the portal")
    page.get_by_role("button", name="Save notifications").click()
    expect(page.get_by_label("First use of a token", exact=True)).to_have_value("off")
    fill_in(page, "rings the bell", "pipeline-readonly")
    page.get_by_role("button", name="Create token").click()
    signed_jwt = page.locator("#signed-jwt").text_content()
    assert [use(portal, signed_jwt, path).status_code for path in ("me", "tokens")] == [200, 403]

    told = page.locator("[data-notification]").filter(has_text="rings the bell")
    wait_for(page, "/profile/notifications/", told)
    expect(told).to_have_count(1)
    expect(told).to_contain_text("was refused for the first time")
    expect(page.locator(".bell-count")).to_have_text(str(page.locator("[data-unread=true]").count()))
    told.get_by_role("button", name="Mark as read").click()
    expect(told).to_have_attribute("data-unread", "false")
    left = page.locator("[data-unread=true]").count()
    assert page.locator(".bell-count").all_text_contents() == ([str(left)] if left else [])


def test_administrator_sees_a_delivery_of_a_new_webhook_and_repeats_it(browser_of, receiver):
    page = browser_of("admin")
    page.goto("/organization/webhooks/")
    page.get_by_role("link", name="Add webhook").click()
    page.get_by_label("URL").fill(receiver.url)
    page.get_by_label("Description").fill("Alarm bell")
    page.get_by_role("button", name="Save", exact=True).click()
    secret = page.locator("#webhook-secret").text_content()
    page.get_by_role("link", name="Continue").click()
    address = page.url
    assert secret not in page.content()

    with page.expect_navigation():
        page.get_by_role("button", name="Send a test event").click()
    row = page.locator("[data-delivery]").filter(has_text="test")
    wait_for(page, address, row.filter(has_text="Delivered"))
    with page.expect_navigation():
        row.get_by_role("button", name="Send again").click()
    wait_for(page, address, row.filter(has_text="Delivered"))

    tests = [request for request, type_ in zip(receiver.requests, receiver.types, strict=True) if type_ == "test"]
    assert [is_signed(request, secret) for request in tests] == [True, True]
    assert len({headers["webhook-id"] for headers, _ in tests}) == 1
    page.get_by_role("link", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("link", name="Alarm bell")).to_have_count(0)


def fill_in(page, name, scope):
    page.goto("/profile/tokens/")
    page.locator("#id_name").fill(name)
    page.locator(f"#id_scopes_{scope}").check()


def use(portal, signed_jwt, path="me"):
    return httpx.get(f"{portal.url}/api/v1/{path}", headers={"Authorization": f"Bearer {signed_jwt}"})


def wait_for(page, address, locator):
    """Loads the page until the worker has done its part."""
    for _ in range(60):
        page.goto(address)
        if locator.count():
            return
        page.wait_for_timeout(500)
    raise AssertionError("The worker has not done it.")
