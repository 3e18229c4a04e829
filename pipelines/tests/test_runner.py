import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from pipelines.models import Run, RunLogLine
from pipelines.runner import execute_queued, recover_lost_runs
from pipelines.services import start_run
from pipelines.tasks import execute_pipeline
from pipelines.tests.factories import PipelineFactory, RunFactory, StepFactory


@pytest.fixture
def pipeline(owner):
    return PipelineFactory(owner=owner)


@pytest.fixture
def ask(owner, pipeline, build_server):
    """Requests a run whose steps send POSTs to paths of the build server or to other URLs."""

    def ask(*urls, **fields):
        pipeline.steps.all().delete()
        for position, url in enumerate(urls, start=1):
            full = build_server.url + url if url.startswith("/") else url
            StepFactory(pipeline=pipeline, position=position, name=f"Step {position}", url=full, **fields)
        return start_run(actor=owner, pipeline=pipeline)

    return ask


@pytest.fixture
def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


def step_states(run):
    return list(run.step_runs.values_list("state", flat=True))


def status(run):
    run.refresh_from_db()
    return run.status


def in_the_middle(run):
    """Changes the run as if its worker had been killed in the second of three steps."""
    now = timezone.now()
    Run.objects.filter(pk=run.pk).update(state="running", started_at=now)
    run.step_runs.filter(position=1).update(state="success", started_at=now, finished_at=now)
    run.step_runs.filter(position=2).update(state="running", started_at=now)
    return run


# Execution


@pytest.mark.each_database
def test_every_step_is_called_and_the_run_succeeds(pipeline, ask, build_server):
    run = ask("/build", "/test")

    execute_queued(pipeline.pk)

    assert status(run) == "success"
    assert step_states(run) == ["success", "success"]
    assert build_server.called == ["/build", "/test"]


def test_call_matches_the_step(pipeline, ask, build_server):
    ask("/build?branch=main", method="PUT", headers={"X-Api-Key": "k-1"}, body='{"clean": true}')

    execute_queued(pipeline.pk)

    method, path, headers, body = build_server.next_call()
    assert (method, path, headers["X-Api-Key"], body) == ("PUT", "/build?branch=main", "k-1", '{"clean": true}')


@pytest.mark.each_database
def test_times_and_answers_are_kept(pipeline, ask, build_server):
    build_server.answers["/build"] = (201, "made")
    run = ask("/build", expected_status=201)

    execute_queued(pipeline.pk)

    run.refresh_from_db()
    step = run.step_runs.get()
    assert step.response_status == 201
    assert run.requested_at <= run.started_at <= step.started_at <= step.finished_at <= run.finished_at


def test_log_describes_the_whole_run(owner, pipeline, ask, build_server):
    build_server.answers["/build"] = (200, "42 files compiled")
    run = ask("/build")

    execute_queued(pipeline.pk)

    lines = run.log_lines.order_by("id").values_list("action", "step_name", "status")
    assert list(lines) == [
        ("run", "", "queued"),
        ("run", "", "running"),
        ("post", "Step 1", "running"),
        ("post", "Step 1", "success"),
        ("answer", "Step 1", "success"),
        ("run", "", "success"),
    ]
    assert run.log_lines.get(action="answer").answer == "42 files compiled"


def test_unexpected_status_halts_the_run_and_later_steps_wait(pipeline, ask, build_server):
    build_server.answers["/test"] = (503, "busy")
    run = ask("/build", "/test", "/deploy", "/announce")

    execute_queued(pipeline.pk)

    assert status(run) == "failed"
    assert step_states(run) == ["success", "failed", "waiting", "waiting"]
    assert build_server.called == ["/build", "/test"]
    failed = run.step_runs.get(position=2)
    assert failed.response_status == 503
    assert failed.message.endswith("The step expects 200.")


def test_failure_is_logged_as_an_error_with_its_step(pipeline, ask, build_server):
    build_server.answers["/test"] = (503, "busy")
    run = ask("/build", "/test")

    execute_queued(pipeline.pk)

    last = run.log_lines.first()
    assert (last.level, last.message) == ("error", "Failed at step 2, “Step 2”.")


def test_line_about_the_answer_to_a_failed_step_is_no_error(pipeline, ask, build_server):
    build_server.answers["/build"] = (503, "busy")
    run = ask("/build")

    execute_queued(pipeline.pk)

    lines = run.log_lines.order_by("id").values_list("action", "level")[2:]
    assert list(lines) == [("post", "info"), ("post", "error"), ("answer", "info"), ("run", "error")]
    assert run.log_lines.get(action="answer").message == "The answer has 4 bytes."


def test_an_expected_error_status_is_a_success(pipeline, ask, build_server):
    build_server.answers["/gone"] = (410, "")
    run = ask("/gone", expected_status=410)

    execute_queued(pipeline.pk)

    assert status(run) == "success"


def test_step_with_a_refused_address_fails_with_a_readable_reason(pipeline, ask, build_server, settings):
    settings.HTTP_STEP_ALLOWED_NETWORKS = []
    run = ask("/build", "/test")

    execute_queued(pipeline.pk)

    assert status(run) == "failed"
    assert step_states(run) == ["failed", "waiting"]
    assert build_server.called == []
    step = run.step_runs.get(position=1)
    assert step.response_status is None
    assert "leads to 127.0.0.1, a loopback address, which steps are not allowed to call" in step.message


@pytest.mark.each_database
def test_readable_part_of_a_binary_answer_is_kept(pipeline, ask, build_server):
    build_server.answers["/build"] = (200, "one\x00two")
    run = ask("/build")

    execute_queued(pipeline.pk)

    assert run.log_lines.get(action="answer").answer == "onetwo"


