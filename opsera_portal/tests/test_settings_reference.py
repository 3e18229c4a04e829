"""No other module reads the environment, and each documented default has the effect of no value."""

import os
import re
import runpy

import pytest
from django.conf import settings

from opsera_portal.environment import Environment

pytestmark = pytest.mark.once

# Other variables of single sign-on require these.
SINGLE_SIGN_ON = {"OIDC_ISSUER": "https://id.example.com", "OIDC_CLIENT_ID": "portal", "OIDC_CLIENT_SECRET": "secret"}
NAMES = set(Environment.model_fields)
DEFAULTS = {name: field.default for name, field in Environment.model_fields.items() if field.default}
DEFAULTS["OIDC_EMAIL_VERIFIED"] = "required"
DEFAULTS.pop("GRANIAN_WORKERS")  # for the web server, which reads it itself
READ = re.compile(r"os\.environ|getenv|getproxies")


def settings_from(monkeypatch, environment):
    """Returns every setting that the portal computes from this environment."""
    monkeypatch.setattr(os, "environ", environment)
    found = runpy.run_path(str(settings.BASE_DIR / "opsera_portal" / "settings.py"))
    return {name: repr(value) for name, value in found.items() if name.isupper()}


def test_no_other_module_of_the_settings_reads_the_environment():
    portal, core = settings.BASE_DIR / "opsera_portal", settings.BASE_DIR / "core"
    modules = [portal / "settings.py", portal / "environment.py", *core.glob("*.py")]

    # This file reads the proxies of HTTP steps.
    assert [path for path in modules if READ.search(path.read_text())] == [core / "setting_readers.py"]


@pytest.mark.parametrize(("name", "default"), DEFAULTS.items())
def test_default_has_the_effect_of_no_value(monkeypatch, tmp_path, name, default):
    environment = {"PORTAL_DATA_DIR": str(tmp_path), **SINGLE_SIGN_ON}
    without = settings_from(monkeypatch, environment)

    assert settings_from(monkeypatch, environment | {name: default}) == without


def test_repr_shows_no_values_of_variables():
    assert repr(Environment()) == "Environment()"


def test_every_variable_of_the_example_is_listed():
    example = (settings.BASE_DIR / "deploy" / "portal.env.example").read_text()

    named = set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE))

    assert "PORTAL_URL" in named
    assert named - NAMES == set()
