"""docs/settings.md against the code: the variables that are read, and what leaving one out means."""

import os
import re
import runpy

import pytest
from django.conf import settings

from opsera_portal.settings_reference import VARIABLES

pytestmark = pytest.mark.once

# For the web server, which reads it itself.
OF_THE_SERVER = {"GRANIAN_WORKERS"}
NAMES = {variable.name for variable in VARIABLES}
# Without these, a variable of single sign-on alone stops the start.
SINGLE_SIGN_ON = {"OIDC_ISSUER": "https://id.example.com", "OIDC_CLIENT_ID": "portal", "OIDC_CLIENT_SECRET": "secret"}
WITH_DEFAULT = [variable for variable in VARIABLES if variable.default and variable.name not in OF_THE_SERVER]


class Recorder(dict):
    """An environment that remembers which variables were read."""

    def __init__(self, *args):
        super().__init__(*args)
        self.names = set()

    def get(self, name, default=None):
        self.names.add(name)
        return super().get(name, default)

    def __getitem__(self, name):
        self.names.add(name)
        return super().__getitem__(name)

    def __contains__(self, name):
        self.names.add(name)
        return super().__contains__(name)


def settings_from(monkeypatch, environment):
    """Every setting as the portal computes it from this environment."""
    monkeypatch.setattr(os, "environ", environment)
    found = runpy.run_path(str(settings.BASE_DIR / "opsera_portal" / "settings.py"))
    return {name: repr(value) for name, value in found.items() if name.isupper()}


def test_every_variable_that_is_read_is_listed_and_no_other(monkeypatch, tmp_path):
    recorder = Recorder({"PORTAL_DATA_DIR": str(tmp_path)})

    settings_from(monkeypatch, recorder)

    assert recorder.names | OF_THE_SERVER == NAMES


@pytest.mark.parametrize("variable", WITH_DEFAULT, ids=lambda variable: variable.name)
def test_default_means_the_same_as_no_value(monkeypatch, tmp_path, variable):
    environment = {"PORTAL_DATA_DIR": str(tmp_path), **SINGLE_SIGN_ON}
    without = settings_from(monkeypatch, environment)

    assert settings_from(monkeypatch, environment | {variable.name: variable.default}) == without


def test_every_variable_of_the_example_is_listed():
    example = (settings.BASE_DIR / "deploy" / "portal.env.example").read_text()

    named = set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE))

    assert "PORTAL_URL" in named
    assert named - NAMES == set()


def test_every_variable_is_listed_once():
    assert len(NAMES) == len(VARIABLES)
