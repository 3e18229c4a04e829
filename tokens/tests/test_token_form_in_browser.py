"""The form for a new token in a real browser, with scripts and without."""

from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.once]

PAGE = "/profile/tokens/"


def test_name_is_checked_while_it_is_typed(browser_of):
    page = browser_of("user")
    page.goto(PAGE)
    said = page.locator("#name-check")

    page.locator("#id_name").press_sequentially("nightly trigger")
    expect(said).to_have_text("⚠ You already have a token with this name.")
    page.locator("#id_name").press_sequentially(" of mine")
    expect(said).to_have_text("✓ Free")


def test_form_is_visible_as_a_whole_in_a_window_of_usual_size(browser_of):
    page = browser_of("user")
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(PAGE)

    expect(page.get_by_role("button", name="Create token")).to_be_in_viewport(ratio=1)
    expect(page.locator("#id_name")).not_to_be_focused()


@pytest.mark.parametrize("width", [360, 1280])
def test_link_to_the_form_leads_to_the_name(browser_of, width):
    page = browser_of("user")
    page.set_viewport_size({"width": width, "height": 800})
    page.goto("/")
    page.get_by_role("link", name="Create a token").first.click()

    expect(page.locator("#id_name")).to_be_focused()
    expect(page.locator("label[for=id_name]")).to_be_in_viewport()
    page.keyboard.type("nightly")
    expect(page.locator("#id_name")).to_have_value("nightly")


@pytest.mark.parametrize("scripts", [True, False])
def test_preset_leads_to_the_choice_of_the_one_pipeline(browser_of, scripts):
    page = browser_of("user", java_script_enabled=scripts)
    page.goto(PAGE)
    page.locator("#id_name").fill("typed before")
    page.get_by_role("link", name="Preset: run one pipeline").click()

    expect(page.get_by_role("radio", name="Only these")).to_be_checked()
    expect(page.locator("[name=scopes]:checked")).to_have_count(1)
    expect(page.locator("#id_scopes_pipeline")).to_be_checked()
    expect(page.locator("#id_pipelines_list")).to_be_in_viewport()
    if scripts:
        expect(page.locator("#id_name")).to_have_value("typed before")
        expect(page.locator("#id_scopes_pipeline_note")).to_have_text("Choose pipelines below.")
        expect(page.get_by_role("searchbox", name="Find a pipeline")).to_be_focused()


def test_typed_form_stays_if_the_name_is_checked_too_often(browser_of):
    page = browser_of("user")
    page.goto(PAGE)
    page.route(f"**{PAGE}name/", lambda route: route.fulfill(status=429, body="Too many requests"))

    with page.expect_response(f"**{PAGE}name/"):
        page.locator("#id_name").press_sequentially("nightly")
    page.wait_for_timeout(300)

    assert page.locator("#id_name").input_value() == "nightly"
    expect(page.locator("#name-check")).to_have_text("")


def test_scopes_count_the_chosen_pipelines(browser_of):
    page = browser_of("user")
    page.goto(PAGE)
    note = page.locator("#id_scopes_pipeline_note")
    page.locator("#id_scopes_pipeline").check()

    page.get_by_role("radio", name="Only these").check()
    expect(note).to_have_text("Choose pipelines below.")
    page.get_by_role("checkbox", name="Nightly build").check()
    expect(note).to_have_text("Runs 1 pipeline and reads 1.")
    expect(page.get_by_text("The scopes above count only the chosen pipelines")).to_be_visible()
    expect(page.locator("#id_scopes_pipeline")).to_be_checked()
    page.get_by_label("Find a pipeline").fill("can't run")
    expect(page.get_by_role("checkbox", name="Nightly build")).to_be_hidden()
    page.get_by_role("radio", name="All that I can use").check()
    expect(note).not_to_contain_text("Runs 1 pipeline ")


def test_times_are_in_the_zone_of_the_person_with_utc_beside_them(browser_of):
    page = browser_of("user", timezone_id="Asia/Tokyo")
    page.goto("/profile/preferences/")
    page.get_by_role("combobox", name="Time zone").fill("America/New_York")
    page.get_by_role("button", name="Save", exact=True).click()
    page.goto(PAGE)
    page.get_by_role("radio", name="1 week").check()

    expect(page.locator("#id_lifetime_1w_end")).to_contain_text("UTC\N{MINUS SIGN}")
    expect(page.locator("#id_lifetime_1w_end")).to_contain_text(" UTC)")
    expect(page.get_by_label("Date", exact=True)).to_be_hidden()
    page.get_by_role("radio", name="On a date").check()
    date = page.get_by_label("Date", exact=True).get_attribute("min")
    page.get_by_label("Date", exact=True).fill(date)
    expect(page.locator("[data-end-of-date]")).to_contain_text("23:59 UTC")

    # A link says the start in UTC: its reader may be in another time zone.
    page.get_by_text("Limit it to networks, uses or a start").click()
    page.get_by_label("Works from (optional)").fill("2099-07-01T08:30")
    link = page.locator("#form-link").text_content()
    assert parse_qs(urlsplit(link).query)["not_before"] == ["2099-07-01T12:30Z"]
    page.goto(link)
    expect(page.get_by_label("Works from (optional)")).to_have_value("2099-07-01T08:30")


