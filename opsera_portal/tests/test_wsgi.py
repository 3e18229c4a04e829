"""What the web server loads, before it listens."""

from core.tests.test_environment import start


def test_the_views_are_loaded_before_the_first_request(tmp_path):
    code = "import sys, opsera_portal.wsgi; print('opsera_portal.urls' in sys.modules)"

    outcome = start(tmp_path, "-c", code)

    assert (outcome.stdout, outcome.stderr) == ("True\n", "")
