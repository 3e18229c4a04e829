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


@pytest.fixture
def canvas(chromium):
    with chromium.new_context() as context:
        yield context.new_page()


@pytest.mark.parametrize("name", pictures.STORY)
def test_page_looks_like_its_accepted_picture(taken, canvas, name):
    share = pictures.difference(canvas, pictures.accepted_path(name).read_bytes(), taken[name])

    if share > pictures.TOLERANCE:
        TAKEN.mkdir(parents=True, exist_ok=True)
        (TAKEN / f"{name}.png").write_bytes(taken[name])
    assert share <= pictures.TOLERANCE, f"{share:.1%} differs: compare {TAKEN}/{name}.png with the accepted picture"


def test_accepted_pictures_are_small():
    for name in pictures.STORY:
        assert pictures.accepted_path(name).stat().st_size < 40_000


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
def small_tokens_page(chromium, portal, taken):
    """Taken again, because `taken` has created a token since then."""
    with chromium.new_context() as context:
        return pictures.small(context.new_page(), pictures.take(chromium, portal, ["tokens"])["tokens"])


@pytest.mark.parametrize("change", [*CHANGES, *NOISE])
def test_noticeable_change_is_found_and_noise_is_not(chromium, portal, small_tokens_page, canvas, change):
    changed = pictures.take(chromium, portal, ["tokens"], change={**CHANGES, **NOISE}[change])["tokens"]
    share = pictures.difference(canvas, small_tokens_page, changed)

    assert (share > pictures.TOLERANCE) == (change in CHANGES), f"{share:.2%}"
