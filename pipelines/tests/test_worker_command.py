"""The worker as the process that it is. It shares this test's database, and has a data directory of its own."""

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import threading
from datetime import timedelta
from urllib.parse import urlsplit, urlunsplit

import pytest
import time_machine
from django.conf import settings as portal_settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from django_tasks import default_task_backend

from accounts.tests.factories import UserFactory
from pipelines.management.commands.worker import Command
from pipelines.models import RunLogLine
from pipelines.run_states import RunEvent
from pipelines.services import resume_pipeline, start_run
from pipelines.tests.conftest import PATIENCE
from pipelines.tests.factories import PipelineFactory, StepFactory
from pipelines.tests.stages import state_of, steps_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.integration]


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

    def start(*options, **environment):
        environment = (
            os.environ
            | {
                "DJANGO_SETTINGS_MODULE": "opsera_portal.settings",
                "PORTAL_DATA_DIR": str(tmp_path),
                "DATABASE_URL": _url_of_test_database(),
                "HTTP_STEP_ALLOWED_NETWORKS": "127.0.0.0/8",
            }
            | environment
        )
        manage = str(portal_settings.BASE_DIR / "manage.py")
        command = [sys.executable, manage, "worker", "--interval", "0.05", *options]
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


def test_run_requested_while_the_worker_waits_is_executed(pipeline, start_worker, build_server, settings):
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


@pytest.mark.each_database
def test_kill_9_in_a_step_marks_the_run_failed_and_queued_runs_continue(pipeline, start_worker, build_server):
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


@pytest.fixture
def portals_queue(settings):
    """The queue of the portal, in place of the one that the other tests do without."""
    settings.TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": ["default"]}}


def kill(worker):
    worker.kill()
    worker.wait(timeout=PATIENCE)


@pytest.mark.each_database
def test_run_killed_in_a_step_resumes_after_it_and_calls_the_step_once(
    pipeline, start_worker, build_server, portals_queue
):
    build_server.held_path = "/build"
    run = ask(pipeline)
    first = start_worker()
    build_server.next_calls("/build")
    kill(first)

    # The next worker knows from the lock of the data directory that the first is gone, and waits for no lease.
    build_server.held_path = None
    other = StepFactory(pipeline__owner=pipeline.owner, url=f"{build_server.url}/other").pipeline
    ask(other)
    second = start_worker()
    build_server.next_calls("/other")
    after_kill = state_of(run), steps_of(run)
    resume_pipeline(actor=pipeline.owner, pipeline=pipeline)
    build_server.next_calls("/test")
    stop(second)

    assert after_kill == ("halted failed", "failed waiting")
    assert (state_of(run), steps_of(run)) == ("finished success", "failed success")
    assert build_server.called == ["/build", "/other", "/test"]


@pytest.mark.each_database
def test_kill_9_between_two_steps_lets_the_run_continue_by_itself(pipeline, start_worker, build_server):
    build_server.held_path = "/build"
    run = ask(pipeline)
    first = start_worker()
    build_server.next_calls("/build")
    kill(first)
    # As if the step's end had been written just before.
    run.step_runs.filter(position=1).update(state="success")

    second = start_worker()
    build_server.next_calls("/test")
    stop(second)

    assert (state_of(run), steps_of(run)) == ("finished success", "success success")
    assert build_server.called == ["/build", "/test"]


def test_sigterm_releases_the_run_between_two_steps_and_the_next_worker_continues(pipeline, start_worker, build_server):
    build_server.held_path = "/build"
    run = ask(pipeline)
    first = start_worker("--threads", "1")
    build_server.next_calls("/build")
    first.send_signal(signal.SIGTERM)
    build_server.let_go.set()
    first.communicate(timeout=PATIENCE)
    between = state_of(run), steps_of(run)

    second = start_worker()
    build_server.next_calls("/test")
    stop(second)

    assert (first.returncode, between) == (0, ("continuing", "success waiting"))
    assert (state_of(run), steps_of(run)) == ("finished success", "success success")
    assert build_server.called == ["/build", "/test"]


@pytest.mark.each_database
def test_two_pipelines_run_side_by_side(pipeline, start_worker, build_server):
    other = PipelineFactory(owner=pipeline.owner)
    StepFactory(pipeline=other, position=1, url=f"{build_server.url}/build")
    build_server.held_path = "/build"
    runs = [ask(pipeline), ask(other)]

    worker = start_worker("--threads", "2")
    # Both are in the server's hands before it answers to one.
    build_server.next_calls("/build", "/build")
    build_server.let_go.set()
    build_server.next_calls("/test")
    stop(worker)

    assert [state_of(run) for run in runs] == ["finished success"] * 2


@pytest.mark.each_database
def test_a_database_that_is_away_is_waited_for(pipeline, start_worker, build_server):
    if connection.vendor == "sqlite":
        pytest.skip("A file is not away.")
    with socket.socket() as relay:
        relay.bind(("127.0.0.1", 0))
        address = urlsplit(_url_of_test_database())
        through_relay = address._replace(netloc=f"{address.username}@127.0.0.1:{relay.getsockname()[1]}")
        run = ask(pipeline)
        worker = start_worker(DATABASE_URL=urlunsplit(through_relay))
        assert "Connection refused" in worker.stderr.readline()

        relay.listen()
        threading.Thread(target=_let_in, args=[relay, (address.hostname, address.port or 5432)], daemon=True).start()
        build_server.next_calls("/build", "/test")
        stop(worker)

    assert state_of(run) == "finished success"


def _let_in(relay, database):
    """Passes on what comes, to the database and back, until the relay is closed."""

    def pass_on(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    with contextlib.suppress(OSError):
        while True:
            guest, _ = relay.accept()
            inside = socket.create_connection(database)
            for pair in ((guest, inside), (inside, guest)):
                threading.Thread(target=pass_on, args=pair, daemon=True).start()


@pytest.mark.parametrize("threads", ["0", "-1", "many", "1.5"])
def test_a_number_of_threads_that_is_none_is_refused(threads):
    with pytest.raises(CommandError, match="whole number from 1"):
        call_command("worker", f"--threads={threads}")


# What the worker looks for from time to time


@pytest.fixture
def took_up():
    """Looks around as the worker does every ten seconds; returns the pipelines of which it told the queue."""

    def look():
        default_task_backend.clear()
        Command(stdout=io.StringIO())._take_up()
        return [result.args for result in default_task_backend.results]

    return look


@pytest.mark.each_database
def test_a_run_whose_message_was_lost_is_found(pipeline, took_up):
    ask(pipeline)

    assert took_up() == [[str(pipeline.pk)]]


def test_while_messages_wait_the_worker_adds_none_of_its_own(pipeline, took_up, portals_queue, settings):
    ask(pipeline)
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}

    assert took_up() == []


@pytest.mark.each_database
def test_a_run_whose_worker_is_gone_on_another_machine_is_found_when_its_lease_has_run_out(pipeline, took_up):
    run = ask(pipeline)
    run.move(RunEvent.TAKEN, worker="elsewhere", lease_ends_at=timezone.now() + timedelta(seconds=30))
    assert took_up() == []

    with time_machine.travel(timezone.now() + timedelta(seconds=31), tick=True):
        assert took_up() == [[str(pipeline.pk)]]
    assert state_of(run) == "continuing"
