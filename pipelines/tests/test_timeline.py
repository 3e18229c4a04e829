"""The timeline of a run's steps."""

from datetime import timedelta

import pytest
import time_machine
from django.urls import reverse
from django.utils import timezone

from pipelines import timeline
from pipelines.models import StepRun
from pipelines.tests.factories import RunFactory

pytestmark = pytest.mark.django_db

NOW = timezone.now()


def ago(seconds):
    return NOW - timedelta(seconds=seconds)


def run_with(*steps, **values):
    """A run with steps that started and finished so many seconds ago; ``None`` if they have not."""
    run = RunFactory(**values)
    for position, (state, started, finished) in enumerate(steps, start=1):
        StepRun.objects.create(
            run=run,
            position=position,
            name=f"Step {position}",
            state=state,
            started_at=None if started is None else ago(started),
            finished_at=None if finished is None else ago(finished),
        )
    return run


def bars(run):
    with time_machine.travel(NOW, tick=False):
        return [step.bar and (step.bar.start, step.bar.width) for step in timeline.of(run)]


def test_bars_show_which_part_of_the_run_each_step_took():
    run = run_with(
        ("success", 100, 75), ("success", 75, 25), ("failed", 25, 0), started_at=ago(100), finished_at=ago(0)
    )

    assert bars(run) == [("0.00%", "25.00%"), ("25.00%", "50.00%"), ("75.00%", "25.00%")]


def test_bar_of_the_running_step_ends_now():
    run = run_with(("success", 40, 30), ("running", 30, None), ("waiting", None, None), started_at=ago(40))

    assert bars(run) == [("0.00%", "25.00%"), ("25.00%", "75.00%"), None]


def test_bar_of_a_short_step_is_visible_and_inside():
    run = run_with(("success", 1000, 0), ("success", 0, 0), started_at=ago(1000), finished_at=ago(0))

    assert bars(run)[1] == ("99.00%", "1.00%")


def test_run_that_has_not_started_has_no_bars():
    assert bars(run_with(("waiting", None, None))) == [None]


def test_bars_stay_inside_if_the_clock_was_set_back():
    run = run_with(("success", 200, -100), started_at=ago(100), finished_at=ago(0))

    assert bars(run) == [("0.00%", "100.00%")]
    assert bars(run_with(("success", 0, 0), started_at=ago(0), finished_at=ago(10))) == [None]


@pytest.mark.parametrize(
    ("state", "is_current"), [("waiting", False), ("running", True), ("paused", True), ("failed", False)]
)
def test_current_step_is_the_one_that_runs_or_waits_for_an_approval(state, is_current):
    run = run_with((state, 1, None), started_at=ago(1))

    assert [step.is_current for step in timeline.of(run)] == [is_current]


def test_page_announces_the_current_step(client, owner):
    run = run_with(
        ("success", 2, 1), ("running", 1, None), started_at=ago(2), state="running", pipeline__owner=owner, number=7
    )
    client.force_login(owner)
    page = client.get(f"/pipelines/{run.pipeline_id}/runs/7/").content.decode()

    assert 'data-announce="Run 7: Running. Step 2 of 2, Step 2: Running"' in page
    assert page.count('aria-current="step"') == 1


@pytest.mark.parametrize("language", ["en", "de"])
def test_bars_are_written_with_a_decimal_point_in_every_language(client, owner, language):
    run = run_with(
        ("success", 3, 2),
        started_at=ago(3),
        finished_at=ago(0),
        state="finished",
        outcome="success",
        pipeline__owner=owner,
    )
    client.force_login(owner)
    page = client.get(
        f"/pipelines/{run.pipeline_id}/runs/{run.number}/", headers={"Accept-Language": language}
    ).content.decode()

    assert 'width="33.33%"' in page


def test_message_of_a_step_is_marked_as_english(client, owner):
    """Screen readers pronounce it so on pages in another language."""
    run = RunFactory(pipeline__owner=owner)
    run.step_runs.create(position=1, name="Build", kind="http_call", state="failed", message="Answered 500 in 6 ms.")
    client.force_login(owner)

    page = client.get(reverse("pipelines:run_detail", args=[run.pipeline_id, run.number])).content.decode()

    assert '<p class="timeline-note" lang="en">Answered 500 in 6 ms.</p>' in page