def test_end_is_shown_in_utc_without_scripts(browser_of):
    page = browser_of("user", timezone_id="America/New_York", java_script_enabled=False)
    page.goto(PAGE)

    expect(page.locator("#id_lifetime_1w_end")).to_contain_text("UTC")
    expect(page.get_by_role("button", name="Copy link to this form")).to_be_hidden()


def test_copied_link_fills_in_the_form(browser_of, portal):
    page = browser_of("user")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=portal.url)
    page.goto(PAGE)
    page.locator("#id_name").fill("Übung: build 100.5")
    page.locator("#id_scopes_pipeline").check()
    page.locator("#id_scopes_api-readonly").check()
    page.get_by_role("radio", name="2 months").check()
    link = page.locator("#form-link").text_content()
    page.get_by_role("button", name="Copy link to this form").click()
    page.get_by_text("Copied").first.wait_for()

    assert parse_qs(urlsplit(link).query)["scopes"] == ["api-readonly,pipeline"]
    page.goto(link)
    expect(page.locator("#id_name")).to_have_value("Übung: build 100.5")
    expect(page.locator("#filled-by-link")).to_contain_text("No token exists yet")
    expect(page.locator("#id_scopes_pipeline")).to_be_checked()
    expect(page.locator("#id_scopes_api-readonly")).to_be_checked()
    expect(page.locator("#id_scopes_api")).not_to_be_checked()
    expect(page.get_by_role("radio", name="2 months")).to_be_checked()


def test_expiring_a_token_leads_back_to_its_row(browser_of):
    page = browser_of("user")
    create(page, "one of many")
    page.goto(f"{PAGE}?sort=name")
    expire(page, "one of many")

    page.wait_for_url("**/profile/tokens/?sort=name#token-*")
    row = page.locator("tr:target")
    expect(row).to_contain_text("Expired early")
    expect(row).to_be_in_viewport()
    message = page.get_by_text("Scripts that use it get 401 from now on.")
    expect(message).to_be_in_viewport()
    scrolled = page.evaluate("scrollY")
    page.get_by_role("button", name="Dismiss").click()
    expect(message).to_have_count(0)
    # The page stays where it is.
    assert page.evaluate("scrollY") > scrolled / 2 > 50


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize("path", [PAGE, "/organization/tokens/"])
def test_expiring_a_token_that_leaves_the_list_leads_to_the_next_row(browser_of, path, scripts):
    page = browser_of("admin", java_script_enabled=scripts)
    name = f"left {len(path)}{scripts:d}"
    create(page, name)
    page.goto(f"{path}?state=live")
    next_name = (
        page.locator("#tokens tr")
        .filter(has_text=name)
        .locator("xpath=following-sibling::tr[1]//a")
        .first.text_content()
    )
    page.get_by_role("link", name=f"Expire {name}").click()
    page.get_by_role("button", name="Expire token").click()

    page.wait_for_url(f"**{path}?state=live#name-*")
    expect(page.get_by_role("link", name=name, exact=True)).to_have_count(0)
    focused = page.locator("#tokens a:focus")
    expect(focused).to_have_text(next_name)
    expect(focused).to_be_in_viewport()
    # The message does not cover the row, and after some seconds it is only at its own place.
    message = page.locator(".messages")
    expect(message).to_be_in_viewport()
    assert bottom_of(message) <= focused.bounding_box()["y"]


def test_expiring_the_last_token_of_a_list_leads_back_to_the_list(browser_of):
    page = browser_of("user")
    create(page, "last of its list")
    page.goto(f"{PAGE}?state=live&q=last+of+its+list")
    expire(page, "last of its list")

    page.wait_for_url(f"**{PAGE}?state=live&q=last+of+its+list#token-*")
    # The message is above the heading, and after some seconds only at its own place.
    message, heading = page.locator(".messages"), page.locator("#tokens-heading")
    expect(heading).to_be_in_viewport()
    expect(message).to_be_in_viewport()
    assert bottom_of(message) <= heading.bounding_box()["y"]
    message.evaluate("messages => messages.getAnimations().forEach(animation => animation.finish())")
    expect(message).not_to_be_in_viewport()