@pytest.mark.parametrize("answer", [200, 503, "refused", "forbidden"])
def test_no_query_string_and_no_header_value_is_logged(
    pipeline, ask, build_server, settings, closed_port, caplog, answer
):
    base = build_server.url
    if answer == "refused":
        base = f"http://127.0.0.1:{closed_port}"
    elif answer == "forbidden":
        settings.HTTP_STEP_ALLOWED_NETWORKS = []
    else:
        build_server.answers["/build"] = (answer, "done")
    run = ask(f"{base}/build?key=query-secret#fragment-secret", headers={"Authorization": "Bearer header-secret"})

    execute_queued(pipeline.pk)

    assert status(run) == ("success" if answer == 200 else "failed")
    written = "\n".join(
        [*RunLogLine.objects.values_list("message", flat=True), run.step_runs.get().message, caplog.text]
    )
    assert "secret" not in written
    assert "/build" in written


# Order


@pytest.mark.each_database
def test_runs_of_one_pipeline_are_executed_in_the_order_of_requests(pipeline, ask, build_server):
    runs = [ask(f"/first/{n}", f"/second/{n}") for n in (1, 2, 3)]

    execute_queued(pipeline.pk)

    assert [status(run) for run in runs] == ["success"] * 3
    assert build_server.called == ["/first/1", "/second/1", "/first/2", "/second/2", "/first/3", "/second/3"]


@pytest.mark.each_database
def test_failed_run_does_not_prevent_the_next_one(pipeline, ask, build_server):
    build_server.answers["/broken"] = (500, "")
    runs = [ask("/broken"), ask("/fine")]

    execute_queued(pipeline.pk)

    assert [status(run) for run in runs] == ["failed", "success"]


@pytest.mark.each_database
def test_runs_of_other_pipelines_are_not_executed(owner, pipeline, ask):
    ask("/build")
    other = start_run(actor=owner, pipeline=StepFactory(pipeline__owner=owner).pipeline)

    execute_queued(pipeline.pk)

    assert status(other) == "queued"


def test_queued_task_executes_its_pipeline(pipeline, ask):
    run = ask("/build")

    execute_pipeline.call(str(pipeline.pk))

    assert status(run) == "success"


def test_nothing_is_executed_without_queued_runs(pipeline, ask, build_server):
    ask("/build")
    execute_queued(pipeline.pk)

    execute_queued(pipeline.pk)

    assert build_server.called == ["/build"]


@pytest.mark.each_database
def test_database_refuses_two_running_runs_of_a_pipeline(pipeline):
    RunFactory(pipeline=pipeline, number=1, state="running")

    with pytest.raises(IntegrityError), transaction.atomic():
        RunFactory(pipeline=pipeline, number=2, state="running")


@pytest.mark.django_db(transaction=True)
def test_second_worker_skips_a_running_pipeline(pipeline, ask, build_server):
    build_server.held_path = "/slow"
    runs = [ask("/slow"), ask("/fast")]

    with ThreadPoolExecutor(1) as pool:
        first_worker = pool.submit(_execute_in_thread, pipeline)
        build_server.next_call()
        execute_queued(pipeline.pk)
        called_meanwhile = list(build_server.called)
        states_meanwhile = [status(run) for run in runs]
        build_server.let_go.set()
        first_worker.result()

    assert (called_meanwhile, states_meanwhile) == (["/slow"], ["running", "queued"])
    assert [status(run) for run in runs] == ["success", "success"]


@pytest.mark.django_db(transaction=True)
def test_run_taken_by_two_workers_at_once_is_executed_once(pipeline, ask, build_server):
    run = ask("/build", "/test")
    together = threading.Barrier(2)

    with ThreadPoolExecutor(2) as pool:
        workers = [pool.submit(_execute_in_thread, pipeline, together) for _ in range(2)]
    for worker in workers:
        worker.result()

    assert build_server.called == ["/build", "/test"]
    assert status(run) == "success"
    assert run.log_lines.filter(action="run", status="running").count() == 1


def _execute_in_thread(pipeline, together=None):
    try:
        if together:
            together.wait(timeout=10)
        execute_queued(pipeline.pk)
    finally:
        connection.close()


# After a worker was killed


@pytest.mark.each_database
def test_interrupted_run_is_marked_as_failed_with_a_reason(ask):
    run = in_the_middle(ask("/build", "/test", "/deploy"))

    assert recover_lost_runs() == 1

    assert status(run) == "failed"
    assert run.finished_at is not None
    assert step_states(run) == ["success", "failed", "waiting"]
    assert "The portal cannot tell whether the call was sent" in run.step_runs.get(position=2).message
    assert (run.log_lines.first().level, run.log_lines.first().status) == ("error", "failed")
    assert "The worker stopped in the middle of this step" in run.log_lines.first().message


@pytest.mark.each_database
def test_an_interrupted_run_is_not_repeated(pipeline, ask, build_server):
    in_the_middle(ask("/build", "/test", "/deploy"))

    recover_lost_runs()
    execute_queued(pipeline.pk)

    assert build_server.called == []


@pytest.mark.each_database
def test_runs_queued_after_an_interrupted_run_are_executed(pipeline, ask, build_server):
    in_the_middle(ask("/build", "/test", "/deploy"))
    waiting = ask("/next")

    recover_lost_runs()
    execute_queued(pipeline.pk)

    assert status(waiting) == "success"
    assert build_server.called == ["/next"]


@pytest.mark.each_database
def test_queued_and_finished_runs_are_not_treated_as_interrupted(pipeline, ask):
    finished = ask("/build")
    execute_queued(pipeline.pk)
    queued = ask("/build")

    assert recover_lost_runs() == 0
    assert (status(finished), status(queued)) == ("success", "queued")
