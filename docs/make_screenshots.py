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

from opsera_portal.tests import portal as started  # noqa: E402
from opsera_portal.tests.browser import Chromium  # noqa: E402


def main() -> None:
    chromium = Chromium()
    with tempfile.TemporaryDirectory() as directory:
        portal = started.start(Path(directory))
        try:
            look = {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"}
            page = chromium.signed_in(portal, "user@demo.example", **look).new_page()
            page.goto("/profile/tokens/")
            page.screenshot(path=ROOT / "docs" / "tokens-page.png", full_page=True)
        finally:
            chromium.stop()
            portal.stop()
    print("Wrote docs/tokens-page.png.")


if __name__ == "__main__":
    main()
