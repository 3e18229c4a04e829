"""Starts the worker as a process that uses the test's database and its own data directory.

A worker takes two seconds to start, so each test covers several runs with a few workers.
"""

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import threading
from datetime import timedelta
from types import SimpleNamespace
from urllib.parse import urlsplit, urlunsplit

import pytest
import time_machine
from django.conf import settings as portal_settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from accounts.tests.factories import UserFactory
from pipelines.management.commands.worker import Command
from pipelines.models import RunLogLine
from pipelines.run_states import RunEvent
from pipelines.services import resume_pipeline, start_run
from pipelines.tasks import execute_pipeline
from pipelines.tests.conftest import PATIENCE
from pipelines.tests.factories import PipelineFactory, StepFactory
from pipelines.tests.stages import state_of, steps_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.integration]


@pytest.fixture
def pipeline_of(build_server):
    """Creates a pipeline whose steps call these paths of the build server."""
    owner = UserFactory()

    def create(*paths):
        pipeline = PipelineFactory(owner=owner)
        for position, path in enumerate(paths, start=1):
            StepFactory(pipeline=pipeline, position=position, name=path, url=build_server.url + path)
        return pipeline

    return create


@pytest.fixture
def pipeline(pipeline_of):
    return pipeline_of("/build", "/test")


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
                # For `output_of`.
                "PYTHONFAULTHANDLER": "1",
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
    """Stops the worker as an init system does. Returns its exit code and output."""
    worker.send_signal(signal.SIGTERM)
    said = output_of(worker)
    return worker.returncode, said


def output_of(worker):
    """Waits for the end of the worker. If it does not end, the failure shows what its threads are doing."""
    try:
        return "".join(worker.communicate(timeout=PATIENCE))
    except subprocess.TimeoutExpired:
        worker.send_signal(signal.SIGABRT)
        said = "".join(worker.communicate())
    raise AssertionError(f"The worker did not end:\n{said}")


def status(run):
    run.refresh_from_db()
    return run.status


@pytest.fixture
def portals_queue(settings):
    """Returns a function that replaces the dummy queue of the tests by the queue of the portal."""

    def use():
        settings.TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": ["default"]}}

    return use


def call_at_once(build_server, *paths):
    """Waits until these paths were called, in any order."""
    assert sorted(build_server.next_call()[1] for _ in paths) == sorted(paths)


def test_steps_finish_on_sigterm_and_the_next_worker_continues(
    pipeline_of, start_worker, build_server, portals_queue, settings, tmp_path
):
    build_server.held_path = "/build"
    one_step, two_steps = pipeline_of("/build"), pipeline_of("/build", "/test")
    ends, continues = ask(one_step), ask(two_steps)
    first = start_worker("--threads", "2")
    # Both runs are in a step at the same time: the server has not answered them yet.
    build_server.next_calls("/build", "/build")

    settings.DATA_DIR = tmp_path
    with pytest.raises(CommandError, match=r"^Another worker runs already with this data directory\.$"):
        call_command("worker")
    assert build_server.called == ["/build", "/build"]

    first.send_signal(signal.SIGTERM)
    build_server.let_go.set()
    output_of(first)
    assert first.returncode == 0
    assert (state_of(ends), steps_of(ends)) == ("finished success", "success")
    assert (state_of(continues), steps_of(continues)) == ("continuing", "success waiting")

    second = start_worker()
    build_server.next_calls("/test")
    # The worker now waits for messages.
    portals_queue()
    requested_later = ask(one_step)
    build_server.next_calls("/build")
    assert stop(second)[0] == 0
    assert (state_of(continues), steps_of(continues)) == ("finished success", "success success")
    assert state_of(requested_later) == "finished success"
    assert build_server.called == ["/build", "/build", "/test", "/build"]