def test_browser_does_not_send_a_token_that_is_searched_for(browser_of):
    page = browser_of("user")
    page.goto(PAGE)
    search = page.get_by_label("Name or description")

    search.fill("Bearer eyJhbGciOiJFUzI1NiIsImtpZCI6I")
    page.get_by_role("button", name="Filter", exact=True).click()
    assert page.evaluate("location.search") == ""
    assert search.evaluate("field => field.validity.patternMismatch")
    search.fill("nightly")
    page.get_by_role("button", name="Filter", exact=True).click()
    page.wait_for_url("**?q=nightly*")


def bottom_of(locator):
    box = locator.bounding_box()
    return box["y"] + box["height"]


def create(page, name):
    page.goto(PAGE)
    page.locator("#id_name").fill(name)
    page.locator("#id_scopes_pipeline").check()
    page.get_by_role("button", name="Create token").click()
    page.wait_for_url("**/reveal/")


def expire(page, name):
    page.get_by_role("link", name=f"Expire {name}").click()
    page.get_by_role("dialog").get_by_role("button", name="Expire token").click()


def test_token_for_one_pipeline_from_its_page_to_its_log(browser_of, portal):
    page = browser_of("user")
    other_id = id_of_pipeline(page, "Nightly build")
    pipeline_id = id_of_pipeline(page, "Build and test")
    page.get_by_role("link", name="Create token for this pipeline").click()
    expect(page.locator("#filled-by-link")).to_contain_text("No token exists yet")
    expect(page.get_by_role("checkbox", name="Build and test")).to_be_checked()
    page.locator("#id_name").fill("only builds")
    page.get_by_role("button", name="Create token").click()
    page.wait_for_url("**/reveal/")
    expect(page.locator("#token-pipelines")).to_contain_text("Build and test")
    page.get_by_text("Run the pipeline", exact=True).click()
    expect(page.locator("#example-run")).to_contain_text(pipeline_id)
    signed_jwt = page.locator("#signed-jwt").text_content()
    page.get_by_role("link", name="I have saved it").click()

    def run(wanted):
        return httpx.post(
            f"{portal.url}/api/v1/pipeline/run",
            json={"pipelineId": wanted},
            headers={"Authorization": f"Bearer {signed_jwt}"},
        )

    assert run(pipeline_id).status_code == 200
    refused = run(other_id)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    page.reload()
    rows = page.locator("[aria-labelledby=log-heading] tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("403")
    expect(rows.nth(1)).to_contain_text("200")


def test_pipelines_are_found_and_chosen(browser_of):
    page = browser_of("user")
    page.goto(PAGE)
    listed = page.locator("#id_pipelines_list")
    expect(listed).to_be_hidden()
    page.get_by_role("radio", name="Only these").check()
    page.get_by_role("searchbox", name="Find a pipeline").fill("DEPLOY to s")
    expect(listed.locator("label:visible")).to_have_text(["Deploy to staging"])
    # Enter must not create the token.
    page.get_by_role("searchbox", name="Find a pipeline").press("Enter")
    page.get_by_role("checkbox", name="Deploy to staging").check()
    expect(page.get_by_text("Chosen: 1")).to_be_visible()
    link = page.locator("#form-link").text_content()
    assert len(parse_qs(urlsplit(link).query)["pipelines"]) == 1

    page.get_by_role("radio", name="All that I can use").check()
    expect(listed).to_be_hidden()
    assert "pipelines" not in page.locator("#form-link").text_content()
    page.goto(link)
    expect(page.get_by_role("radio", name="Only these")).to_be_checked()
    expect(page.get_by_role("checkbox", name="Deploy to staging")).to_be_checked()


def test_pipelines_are_chosen_without_scripts(browser_of):
    page = browser_of("user", java_script_enabled=False)
    page.goto(PAGE)
    page.locator("#id_name").fill("without scripts")
    page.locator("#id_scopes_pipeline").check()
    page.get_by_role("radio", name="Only these").check()
    expect(page.get_by_role("searchbox", name="Find a pipeline")).to_be_hidden()
    page.get_by_role("checkbox", name="Deploy to staging").check()
    page.get_by_role("button", name="Create token").click()

    expect(page.locator("#token-pipelines")).to_contain_text("Deploy to staging")


def id_of_pipeline(page, name):
    page.goto("/pipelines/")
    page.get_by_role("link", name=name, exact=True).click()
    return page.locator("#pipeline-id").text_content()
