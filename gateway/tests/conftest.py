"""The started portal of the tests with real proxies and with the samples of the service's page."""

import pytest

from gateway.tests import running_portal


@pytest.fixture(scope="session")
def running(tmp_path_factory):
    with running_portal.started_in(tmp_path_factory.mktemp("services")) as found:
        yield found
