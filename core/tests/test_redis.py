"""Cache and queue through Redis instead of the database, where one answers on its usual local port."""

import time

import pytest
from django_tasks_db.models import DBTaskResult

from opsera_portal.tests import portal as started

pytestmark = pytest.mark.integration


@pytest.fixture
def portal(tmp_path):
    if not started.answers(6379):
        pytest.skip("nothing answers on 127.0.0.1:6379, where Redis would be")
    running = started.start(tmp_path, REDIS_URL="redis://127.0.0.1:6379/9")
    yield running
    if running.process.poll() is None:
        running.stop()
    started.drop_database(running.database_url)


def test_worker_executes_runs_that_are_queued_in_redis(portal):
    deadline = time.monotonic() + 30
    while (states := run_states(portal)) != {"finished"}:
        assert time.monotonic() < deadline, states
        time.sleep(0.2)

    assert not [value for table, value in portal.rows() if table == DBTaskResult._meta.db_table]
    assert portal.stop() == 0


def run_states(portal):
    return {
        value
        for table, value in portal.rows()
        if table == "pipelines_run" and value in {"queued", "running", "finished"}
    }
