"""Opens every page in a real browser.

Each page passes axe's accessibility rules in light and dark, fits into all widths, and uses nothing that its content
security policy refuses.
"""

import re

import pytest
from axe_playwright_python.base import AxeResults
from axe_playwright_python.sync_playwright import Axe
from django.contrib import admin
from django.urls import Resolver404, resolve

from opsera_portal.tests.browser import watch_for_refusals

pytestmark = [pytest.mark.browser, pytest.mark.once]

PAGES = [
    "/",
    "/profile/",
    "/profile/tokens/",
    "/profile/authentication-log/",
    "/tokens/lookup/",
    "/secret-scanning/",
    "/organization/users/",
    "/organization/users/invite/",
    "/organization/groups/",
    "/organization/tokens/",
    "/organization/access-review/",
    "/organization/authentication-log/",
    "/organization/authentication-log/?live=1",
    "/organization/activity-log/",
    "/organization/mails/",
    "/organization/single-sign-on/",
    "/pipelines/",
    "/pipelines/runs/",
    "/pipelines/new/",
    "/who-may-do-what/",
    "/profile/security/two-factor/",
    "/profile/security/two-factor/app/add/",
    "/profile/security/passkeys/add/",
    "/logout/",
    "/nothing-here/",
]


# A document compiles axe only if a test calls it. Sending it again for each page, half a megabyte, takes
# four times as long.
AXE = f"globalThis.startAxe = function () {{ {Axe().axe_script}\n}}"
# Items of such a list are alike, and axe needs several milliseconds for each. It also looks at those that it is to
# exclude, because they can cover others. So they are removed, after the layout was tested with them.
FURTHER_ITEMS = ", ".join(
    [
        "tbody tr:nth-child(n+7)",
        "option:nth-child(n+7)",
        ".tag-list > .tag:nth-child(n+7)",
        ".operation-list > li:nth-child(n+7)",
        ".log-line:nth-child(n+7):not([data-level='error'])",
        ".chart-bar:nth-child(n+7):not([tabindex='0'])",
        ".api-operations > details:not([open]):nth-of-type(n+3)",
        ".api-fields > div:nth-child(n+4)",
    ]
)
# Axe parses the colors of each element again, which takes a quarter of the time of its rules about colors.
START_AXE = """selector => {
  document.querySelectorAll(selector).forEach(item => item.remove());
  startAxe();
  const { Color } = axe.commons.color, parse = Color.prototype.parseString, parsed = new Map();
  Color.prototype.parseString = function (text) {
    if (!parsed.has(text)) parsed.set(text, parse.call(new Color(), text));
    const { r, g, b, alpha } = parsed.get(text);
    return Object.assign(this, { r, g, b, alpha });
  };
}"""
# Fetches only the violations: Playwright takes long to read the hundred rules that passed. Colors fade from one theme
# to the other.
RUN = """options => {
  document.getAnimations().forEach(animation => animation.finish());
  return axe.run(options).then(found => ({violations: found.violations}));
}"""
# Do not download the style sheets again: only experimental rules of axe read them.
ALL_RULES = {"resultTypes": ["violations"], "preload": False}
# Axe's rules about colors, because dark mode changes only colors.
COLOR_RULES = ALL_RULES | {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
HEIGHT = 800
# 640 pixels are 40rem, from where on tables are tables. Tables leave out columns up to 960 pixels, which are 60rem.
WIDTHS = (360, 639, 640, 800, 960, 1280)
LAYOUT = """() => {
  const page = document.documentElement;
  return {
    overflow: page.scrollWidth - page.clientWidth,
    cutOff: [...document.querySelectorAll(".data-table table")]
      .filter(table => table.scrollWidth > table.parentElement.clientWidth).length,
    headings: document.querySelectorAll("h1").length,
  };
}"""


# The search for pages begins here and at the pages that other tests have opened.
FIRST = ["/", "/profile/", "/admin/", "/api/docs/", "/nothing-here/", "/profile/security/two-factor/"]
# Files, addresses for programs, and pages that end the session.
NOT_PAGES = re.compile(
    r"/static/|/api/schema/|/api/v1/|/export/|/record/|/logout/|/download/|/jsi18n/|\.well-known|/readyz|/healthz"
)


@pytest.fixture(scope="module")
def page(chromium, portal):
    """A browser page of the demo's Administrator, who can see every page.

    ``page.kinds`` contains the kinds of opened pages, ``page.linked`` the addresses of their links.
    """
    with chromium.signed_in(portal, "admin@demo.example") as context:
        yield page_for_axe(context)


def page_for_axe(context):
    page = watch_for_refusals(context.new_page())
    page.add_init_script(AXE)
    page.kinds, page.linked = set(), []
    return page


def kind_of(path):
    """Returns the URL pattern of the page. The policy is tested once for each pattern."""
    try:
        return resolve(path.partition("?")[0]).route
    except Resolver404:
        return path


def links(page):
    """Returns the addresses on this site that the page links to."""
    # A locator would load scripts of Playwright into the page.
    found = page.evaluate(
        "[...document.querySelectorAll('a[href]')]"
        ".map(link => new URL(link.getAttribute('href'), document.baseURI).href)"
        ".filter(href => href.startsWith(location.origin))"
        ".map(href => href.slice(location.origin.length).split('#')[0])"
    )
    return [path for path in found if not NOT_PAGES.search(path)]


def assert_nothing_refused(page, answer=None):
    """Ignores the browser's report that the page itself was not found."""
    is_found = answer is None or answer.ok
    assert [text for text in page.refused if is_found or "Failed to load resource" not in text] == [], page.url


def look_at(page, path):
    page.refused.clear()
    answer = page.goto(path)
    assert_nothing_refused(page, answer)
    page.kinds.add(kind_of(path))
    page.linked += links(page)


def assert_good(page):
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": HEIGHT})
        layout = page.evaluate(LAYOUT)
        assert layout["overflow"] <= 0, f"scrolls sideways at {width} pixels"
        assert layout["cutOff"] == 0, f"a table is cut off at {width} pixels"
        assert layout["headings"] == 1
    page.evaluate(START_AXE, FURTHER_ITEMS)
    for scheme, options in (("light", ALL_RULES), ("dark", COLOR_RULES)):
        page.emulate_media(color_scheme=scheme)
        found = AxeResults(page.evaluate(RUN, options))
        assert found.violations_count == 0, f"{scheme}: {found.generate_report()}"


def test_sign_in_pages_are_accessible(chromium, portal):
    with chromium.new_context(base_url=portal.url) as context:
        page = page_for_axe(context)
        for path in ("/password/reset/", "/login/"):
            page.goto(path)
            assert_nothing_refused(page)
            assert_good(page)


@pytest.mark.parametrize("path", PAGES)
def test_page_is_accessible(page, path):
    look_at(page, path)
    assert_good(page)


def test_pages_of_single_objects_are_accessible(page):
    for list_path, link in (("/profile/tokens/", "#tokens tbody a"), ("/pipelines/", "#pipelines tbody a")):
        page.goto(list_path)
        page.locator(link).first.click()
        page.wait_for_load_state()
        assert_good(page)
    page.locator("#runs tbody a").first.click()
    page.wait_for_load_state()
    assert_good(page)
    page.goto("/profile/tokens/")
    page.goto(page.locator("[data-expire]").first.get_attribute("href"))
    assert_good(page)


def test_opened_operations_of_the_api_reference_are_accessible(page):
    look_at(page, "/api/docs/")
    for name in ("tokens-operations", "objects"):
        page.locator(f"section[aria-labelledby={name}] details").evaluate_all(
            "all => all.slice(0, 6).forEach(details => { details.open = true })"
        )
    assert_good(page)


def test_link_to_an_operation_of_the_api_reference_opens_it(page):
    # Else the browser would only scroll in the page of the test before.
    page.goto("about:blank")
    look_at(page, "/api/docs/#pipeline_run")
    page.locator("#pipeline_run").get_by_text("Queues a run").wait_for()


@pytest.mark.parametrize(
    "path", ["/admin/", "/admin/tokens/token/", "/admin/pipelines/run/", "/admin/auditlog/tokenuse/"]
)
def test_administration_is_accessible(page, path):
    look_at(page, path)
    assert_good(page)
    if path != "/admin/":
        page.locator("#result_list tbody th a").first.click()
        page.wait_for_load_state()
        assert_good(page)


def test_form_with_errors_is_accessible(page):
    page.goto("/profile/tokens/")
    page.locator("#create-token").evaluate("button => { button.form.noValidate = true }")
    page.locator("#create-token").click()
    page.get_by_text("Choose at least one scope").first.wait_for()
    assert_good(page)


def first_link(page, path, name):
    page.goto(path)
    return page.get_by_role("link", name=name, exact=True).get_attribute("href")


@pytest.mark.parametrize(
    ("path", "name", "below"),
    [
        ("/organization/users/", "Ines Vogel", ["", "deactivate/"]),
        ("/organization/groups/", "Builders", ["", "delete/"]),
        (
            "/pipelines/",
            "Deploy to production",
            [
                "",
                "edit/",
                "duplicate/",
                "transfer/",
                "delete/",
                "notifications/",
                "steps/",
                "steps/new/?template=github",
                "steps/new/?kind=approval",
                "access-rules/",
                "runs/1/",
            ],
        ),
        ("/pipelines/", "Migrate the database", [""]),
        ("/pipelines/", "Dependency scan", ["runs/1/"]),
    ],
)
def test_subpages_are_accessible(page, path, name, below):
    address = first_link(page, path, name)
    for rest in below:
        look_at(page, address + rest)
        assert_good(page)


def test_no_page_uses_content_that_its_policy_refuses(page):
    """Follows links to the kinds of page that no other test has opened."""
    waiting = FIRST + page.linked
    while waiting:
        path = waiting.pop()
        if kind_of(path) not in page.kinds:
            look_at(page, path)
            waiting += links(page)

    assert len(page.kinds) > 60, sorted(page.kinds)
    assert {"admin/", "api/docs/", "profile/tokens/", "pipelines/<id:pk>/"} <= page.kinds
    for model in admin.site._registry:
        assert f"admin/{model._meta.app_label}/{model._meta.model_name}/" in page.kinds


def test_refused_content_is_detected(page):
    page.goto("/profile/")
    page.refused.clear()

    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\">x</p>')")
    page.wait_for_timeout(50)

    assert [text for text in page.refused if text.startswith("style-src")]
