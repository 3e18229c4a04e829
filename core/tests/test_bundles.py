"""Bundles of stylesheets and scripts are complete and in order, and a page loads few of them."""

import os
import re
import time
from datetime import UTC, datetime

import pytest
from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from rcssmin import cssmin

from core.pages.bundles import BundleStorage

ASSETS = settings.BASE_DIR / "assets"
CSS, JS = "css/portal.css", "js/portal.js"


def test_each_file_of_assets_is_in_a_bundle_and_in_none_twice():
    files = {str(path.relative_to(ASSETS)) for path in ASSETS.rglob("*") if path.is_file()}
    bundles = settings.STATIC_BUNDLES.values()

    assert {part for parts in bundles for part in parts} == files
    assert all(len(set(parts)) == len(parts) for parts in bundles)


def test_bundle_has_its_parts_in_order():
    text = BundleStorage().open(CSS).read().decode()

    parts = [(ASSETS / part).read_text() for part in settings.STATIC_BUNDLES[CSS]]
    places = [text.index(cssmin(part)) for part in parts]
    assert places == sorted(places)
    assert BundleStorage().size(CSS) == len(text.encode()) < 0.85 * sum(map(len, parts))


def test_each_script_of_a_bundle_has_its_own_function():
    text = BundleStorage().open(JS).read().decode()

    assert text.count("(() => {\n/*") == text.count("\n})();") == len(settings.STATIC_BUNDLES[JS])


def test_collectstatic_collects_bundles_instead_of_parts(settings, tmp_path):
    settings.STATIC_ROOT = tmp_path
    call_command("collectstatic", interactive=False, verbosity=0)

    assert (tmp_path / CSS).read_bytes() == BundleStorage().open(CSS).read()
    assert not (tmp_path / "css/base.css").exists()


def test_modified_time_of_a_bundle_follows_its_parts_and_their_list(settings, tmp_path):
    settings.BASE_DIR = tmp_path
    settings.STATIC_BUNDLES = {CSS: ["css/one.css"]}
    part = tmp_path / "assets/css/one.css"
    part.parent.mkdir(parents=True)
    part.write_text("a {}")
    later = time.time() + 60
    os.utime(part, (later, later))

    assert BundleStorage().get_modified_time(CSS) == datetime.fromtimestamp(later, UTC)
    os.utime(part, (0, 0))
    assert BundleStorage().get_modified_time(CSS).year > 2020


def test_bundle_does_not_exist_as_a_file_before_it_is_collected():
    assert [finder.find(CSS) for finder in get_finders()] == [[], [], []]


def test_no_page_of_the_portal_names_another_stylesheet():
    """Django admin has its own."""
    templates = settings.BASE_DIR / "templates"
    named = {
        str(path.relative_to(templates)): name
        for path in templates.rglob("*.html")
        for name in re.findall(r'{% static "(css/[^"]+)" %}', path.read_text())
    }

    assert named == {"includes/stylesheets.html": CSS, "admin/base_site.html": "css/admin.css"}


@pytest.mark.parametrize(
    "path", ["/", "/profile/tokens/", "/organization/access-review/", "/api/docs/", "/login/", "/nothing-here/"]
)
def test_page_loads_one_stylesheet_and_at_most_three_scripts(client, administrator, path):
    if path != "/login/":
        client.force_login(administrator)

    page = client.get(path).content.decode()

    assert re.findall(r'<link rel="stylesheet" href="([^"]+)"', page) == [f"/static/{CSS}"]
    assert len(re.findall(r"<script [^>]*src=", page)) <= 3
