"""Takes pictures of the portal with its demo, in a portal that it starts and throws away.

    python docs/make_screenshots.py [PART ...]

- ``gallery``: every page in every state (opsera_portal/tests/page_states.py), light and dark, wide and narrow, with
  build/gallery/index.html to look through them;
- ``many``: the same for pages with many rows and with names that are hard to show (`demo --many`), in
  build/gallery/many/index.html;
- ``story``: the pictures in docs/pictures/ that README.md and docs/quality.md show;
- ``accepted``: what opsera_portal/tests/test_pictures_in_browser.py compares pages with. Look at them before you commit
  them.

Without arguments it takes all of them.
"""

import argparse
import base64
import html
import os
import shutil
import sys
import tempfile
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ["DJANGO_SETTINGS_MODULE"] = "opsera_portal.settings_test"

import django  # noqa: E402

django.setup()

from accounts.tests.openid import running_provider  # noqa: E402
from opsera_portal.tests import page_states, pictures  # noqa: E402
from opsera_portal.tests import portal as started  # noqa: E402
from opsera_portal.tests.browser import Chromium  # noqa: E402

GALLERY = ROOT / "build" / "gallery"
STORY = ROOT / "docs" / "pictures"
LOOKS = [(theme, width) for width in (1280, 360) for theme in ("light", "dark")]
HEIGHT = 800
# Of a picture in the documents. A long table looks the same further down.
MOST_PIXELS_HIGH = 1000
QUALITY = 75
# Most readers see these pictures smaller than they are, so their letters should be sharp.
STORY_QUALITY = 82


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all, if none is named")
    parts = parser.parse_args().parts or list(PARTS)
    if unknown := set(parts) - PARTS.keys():
        parser.error(f"There is no such part: {', '.join(sorted(unknown))}")
    chromium = Chromium()
    with running_provider() as provider, tempfile.TemporaryDirectory() as directory:
        portal = started.start(Path(directory), **provider.variables)
        try:
            # The gallery changes the demo, and the many rows change it more, so they come last.
            for part in sorted(parts, key=list(PARTS).index):
                PARTS[part](chromium, portal)
        finally:
            chromium.stop()
            portal.stop()


def picture(page, *, quality, most_pixels_high=None):
    """The whole page as WebP, which Playwright itself can't write. Of a page with a dialog, only what is visible."""
    devtools = page.context.new_cdp_session(page)
    options = {"format": "webp", "quality": quality}
    if not page.locator("dialog[open]").count():
        width, height = page.evaluate("[innerWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": min(height, most_pixels_high or height), "scale": 1}
        options |= {"captureBeyondViewport": True, "clip": clip}
    taken = base64.b64decode(devtools.send("Page.captureScreenshot", options)["data"])
    devtools.detach()
    return taken


def context_of(chromium, portal, login, **look):
    if login:
        return chromium.signed_in(portal, page_states.address_of(login), **look)
    return chromium.new_context(base_url=portal.url, **look)


# The story


def tokens_form(page, links):
    page.goto("/profile/tokens/")
    page.locator("#id_name").fill("nightly build")
    page.locator("input[name=lifetime][value='1w']").check()
    page.locator("input[name=scopes][value=pipeline]").check()
    page.locator("#name-check:not(:empty)").wait_for()
    page.locator("h1").click()


def new_token(page, links):
    """The token is real, but its portal is thrown away."""
    tokens_form(page, links)
    page.locator("#create-token").click()
    page.wait_for_url("**/reveal/", wait_until="load")
    page.locator("pre code").first.evaluate("code => { code.textContent = code.textContent.replace(/:\\d+/, ':8000') }")


# File, person and page.
PICTURES = [
    ("overview", "user", page_states.at("/")),
    ("tokens", "user", tokens_form),
    ("new-token", "user", new_token),
    ("token", "user", page_states.below("/profile/tokens/", "Status dashboard")),
    ("authentication-log", "user", page_states.at("/profile/authentication-log/")),
    ("run", "power", page_states.below("/pipelines/", page_states.PRODUCTION, "runs/1/")),
]


def take_story(chromium, portal):
    page_states.wait_for_runs(chromium, portal)
    STORY.mkdir(exist_ok=True)
    for name, login, opens in PICTURES:
        look = {"viewport": {"width": 1280, "height": HEIGHT}, "color_scheme": "light"}
        with context_of(chromium, portal, login, **look) as context:
            page = context.new_page()
            opens(page, {})
            path = STORY / f"{name}.webp"
            path.write_bytes(picture(page, quality=STORY_QUALITY, most_pixels_high=MOST_PIXELS_HIGH))
            print(f"Wrote {path.relative_to(ROOT)} ({path.stat().st_size // 1024} KiB).")


