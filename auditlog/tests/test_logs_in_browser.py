"""The logs in a real browser on a started portal: filters, pages, single entries, exports."""

import csv
import json
import re

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.once]

OUR_USES = "/organization/authentication-log/"


def narrow(page, **fields):
    for label, value in fields.items():
        field = page.locator(".filter-form").get_by_label(label.replace("_", " "), exact=True)
        if not field.is_visible():
            page.get_by_text("More filters").click()
        (field.select_option if field.evaluate("e => e.tagName") == "SELECT" else field.fill)(value)
    with page.expect_navigation():
        page.get_by_role("button", name="Filter").click()


def follow(page, link):
    with page.expect_navigation():
        page.get_by_role("link", name=link).click()


def rows(page):
    return page.locator("#authentication-log tbody tr[data-request-id]")


def ids(page):
    return rows(page).evaluate_all("rows => rows.map(row => row.dataset.requestId)")


def outcomes(page):
    return set(rows(page).evaluate_all("rows => rows.map(row => row.dataset.outcome)"))


def test_filters_are_set_and_removed_one_by_one(browser_of):
    page = browser_of("auditor")
    page.goto(OUR_USES)
    narrow(page, Outcome="refused", Search="pipeline")

    expect(page).to_have_url(re.compile("outcome=refused"))
    assert outcomes(page) == {"refused"}
    follow(page, "Remove the filter Outcome: Refused")
    assert outcomes(page) == {"allowed", "refused"}
    expect(page.get_by_role("searchbox", name="Search")).to_have_value("pipeline")
    follow(page, "Clear all")
    expect(page.locator(".filter-chip")).to_have_count(0)


def test_search_without_a_match_says_so(browser_of):
    page = browser_of("auditor", java_script_enabled=False)
    page.goto(OUR_USES)
    narrow(page, Search="no such thing anywhere")

    expect(page.locator("#authentication-log")).to_contain_text("No use of a token matches")
    expect(page.locator("#entry-count")).to_have_text("0 entries")


def test_pages_can_be_turned_forward_and_back(browser_of):
    page = browser_of("auditor")
    page.goto(OUR_USES)
    first = ids(page)
    assert len(first) == 50
    expect(page.locator("#entry-count")).to_contain_text("entries")

    follow(page, "Older")
    second = ids(page)
    assert not set(first) & set(second)
    follow(page, "Newer")
    assert ids(page) == first
    follow(page, "Older")
    assert ids(page) == second
    follow(page, "Newest")
    assert ids(page) == first


def test_entry_links_to_all_entries_of_its_address(browser_of):
    page = browser_of("auditor")
    page.goto(f"{OUR_USES}?outcome=refused")
    request_id = ids(page)[0]
    rows(page).first.locator("a").first.click()

    expect(page).to_have_url(re.compile(f"{request_id}/$"))
    expect(page.locator("#request-id")).to_have_text(request_id)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Refused")
    follow(page, "Show all from this address")
    expect(page.locator(".filter-chip")).to_contain_text("Address:")
    assert request_id in ids(page)


def test_person_can_filter_by_the_name_of_their_token(browser_of):
    page = browser_of("user")
    page.goto("/profile/authentication-log/")
    name = page.get_by_label("Token", exact=True).locator("option").nth(1).inner_text()
    page.get_by_label("Token", exact=True).select_option(label=name)
    page.get_by_role("button", name="Filter").click()

    expect(page.locator(".filter-chip")).to_contain_text(f"Token: {name}")
    for token in page.locator("td[data-column=token_name]").all_inner_texts():
        assert name.startswith(token)


def test_exports_contain_the_entries_of_the_filtered_list(browser_of, tmp_path):
    page = browser_of("auditor", accept_downloads=True)
    page.goto(f"{OUR_USES}?outcome=refused")
    shown = ids(page)
    files = {}
    for label in ("CSV", "JSON Lines"):
        with page.expect_download() as download:
            page.get_by_role("link", name=label).click()
        files[label] = tmp_path / download.value.suggested_filename
        download.value.save_as(files[label])

    with files["CSV"].open(newline="") as file:
        in_csv = list(csv.DictReader(file))
    in_lines = [json.loads(line) for line in files["JSON Lines"].read_text().splitlines()]
    assert re.fullmatch(r"authentication-log-[\w-]+-\d{4}-\d\d-\d\d\.csv", files["CSV"].name)
    assert [row["id"] for row in in_csv] == [row["id"] for row in in_lines]
    assert [row["id"] for row in in_csv][: len(shown)] == shown
    assert {row["outcome"] for row in in_csv} == {"refused"}


def test_person_finds_their_own_actions_in_their_activity_log(browser_of):
    page = browser_of("guest")
    page.goto("/")
    page.get_by_text("Gil Santos").first.click()
    page.get_by_role("link", name="Profile").click()
    page.get_by_role("link", name="Activity log").click()

    row = page.locator("#activity-log tbody tr").first
    expect(row).to_contain_text("Signed in")
    row.get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Signed in: guest@demo.example")
    expect(page.locator("#entry")).to_contain_text("authentication.signed_in")


def test_no_log_page_scrolls_sideways(browser_of):
    page = browser_of("admin")
    for address in (f"{OUR_USES}?outcome=refused&q=api", "/organization/activity-log/", "/profile/activity-log/"):
        page.goto(address)
        assert_nothing_scrolls_sideways(page)
        page.locator("tbody tr a").first.click()
        expect(page.locator("#entry")).to_be_visible()
        assert_nothing_scrolls_sideways(page)


def assert_nothing_scrolls_sideways(page):
    for width in (1280, 360):
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (width, scheme)
    page.set_viewport_size({"width": 1280, "height": 900})
