"""Fields that suggest people while a person types, with the keyboard, with the mouse and at 360 pixels."""

import pytest
from playwright.sync_api import expect

from opsera_portal.tests.test_pages_in_browser import assert_good, look_at, page_for_axe

pytestmark = [pytest.mark.browser, pytest.mark.once]


def address_of_pipeline(page):
    page.goto("/pipelines/")
    return page.get_by_role("link", name="Deploy to production").first.get_attribute("href")


def test_people_are_picked_with_keyboard_and_mouse(chromium, portal):
    with chromium.shared(portal, "admin@demo.example") as context:
        page = page_for_axe(context)
        address = address_of_pipeline(page)
        look_at(page, f"{address}access-rules/")
        who, suggestions = page.get_by_role("combobox", name="Who"), page.get_by_role("listbox")

        who.press_sequentially("nobody")
        expect(suggestions).to_have_count(0)
        expect(page.locator(".picker-panel")).to_have_text("Nothing found")
        who.fill("")
        expect(page.locator(".picker-panel")).to_be_hidden()
        who.press_sequentially("demo.example")
        expect(suggestions).to_be_visible()
        expect(page.locator("[data-announcer]")).to_contain_text("suggestions")
        who.press("ArrowDown")
        who.press("ArrowUp")
        expect(suggestions.get_by_role("option", selected=True)).to_have_count(1)
        assert who.get_attribute("aria-activedescendant") == suggestions.get_by_role("option").last.get_attribute("id")
        assert_good(page)
        who.press("Escape")
        expect(suggestions).to_be_hidden()
        expect(who).to_have_attribute("aria-expanded", "false")
        who.fill("moreau")
        expect(suggestions.get_by_role("option")).to_have_text(["Dana Moreau admin@demo.example"])
        who.press("ArrowDown")
        who.press("Enter")
        expect(who).to_have_value("Dana Moreau <admin@demo.example>")
        expect(suggestions).to_be_hidden()

        page.goto(f"{address}notifications/")
        lines, add = page.get_by_label("People"), page.get_by_role("combobox", name="Add a person")
        lines.fill("Piotr Nowak")
        for typed, name in (("tanaka", "Aya Tanaka"), ("moreau", "Dana Moreau")):
            add.fill(typed)
            page.get_by_role("option", name=name).click()
            expect(add).to_have_value("")
        expect(add).to_be_focused()
        expect(lines).to_have_value(
            "Piotr Nowak\nAya Tanaka <auditor@demo.example>\nDana Moreau <admin@demo.example>\n"
        )
        page.get_by_role("button", name="Remove Aya Tanaka").click()
        add.fill("someone@demo.example")
        add.press("Enter")
        expect(lines).to_have_value("Piotr Nowak\nDana Moreau <admin@demo.example>\nsomeone@demo.example\n")
        expect(page).to_have_url(f"{portal.url}{address}notifications/")


def test_people_are_typed_without_scripts(chromium, portal):
    with chromium.signed_in(portal, "admin@demo.example", java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(f"{address_of_pipeline(page)}notifications/")

        expect(page.get_by_label("People")).to_be_visible()
        expect(page.get_by_role("combobox")).to_have_count(0)
        expect(page.get_by_label("Add a person")).to_be_hidden()
