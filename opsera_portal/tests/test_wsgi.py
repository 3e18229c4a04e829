"""The web server loads modules before it listens."""

import pytest

from core.tests.test_setting_readers import start


@pytest.mark.slow
def test_views_are_loaded_before_the_first_request(tmp_path):
    code = "import sys, opsera_portal.wsgi; print('opsera_portal.urls' in sys.modules)"

    # WhiteNoise warns if static files are missing, and another test may be collecting them.
    outcome = start(tmp_path, "-W", "ignore:No directory at", "-c", code)

    assert (outcome.stdout, outcome.stderr) == ("True\n", "")
