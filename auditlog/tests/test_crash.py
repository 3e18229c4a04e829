"""kill -9 under load: what was answered has its entry, every change too, and what was sealed is proven and counted."""

import pytest

from auditlog.tests.crash import crash
from opsera_portal.tests import portal

pytestmark = pytest.mark.integration


@pytest.fixture
def database_url(tmp_path):
    url = portal.make_database(f"crash{tmp_path.parent.name}")
    yield url
    portal.drop_database(url)


def test_nothing_that_was_answered_is_missing_after_a_kill(tmp_path, database_url):
    found = crash(tmp_path, kills=2, port=portal.free_port(), database_url=database_url)

    assert found.is_kept, found
    assert found.answered > 30
    assert found.changes > 10
    assert found.blocks > 2
