"""Modules that the web server loads before it listens."""

import pytest

from core.tests.test_setting_readers import start


@pytest.mark.slow
def test_views_are_loaded_before_the_first_request(tmp_path):
    code = "import sys, opsera_portal.wsgi; print('opsera_portal.urls' in sys.modules)"

    # Without static files, which another test may collect at this moment, WhiteNoise warns.
    outcome = start(tmp_path, "-W", "ignore:No directory at", "-c", code)

    assert (outcome.stdout, outcome.stderr) == ("True\n", "")
