"""Creates the screenshot in README.md: starts the portal with its demo, signs in and opens the tokens page."""

import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ["DJANGO_SETTINGS_MODULE"] = "opsera_portal.settings_test"

import django  # noqa: E402

django.setup()

from playwright.sync_api import sync_playwright  # noqa: E402

from opsera_portal.tests import portal as started  # noqa: E402


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, sync_playwright() as playwright:
        portal = started.start(Path(directory))
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        try:
            page = browser.new_page(base_url=portal.url, viewport={"width": 1280, "height": 800}, color_scheme="light")
            page.goto("/login/?next=/profile/tokens/")
            page.get_by_label("E-mail address").fill("user@demo.example")
            page.get_by_label("Password").fill(started.PASSWORD)
            page.get_by_role("button", name="Sign in", exact=True).click()
            page.wait_for_url("**/profile/tokens/")
            page.screenshot(path=ROOT / "docs" / "tokens-page.png", full_page=True)
        finally:
            browser.close()
            portal.stop()
    print("Wrote docs/tokens-page.png.")


if __name__ == "__main__":
    main()
