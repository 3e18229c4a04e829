"""A review campaign in a real browser: an owner answers, and the Administrator sees it."""

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.once]


def test_owner_confirms_one_token_and_expires_another_and_the_administrator_sees_it(browser_of):
    page = browser_of("power")
    page.goto("/")
    page.locator("#to-confirm a").click()
    rows = page.locator("#tokens-to-confirm tbody tr")
    expect(rows.nth(1)).to_be_visible()
    kept, unneeded = (
        rows.filter(has=page.get_by_role("link", name=name, exact=True)).get_attribute("data-token")
        for name in ("deploy", "report")
    )
    page.get_by_label("Note (optional)").fill("Needed for deployments.")
    page.locator(f"[data-token='{kept}']").get_by_role("button", name="Confirm").click()
    expect(page.get_by_text("Confirmed 1 token.")).to_be_visible()
    page.locator(f"[data-token='{unneeded}'] input[type=checkbox]").check()
    page.locator("#expire-selected").click()
    expect(page.get_by_role("heading", name="Expire 1 token?")).to_be_visible()
    page.get_by_role("button", name="Expire tokens").click()
    expect(page.get_by_text("Expired 1 token.")).to_be_visible()

    page = browser_of("admin")
    page.goto("/organization/access-review/")
    page.locator("#to-review-campaigns").click()
    page.locator("#review-campaigns [data-state=open] a").first.click()
    page.get_by_label("Answer", exact=True).select_option("expired")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator(f"#review-items [data-token='{unneeded}']")).to_have_attribute("data-state", "expired")
    page.goto(page.url.partition("?")[0])
    expect(page.locator(f"#review-items [data-token='{kept}']")).to_contain_text("Needed for deployments.")
