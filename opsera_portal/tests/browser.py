"""Chromium for the tests of pages: started once, with people from the demo signed in."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from opsera_portal.tests.portal import PASSWORD, Portal

# The first is smaller and starts faster. Both show the same.
PROGRAMS = ("chromium-headless-shell", "chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    # These switch off Chromium's own requests to the network.
    "--disable-background-networking",
    "--disable-sync",
    "--no-first-run",
    # Pages of the same context share a process.
    "--renderer-process-limit=1",
    # Pages live too briefly for optimized code: compiling it takes longer than what it saves.
    "--js-flags=--no-opt --no-maglev",
]


class Chromium:
    """Starts the browser when the first test needs it.

    Playwright keeps an event loop running in the tests' thread. Neither asyncio nor Django's
    database calls work there. So conftest.py stops the browser before the next test that needs
    none.
    """

    def __init__(self, *arguments: str) -> None:
        """``arguments``: further ones for the browser's command line."""
        self._arguments = [*ARGUMENTS, *arguments]
        self._playwright: Any = None
        self._browser: Any = None
        self._signed_in: dict[tuple[str, str], Any] = {}
        self._shared: dict[tuple[str, str, str], Any] = {}

    def new_context(self, **options: Any) -> Any:
        if self._browser is None:
            self._start()
        return self._browser.new_context(**options)

    def signed_in(self, portal: Portal, email: str, **options: Any) -> Any:
        """A context with this person signed in: first by sending the form, later by saved cookies."""
        state = self._signed_in.get((portal.url, email))
        if state is None:
            with self.new_context(base_url=portal.url) as context:
                send_sign_in(context, email)
                state = self._signed_in[portal.url, email] = context.storage_state()
        return self.new_context(base_url=portal.url, storage_state=state, **options)

    @contextmanager
    def shared(self, portal: Portal, email: str, **options: Any) -> Iterator[Any]:
        """The same context for all tests that ask for this person. Afterwards its pages are closed and its cookies are
        those of the sign-in. Pages store nothing else.

        Its first page stays open, and with it the process and what it has loaded.
        """
        key = (portal.url, email, repr(options))
        if key not in self._shared:
            self._shared[key] = self.signed_in(portal, email, **options)
            self._shared[key].new_page().goto("/healthz")
        context = self._shared[key]
        yield context
        for page in context.pages[1:]:
            page.close()
        context.clear_cookies()
        context.add_cookies(self._signed_in[portal.url, email]["cookies"])

    def remember(self, portal: Portal, email: str, context: Any) -> None:
        """Uses this context's session from now on, after it got a new one."""
        self._signed_in[portal.url, email] = context.storage_state()

    def stop(self) -> None:
        if self._browser is not None:
            self._browser.close()
            self._playwright.stop()
            self._playwright = self._browser = None
            self._shared.clear()

    def _start(self) -> None:
        from playwright.sync_api import sync_playwright

        path = next(filter(None, map(shutil.which, PROGRAMS)), None)
        if path is None:
            pytest.skip("Chromium is not installed: apt-get install chromium-headless-shell")
        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(executable_path=path, args=self._arguments)


def watch_for_refusals(page):
    """Collects in ``page.refused`` what the browser refuses to load or run, and script errors."""
    page.refused = []
    page.add_init_script(
        "addEventListener('securitypolicyviolation', event => "
        "console.error(`${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile}`))"
    )
    page.on("console", lambda message: page.refused.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.refused.append(str(error)))
    return page


def send_sign_in(context: Any, email: str) -> None:
    """Sends the sign-in form without a page."""
    form = context.request.get("/login/").text()
    token = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', form)[0]
    values = {"csrfmiddlewaretoken": token, "login": email, "password": PASSWORD, "browser_time_zone": "UTC"}
    answer = context.request.post("/login/", form=values, max_redirects=0)
    assert answer.status == 302, f"{email} could not sign in."


def sign_in(page: Any, email: str, *, leads_to: Any = lambda url: "/login/" not in url) -> None:
    """Fills in the sign-in form on the current page."""
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url(leads_to)
