"""Chart and warning of the overview in a browser, with pointer and keyboard; new addresses."""

import re

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.once]


@pytest.fixture(params=[1280, 360])
def page(request, browser_of):
    page = browser_of("user", viewport={"width": request.param, "height": 800})
    page.goto("/")
    return page


def test_bar_shows_its_text_on_hover_and_on_focus(page):
    bars = page.locator(".chart-bar[tabindex]")
    for number, look in ((3, lambda bar: bar.locator(".chart-slot").hover()), (5, lambda bar: bar.focus())):
        words = bars.nth(number).locator(".chart-words")
        expect(words).to_be_hidden()
        look(bars.nth(number))
        expect(words).to_be_visible()
        expect(words).to_have_text(re.compile(r"^\d+ \w+: \d+ allowed, \d+ refused$"))
        expect(page.locator(".chart-peak")).to_be_hidden()
        box = words.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= page.viewport_size["width"]
        page.mouse.move(0, 0)


def test_tab_goes_through_the_bar_as_people_see_it(page):
    stops = page.locator(".top-bar :is(a, summary):visible").count()
    page.locator(".brand").focus()
    places = []
    for _ in range(stops):
        box = page.locator(":focus").bounding_box()
        # All of one row are within 40 pixels.
        places.append((round(box["y"] / 40), box["x"]))
        page.keyboard.press("Tab")

    assert stops >= 5
    assert places == sorted(places)


def test_allowed_and_refused_differ_in_forced_colors(page):
    page.emulate_media(forced_colors="active")

    for parts, property_name in ((".chart-key", "backgroundColor"), (".chart-allowed, .chart-refused", "fill")):
        found = page.locator(parts).evaluate_all(
            "(all, name) => all.map(one => getComputedStyle(one, one.matches('rect') ? null : '::before')[name])",
            property_name,
        )
        assert len(set(found)) == 2


def test_the_chart_can_be_read_as_a_table(page):
    table = page.get_by_role("table", name="Uses of your tokens per day")
    expect(table).to_be_hidden()
    page.get_by_text("Show as table").click()
    expect(table).to_be_visible()
    expect(table.locator("tbody tr")).to_have_count(30)


def test_warning_links_to_the_token_and_its_uses(page):
    warning = page.locator("#ended-in-use")
    warning.locator("summary").click()
    # Other tests may have added tokens to the warning.
    token = warning.locator("[data-token]", has_text="Old laptop")
    expect(token.get_by_role("list", name="Used from").get_by_role("listitem")).to_have_count(2)

    token.get_by_role("link", name="See these uses").click()
    expect(page.locator("#authentication-log tbody tr").first).to_contain_text("Old laptop")
    page.goto("/")
    warning.locator("summary").click()
    warning.get_by_role("link", name="Old laptop").click()
    expect(page.get_by_role("heading", name="This token has expired and is still in use")).to_be_visible()


def test_new_address_is_marked_with_text(page):
    page.goto("/profile/tokens/")
    page.get_by_role("link", name="Status dashboard", exact=True).click()

    expect(page.locator("#addresses tr", has_text="192.0.2.200")).to_contain_text("New address")
    expect(page.locator("#addresses tr", has_text="198.51.100.4")).not_to_contain_text("New address")


def test_chart_is_one_tab_stop_with_arrow_keys(page):
    bars = page.locator(".chart-bar[tabindex]")
    page.locator(".chart-bar[tabindex='0']").focus()

    for key, place in (("ArrowLeft", -2), ("Home", 0), ("ArrowLeft", 0), ("ArrowRight", 1), ("End", -1)):
        page.keyboard.press(key)
        focused = bars.nth(place % bars.count())
        expect(focused).to_be_focused()
        expect(focused.locator(".chart-words")).to_be_visible()
        assert page.locator(".chart-bar[tabindex='0']").count() == 1

    day = page.locator(".chart-bar:focus").get_attribute("data-day")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(rf"/profile/authentication-log/\?since_at={day}T00:00Z&before_at="))
