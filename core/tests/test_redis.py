"""Cache and queue in Redis. Skipped if no Redis answers on its default local port."""

import http.client
import json
import signal
import sys
import time

import pytest
from django_tasks_db.models import DBTaskResult

from auditlog.tests.crash import environment_of, kill, prepare_in, start_web, wait_until_it_answers
from opsera_portal.tests import databases, portal

pytestmark = pytest.mark.integration


@pytest.fixture
def environment(tmp_path):
    if not portal.answers(6379):
        pytest.skip("nothing answers on 127.0.0.1:6379, where Redis would be")
    database_url = portal.make_database(f"redis{tmp_path.parent.name}")
    yield environment_of(tmp_path, portal.free_port(), database_url) | {"REDIS_URL": "redis://127.0.0.1:6379/9"}
    portal.drop_database(database_url)


@pytest.fixture
def start(environment):
    started = []

    def start(command):
        started.append(start_web(command, environment))
        return started[-1]

    yield start
    kill(*started)


def test_worker_executes_runs_that_web_has_queued_in_redis(environment, start, tmp_path):
    prepared, web_command = prepare_in(environment)
    port = int(environment["PORTAL_PORT"])
    with databases.one_at_a_time("static-files"):
        web = start(web_command)
        wait_until_it_answers(port)
    request_run(port, prepared)
    reader = portal.Portal("", tmp_path / "data", environment.get("DATABASE_URL", ""), tmp_path / "output", web)
    assert run_states(reader) == {"queued"}

    worker = start([sys.executable, "manage.py", "worker"])

    deadline = time.monotonic() + 30
    while (states := run_states(reader)) != {"finished"}:
        assert time.monotonic() < deadline, states
        time.sleep(0.1)
    assert not [value for table, value in reader.rows() if table == DBTaskResult._meta.db_table]
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=30) == 0


def request_run(port, prepared):
    caller = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Authorization": f"Bearer {prepared['token']}", "Content-Type": "application/json"}
    caller.request("POST", "/api/v1/pipeline/run", json.dumps({"pipelineId": prepared["pipeline"]}), headers)
    assert caller.getresponse().status == 200
    caller.close()


def run_states(reader):
    return {
        value
        for table, value in reader.rows()
        if table == "pipelines_run" and value in {"queued", "running", "finished"}
    }
