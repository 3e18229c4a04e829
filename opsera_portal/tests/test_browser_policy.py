"""Every page in a real browser, under the policies that it is served with: nothing is refused, on any of them."""

import re

import pytest
from django.contrib import admin
from django.urls import Resolver404, resolve

from opsera_portal.tests.browser import sign_in

pytestmark = [pytest.mark.browser, pytest.mark.once]

FIRST = ["/", "/profile/", "/admin/", "/api/docs/", "/nothing-here/", "/profile/security/two-factor/"]
# Files, what is no page of the browser's own, and what ends the walk.
NOT_PAGES = re.compile(
    r"/static/|/api/schema/|/api/v1/|/export/|/logout/|/download/|/jsi18n/|\.well-known|/readyz|/healthz"
)


@pytest.fixture
def page(chromium, portal):
    """A page that collects in ``page.refused`` what the browser refused."""
    with chromium.new_context(base_url=portal.url) as context:
        page = context.new_page()
        page.refused = []
        page.add_init_script(
            "addEventListener('securitypolicyviolation', event => "
            "console.error(`${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile}`))"
        )
        page.on("console", lambda message: page.refused.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: page.refused.append(str(error)))
        yield page


def kind_of(path):
    """Pages of one kind are the same page for this purpose: the pattern of their address."""
    try:
        return resolve(path.partition("?")[0]).route
    except Resolver404:
        return path


def links(page):
    """Addresses on this site that the page leads to, as it writes them."""
    found = page.locator("a[href]").evaluate_all(
        "links => links.map(link => link.href).filter(href => href.startsWith(location.origin))"
        ".map(href => href.slice(location.origin.length).split('#')[0])"
    )
    return [path for path in found if not NOT_PAGES.search(path)]


def walk(page):
    """The kinds of page that can be reached from the first ones, and what was refused on each."""
    waiting, refused = list(FIRST), {}
    while waiting:
        path = waiting.pop()
        if (kind := kind_of(path)) in refused:
            continue
        page.refused.clear()
        answer = page.goto(path)
        if kind == "api/docs/":
            # Its script builds the page from the API schema.
            page.get_by_text("Run a pipeline").first.wait_for()
        # The browser says of a page that is not there that it is not there.
        refused[kind] = [text for text in page.refused if answer.ok or "Failed to load resource" not in text]
        waiting += links(page)
    return refused


def test_no_page_uses_what_its_policy_refuses(page):
    for path in ("/password/reset/", "/login/"):
        page.goto(path)
        assert page.refused == []
    sign_in(page, "admin@demo.example")

    refused = walk(page)

    assert {kind: texts for kind, texts in refused.items() if texts} == {}
    assert len(refused) > 60, sorted(refused)
    assert {"admin/", "api/docs/", "profile/tokens/", "pipelines/<id:pk>/"} <= set(refused)
    for model in admin.site._registry:
        assert f"admin/{model._meta.app_label}/{model._meta.model_name}/" in refused


def test_refused_content_is_noticed(page):
    page.goto("/login/")
    page.refused.clear()

    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\">x</p>')")
    page.wait_for_timeout(50)

    assert [text for text in page.refused if text.startswith("style-src")]
