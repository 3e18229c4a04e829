"""A live log in a real browser on a started portal."""

import re

import pytest
from playwright.sync_api import expect

from opsera_portal.tests.browser import send_sign_in

pytestmark = [pytest.mark.browser, pytest.mark.once]

OUR_SIGN_INS = "/organization/activity-log/?action=authentication.signed_in"


def rows(page):
    return page.locator("#activity-log tbody tr[data-activity]")


def cause_an_entry(chromium, portal):
    with chromium.new_context(base_url=portal.url) as context:
        send_sign_in(context, "guest@demo.example")


def test_new_entry_appears_at_the_top_and_disturbs_nobody(browser_of, chromium, portal):
    page = browser_of("auditor")
    page.goto(OUR_SIGN_INS)
    switch = page.get_by_role("switch", name="Live")
    expect(switch).not_to_be_checked()
    switch.focus()
    page.keyboard.press("Space")
    expect(switch).to_be_checked()
    expect(switch).to_be_focused()
    expect(page).to_have_url(re.compile("action=authentication.signed_in&live=1#live$"))

    before = rows(page).first.get_attribute("data-activity")
    number = rows(page).count()
    rows(page).first.locator("td").nth(1).select_text()
    selected = page.evaluate("getSelection().toString()")
    cause_an_entry(chromium, portal)

    expect(page.locator("#live-said")).to_have_text("1 new entry", timeout=10_000)
    expect(rows(page)).to_have_count(number + 1)
    assert rows(page).nth(1).get_attribute("data-activity") == before
    expect(page.locator("tr[data-new]")).to_have_count(1)
    assert page.evaluate("getSelection().toString()") == selected
    expect(switch).to_be_focused()


def test_hidden_tab_requests_nothing_until_it_is_shown(browser_of, chromium, portal):
    page = browser_of("auditor")
    requests = []
    page.on("request", lambda request: requests.append(request.url) if "after=" in request.url else None)
    page.goto(f"{OUR_SIGN_INS}&live=1")
    page.evaluate("Object.defineProperty(document, 'visibilityState', {value: 'hidden', configurable: true})")
    cause_an_entry(chromium, portal)
    page.wait_for_timeout(4_000)
    assert requests == []

    page.evaluate("delete document.visibilityState; document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#live-said")).to_have_text(re.compile("new entr"), timeout=2_000)


def test_page_keeps_a_limited_number_of_rows_and_says_so(browser_of, chromium, portal):
    page = browser_of("auditor")

    def with_fewer_rows(route):
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace('data-most-rows="200"', 'data-most-rows="3"'))

    page.route(re.compile("/activity-log/.*live=1$"), with_fewer_rows)
    cause_an_entry(chromium, portal)
    page.goto(f"{OUR_SIGN_INS}&live=1")
    rows(page).last.get_by_role("link").first.focus()
    cause_an_entry(chromium, portal)

    expect(page.locator("#live-cut")).to_be_visible(timeout=10_000)
    # The row with the focus stays.
    expect(rows(page).last.get_by_role("link").first).to_be_focused()
    assert rows(page).count() <= 4
    expect(page.get_by_role("link", name="Older")).to_be_hidden()


def test_switch_works_without_scripts(browser_of):
    page = browser_of("auditor", java_script_enabled=False)
    page.goto(OUR_SIGN_INS)
    page.get_by_role("switch", name="Live").click()

    expect(page.get_by_role("switch", name="Live")).to_be_checked()
    expect(page.get_by_role("link", name="Reload for new entries")).to_be_visible()