@pytest.mark.each_database
def test_runs_in_a_step_fail_after_kill_9_and_other_runs_continue(
    pipeline_of, start_worker, build_server, portals_queue
):
    portals_queue()
    build_server.held_path = "/build"
    pipeline, between_steps, resumed = (pipeline_of("/build", path) for path in ("/test", "/continued", "/resumed"))
    in_step, waiting = ask(pipeline), ask(pipeline)
    in_step_too, between = ask(resumed), ask(between_steps)
    first = start_worker()
    build_server.next_calls("/build", "/build", "/build")
    first.kill()
    first.wait(timeout=PATIENCE)
    assert [status(run) for run in (in_step, waiting, in_step_too, between)] == ["running", "queued"] + ["running"] * 2
    # As if the end of the step had been saved just before.
    between.step_runs.filter(position=1).update(state="success")

    # The data directory is not locked: the first worker has ended, so the next ignores its leases.
    build_server.held_path = None
    second = start_worker()
    call_at_once(build_server, "/build", "/test", "/continued")
    after_kill = state_of(in_step_too), steps_of(in_step_too)
    resume_pipeline(actor=resumed.owner, pipeline=resumed)
    build_server.next_calls("/resumed")
    code, said = stop(second)

    assert code == 0
    assert "Marked 2 interrupted runs as failed." in said
    assert (status(in_step), steps_of(in_step)) == ("failed", "failed skipped")
    assert "The worker stopped in the middle of this step" in RunLogLine.objects.filter(run=in_step).first().message
    assert status(waiting) == "success"
    assert after_kill == ("halted failed", "failed waiting")
    assert (state_of(in_step_too), steps_of(in_step_too)) == ("finished success", "failed success")
    assert (state_of(between), steps_of(between)) == ("finished success", "success success")
    assert sorted(build_server.called) == ["/build"] * 4 + ["/continued", "/resumed", "/test"]


@pytest.mark.each_database
def test_worker_waits_for_an_unavailable_database(pipeline, start_worker, build_server):
    if connection.vendor == "sqlite":
        pytest.skip("A database file is always available.")
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
    """Relays connections to the database and back until the relay is closed."""

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
def test_invalid_number_of_threads_is_refused(threads):
    with pytest.raises(CommandError, match="whole number from 1"):
        call_command("worker", f"--threads={threads}")


# Periodic checks of the worker


@pytest.fixture
def took_up(monkeypatch):
    """Does the worker's check of every ten seconds; returns the arguments of the messages that it sent."""

    def look():
        sent = []
        messages = SimpleNamespace(enqueue=lambda *args: sent.append(list(args)))
        monkeypatch.setattr("pipelines.management.commands.worker.execute_pipeline", messages)
        Command(stdout=io.StringIO())._take_up()
        return sent

    return look


@pytest.mark.each_database
def test_run_whose_message_was_lost_is_found(pipeline, took_up):
    ask(pipeline)

    assert took_up() == [[str(pipeline.pk)]]


@pytest.mark.each_database
def test_worker_adds_no_second_message_about_a_pipeline(pipeline, took_up, portals_queue):
    portals_queue()
    execute_pipeline.enqueue(str(pipeline.pk))
    ask(pipeline)

    assert took_up() == []


@pytest.mark.each_database
def test_run_whose_message_was_lost_is_found_while_other_messages_wait(pipeline, took_up, portals_queue):
    ask(pipeline)
    portals_queue()
    execute_pipeline.enqueue(str(PipelineFactory().pk))
    DBTaskResult.objects.update(args_kwargs={"args": "?", "kwargs": {}})
    execute_pipeline.enqueue(str(PipelineFactory().pk))

    assert took_up() == [[str(pipeline.pk)]]


@pytest.mark.each_database
def test_run_of_another_lost_worker_is_found_once_its_lease_has_expired(pipeline, took_up):
    run = ask(pipeline)
    run.move(RunEvent.TAKEN, worker="elsewhere", lease_ends_at=timezone.now() + timedelta(seconds=30))
    assert took_up() == []

    with time_machine.travel(timezone.now() + timedelta(seconds=31), tick=True):
        assert took_up() == [[str(pipeline.pk)]]
    assert state_of(run) == "continuing"
