"""Tables and times in a real browser: as cards on phones, with exact times, and on paper."""

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.once]

PHONE, HEIGHT = 360, 800
# Smallest and largest window of each layout.
WIDTHS = (PHONE, 639, 640, 959, 960, 1280)
# A4 with the margins that browsers choose, in CSS pixels.
PAPER = {"width": 718, "height": 1047}

LINES = """rows => rows.map(row => {
  const middles = [];
  const texts = document.createTreeWalker(row, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const range = document.createRange();
    range.selectNodeContents(texts.currentNode);
    for (const { top, bottom, width } of range.getClientRects()) if (width > 1) middles.push((top + bottom) / 2);
  }
  middles.sort((one, other) => one - other);
  return middles.filter((middle, place) => !place || middle - middles[place - 1] > 8).length;
})"""
BOXES = """row => [...row.querySelectorAll(".moment-exact")]
  .map(time => time.getBoundingClientRect().toJSON())
  .filter(box => box.width > 1)"""


def open_at(page, path, width):
    page.set_viewport_size({"width": width, "height": HEIGHT})
    page.goto(path)
    return page


@pytest.mark.parametrize("width", WIDTHS)
def test_rows_are_cards_on_phones_only(browser_of, width):
    page = open_at(browser_of("admin"), "/profile/tokens/", width)
    is_card = width < 640

    display = page.locator("#tokens tbody tr").first.evaluate("row => getComputedStyle(row).display")
    assert display == ("flex" if is_card else "table-row")
    expect(page.locator("#tokens td[data-column=scope]").first).to_be_visible(visible=not is_card)
    expect(page.locator("#tokens td[data-column=state] .hint").first).to_be_visible()


@pytest.mark.parametrize(
    "path",
    [
        "/profile/tokens/",
        "/organization/tokens/",
        "/organization/users/",
        "/organization/groups/",
        "/profile/authentication-log/",
        "/organization/authentication-log/",
        "/organization/activity-log/",
        "/pipelines/",
        "/pipelines/runs/",
    ],
)
def test_card_has_two_lines(browser_of, path):
    page = open_at(browser_of("admin"), path, PHONE)
    lines = page.locator(".data-table tbody tr:not(.empty)").evaluate_all(LINES)

    # Long names, long states and the addresses of service accounts wrap.
    assert sorted(lines)[len(lines) // 2] == 2
    assert max(lines) <= 5


@pytest.mark.parametrize("width", WIDTHS)
def test_exact_times_of_a_row_are_readable(browser_of, width):
    page = open_at(browser_of("admin"), "/organization/access-review/", width)
    row = page.locator("#access-review tr[data-token]").first
    page.keyboard.press("Tab")
    row.get_by_role("link").focus()
    boxes = row.evaluate(BOXES)

    assert len(boxes) >= 1 + (width >= 640)
    assert all(0 <= box["left"] < box["right"] <= width for box in boxes)
    for number, box in enumerate(boxes):
        assert not any(overlap(box, other) for other in boxes[number + 1 :])


def overlap(one, other):
    beside = one["right"] <= other["left"] or other["right"] <= one["left"]
    below = one["bottom"] <= other["top"] or other["bottom"] <= one["top"]
    return not (beside or below)


def test_tap_on_a_time_shows_the_exact_time(browser_of):
    page = open_at(browser_of("user", has_touch=True), "/profile/tokens/", PHONE)
    time = page.locator("#tokens td[data-column=state] time").first
    assert time.locator(".moment-exact").bounding_box()["width"] <= 1

    time.tap()

    assert time.locator(".moment-exact").bounding_box()["width"] > 100
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("width", [PHONE, 1280])
def test_focus_on_a_time_outside_of_tables_shows_the_exact_time_and_moves_nothing(browser_of, width):
    page = open_at(browser_of("user"), "/profile/tokens/", width)
    page.locator("#tokens tbody a").first.click()
    time = page.locator(".figure time")
    exact = time.locator(".moment-exact")
    height = "document.documentElement.scrollHeight"
    before = page.evaluate(height)
    assert exact.bounding_box()["width"] <= 1

    page.locator(".figure a").last.focus()
    page.keyboard.press("Tab")

    expect(time).to_be_focused()
    assert exact.bounding_box()["width"] > 50
    assert page.evaluate(height) == before
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    time.blur()
    page.emulate_media(media="print")
    assert exact.bounding_box()["width"] > 50


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Tokyo"])
def test_log_in_a_wide_window_shows_utc_below_each_time_in_rows_of_usual_height(browser_of, zone):
    page = browser_of("user")
    choose_time_zone(page, zone)
    open_at(page, "/profile/authentication-log/", 1280)

    cells = page.locator("#authentication-log td[data-column=at]")
    expect(cells.first.locator(".moment-exact")).to_contain_text(" UTC")
    assert cells.first.locator(".moment-exact").bounding_box()["width"] > 80
    heights = cells.locator("a").evaluate_all("links => links.map(link => link.getBoundingClientRect().height)")
    assert max(heights) <= 40
    widths = page.locator(".data-table").last.evaluate("frame => [frame.scrollWidth, frame.clientWidth]")
    assert widths[0] <= widths[1]
    choose_time_zone(page, "UTC")


def choose_time_zone(page, zone):
    page.goto("/profile/preferences/")
    page.get_by_role("combobox", name="Time zone").fill(zone)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("were saved.")).to_be_visible()


@pytest.mark.parametrize("path", ["/profile/authentication-log/", "/organization/authentication-log/"])
def test_log_prints_as_a_table_with_about_30_entries_on_a_page(browser_of, path):
    page = browser_of("admin")
    page.set_viewport_size(PAPER)
    page.goto(path)
    page.locator("td[data-column=target] code").evaluate_all(
        "all => all.forEach(code => { code.textContent = `GET /api/v1/pipelines/${crypto.randomUUID()}/runs/12` })"
    )
    page.emulate_media(media="print")

    rows = page.locator("#authentication-log tbody tr")
    assert rows.first.evaluate("row => getComputedStyle(row).display") == "table-row"
    heights = rows.evaluate_all("rows => rows.map(row => row.getBoundingClientRect().height)")
    assert PAPER["height"] / (sum(heights) / len(heights)) >= 28
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for column in ("token_name", "target", "status", "outcome", "ip"):
        expect(page.locator(f"td[data-column={column}]").first).to_be_visible()
