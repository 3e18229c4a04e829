"""The six pages of the story look like their accepted pictures (opsera_portal/tests/pictures.py).

To accept a change, run `make screenshots PARTS=accepted`, and look at the new pictures before you commit them.
"""

import pytest
from django.conf import settings

from opsera_portal.tests import pictures

pytestmark = [pytest.mark.browser, pytest.mark.once]

# Not in git.
TAKEN = settings.BASE_DIR / "build" / "pictures"


@pytest.fixture(scope="module")
def taken(chromium, portal):
    pictures.create_in(portal)
    return pictures.take(chromium, portal)


@pytest.fixture(scope="module")
def canvas(chromium):
    with chromium.new_context() as context:
        yield context.new_page()


@pytest.mark.parametrize("name", pictures.STORY)
def test_page_looks_like_its_accepted_picture(taken, canvas, name):
    accepted = pictures.accepted_path(name).read_bytes()
    assert len(accepted) < 40_000, "The accepted picture is too large for the repository."
    share = pictures.difference(canvas, accepted, taken[name])

    if share > pictures.TOLERANCE:
        TAKEN.mkdir(parents=True, exist_ok=True)
        (TAKEN / f"{name}.png").write_bytes(taken[name])
    assert share <= pictures.TOLERANCE, f"{share:.1%} differs: compare {TAKEN}/{name}.png with the accepted picture"


# What a person would notice, and what depends on the machine.
CHANGES = {
    "primary button without its color": ".button.primary { background: white !important; color: black !important }",
    "missing tabs": ".tabs { visibility: hidden }",
    "another accent color": ":root { --accent: #3b4fa0 !important }",
}
NOISE = {
    "page a pixel further down": "body { padding-top: 1px }",
    "other checkboxes": "input { appearance: auto !important }",
}


@pytest.fixture(scope="module")
def tokens_page(chromium, portal, taken):
    with pictures.open_page(chromium, portal) as page:
        pictures.open_frozen(page, "tokens")
        yield page


@pytest.fixture(scope="module")
def small_tokens_page(tokens_page, canvas):
    """Taken again, because `taken` has created a token since then."""
    return pictures.small(canvas, pictures.picture_of(tokens_page))


@pytest.mark.parametrize("change", [*CHANGES, *NOISE])
def test_noticeable_change_is_found_and_noise_is_not(tokens_page, small_tokens_page, canvas, change):
    changed = tokens_page.add_style_tag(content={**CHANGES, **NOISE}[change])
    share = pictures.difference(canvas, small_tokens_page, pictures.picture_of(tokens_page))
    changed.evaluate("style => style.remove()")

    assert (share > pictures.TOLERANCE) == (change in CHANGES), f"{share:.2%}"