def take_accepted(chromium, portal):
    pictures.create_in(portal)
    taken = pictures.take(chromium, portal)
    with chromium.new_context() as context:
        canvas = context.new_page()
        for name, full in taken.items():
            path = pictures.accepted_path(name)
            if path.exists() and pictures.difference(canvas, path.read_bytes(), full) == 0:
                print(f"{path.relative_to(ROOT)} is the same.")
                continue
            path.write_bytes(pictures.small(canvas, full))
            print(f"Wrote {path.relative_to(ROOT)} ({path.stat().st_size // 1024} KiB).")


# The gallery


def take_gallery(chromium, portal):
    links = page_states.prepare(chromium, portal)
    take_pages(chromium, portal, page_states.STATES, links, GALLERY)


def take_many(chromium, portal):
    portal.add_many_rows()
    take_pages(chromium, portal, page_states.CROWDED_STATES, {}, GALLERY / "many")


def take_pages(chromium, portal, states, links, directory):
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    shown = []
    for number, state in enumerate(states):
        for login in state.people:
            prefix = directory / f"{number:03}-{login or 'nobody'}"
            shown.append((state, login, take_looks(chromium, portal, state, login, links, prefix)))
        print(state.label)
    (directory / "index.html").write_text(index_of(shown))
    print(f"Wrote {directory.relative_to(ROOT)}/index.html ({len(shown) * len(LOOKS)} pictures).")


def take_looks(chromium, portal, state, login, links, prefix):
    """Takes all pictures of a page, and returns the names of their files by look."""
    names = {}
    with context_of(chromium, portal, login, viewport={"width": 1280, "height": HEIGHT}) as context:
        page = context.new_page()
        page.set_default_timeout(15_000)
        state.open(page, links)
        for theme, width in LOOKS:
            page.emulate_media(color_scheme=theme)
            page.set_viewport_size({"width": width, "height": HEIGHT})
            # Colors fade from one theme to the other.
            page.evaluate("document.getAnimations().forEach((animation) => animation.finish())")
            path = prefix.with_name(f"{prefix.name}-{width}-{theme}.webp")
            path.write_bytes(picture(page, quality=QUALITY))
            names[theme, width] = path.name
    return names


INDEX = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Pages of the Opsera Portal</title>
<style>
  :root {{ color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }}
  body {{ margin: 2rem; }}
  nav a {{ margin-right: 1rem; }}
  .state {{ display: flex; flex-wrap: wrap; gap: 1rem; align-items: start; margin-bottom: 2rem; }}
  .state h3 {{ flex-basis: 100%; margin: 0; font-size: 1rem; font-weight: 600; }}
  figure {{ margin: 0; }}
  img {{ display: block; border: 1px solid gray; object-fit: cover; object-position: top; }}
  img {{ height: 240px; width: 384px; }}
  img.narrow {{ width: 120px; }}
  figcaption {{ font-size: 13px; }}
</style>
<h1>Pages of the Opsera Portal</h1>
<nav>{navigation}</nav>
{groups}
</html>
"""


def index_of(shown):
    navigation, groups = [], []
    for group, states in groupby(shown, key=lambda one: one[0].group):
        anchor = group.lower().replace(" ", "-")
        navigation.append(f'<a href="#{anchor}">{html.escape(group)}</a>')
        groups.append(f'<h2 id="{anchor}">{html.escape(group)}</h2>')
        groups += [section_of(state, login, names) for state, login, names in states]
    return INDEX.format(navigation="\n".join(navigation), groups="\n".join(groups))


def section_of(state, login, names):
    title = html.escape(f"{state.name}, as {login or 'nobody'}")
    figures = [
        f'<figure><a href="{name}"><img class="{"narrow" if width < 500 else "wide"}" src="{name}" loading="lazy" '
        f'alt="{title}, {theme}, {width} pixels"></a><figcaption>{theme}, {width}</figcaption></figure>'
        for (theme, width), name in names.items()
    ]
    return f'<section class="state"><h3>{title}</h3>{"".join(figures)}</section>'


PARTS = {"accepted": take_accepted, "story": take_story, "gallery": take_gallery, "many": take_many}


if __name__ == "__main__":
    main()
