"""The worker as the process that it is. It shares this test's database, and has a data directory of its own."""

import os
import signal
import subprocess
import sys
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.conf import settings as portal_settings
from django.db import connection

from accounts.tests.factories import UserFactory
from pipelines.models import RunLogLine
from pipelines.services import start_run
from pipelines.tests.conftest import PATIENCE
from pipelines.tests.factories import PipelineFactory, StepFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def pipeline(build_server):
    pipeline = PipelineFactory(owner=UserFactory())
    for position, path in enumerate(("/build", "/test"), start=1):
        StepFactory(pipeline=pipeline, position=position, name=path, url=build_server.url + path)
    return pipeline


def ask(pipeline):
    return start_run(actor=pipeline.owner, pipeline=pipeline)


@pytest.fixture
def start_worker(tmp_path):
    started = []

    def start():
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "opsera_portal.settings",
            "PORTAL_DATA_DIR": str(tmp_path),
            "DATABASE_URL": _url_of_test_database(),
            "HTTP_STEP_ALLOWED_NETWORKS": "127.0.0.0/8",
        }
        command = [sys.executable, str(portal_settings.BASE_DIR / "manage.py"), "worker", "--interval", "0.05"]
        worker = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.kill()
        worker.communicate()


def _url_of_test_database():
    name = connection.settings_dict["NAME"]
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))


def stop(worker):
    """Ends the worker as an init system does. Returns its exit code and what it said."""
    worker.send_signal(signal.SIGTERM)
    said = worker.communicate(timeout=PATIENCE)
    return worker.returncode, "".join(said)


def status(run):
    run.refresh_from_db()
    return run.status


def test_a_queued_run_is_executed(pipeline, start_worker, build_server):
    run = ask(pipeline)

    worker = start_worker()
    build_server.next_calls("/build", "/test")
    stop(worker)

    assert status(run) == "success"


def test_sigterm_lets_the_step_on_its_way_end_and_ends_cleanly(pipeline, start_worker, build_server):
    build_server.held_path = "/test"
    run = ask(pipeline)
    worker = start_worker()
    build_server.next_calls("/build", "/test")

    worker.send_signal(signal.SIGTERM)
    build_server.let_go.set()
    worker.communicate(timeout=PATIENCE)

    assert worker.returncode == 0
    assert status(run) == "success"


def test_a_run_that_is_asked_for_while_the_worker_waits_is_executed(pipeline, start_worker, build_server, settings):
    # The queue of the portal, in place of the one that the other tests do without.
    settings.TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": ["default"]}}
    other = StepFactory(pipeline__owner=pipeline.owner, url=f"{build_server.url}/other").pipeline
    ask(pipeline)
    worker = start_worker()
    build_server.next_calls("/build", "/test")

    run = ask(other)
    build_server.next_calls("/other")

    assert stop(worker)[0] == 0
    assert status(run) == "success"


def test_a_second_worker_on_the_same_data_directory_is_refused_in_one_line(pipeline, start_worker, build_server):
    build_server.held_path = "/build"
    ask(pipeline)
    start_worker()
    build_server.next_calls("/build")

    second = start_worker()
    said, complaint = second.communicate(timeout=PATIENCE)

    assert second.returncode == 1
    assert (said, complaint) == ("", "CommandError: Another worker runs already with this data directory.\n")
    assert build_server.called == ["/build"]


def test_after_kill_9_in_a_step_the_run_is_marked_failed_and_queued_ones_go_on(pipeline, start_worker, build_server):
    build_server.held_path = "/build"
    interrupted, waiting = ask(pipeline), ask(pipeline)
    first = start_worker()
    build_server.next_calls("/build")
    first.kill()
    first.wait(timeout=PATIENCE)
    assert (status(interrupted), status(waiting)) == ("running", "queued")

    build_server.held_path = None
    second = start_worker()
    build_server.next_calls("/build", "/test")
    code, said = stop(second)

    assert (status(interrupted), status(waiting)) == ("failed", "success")
    assert list(interrupted.step_runs.values_list("state", flat=True)) == ["failed", "skipped"]
    assert (
        "The worker was lost in the middle of this step" in RunLogLine.objects.filter(run=interrupted).first().message
    )
    assert build_server.called == ["/build", "/build", "/test"]
    assert code == 0
    assert "Marked 1 interrupted run as failed." in said
