"""The state machine matches its table, and services and database follow it."""

import pytest
from django.db import IntegrityError, transaction

from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory
from auditlog.models import Activity
from core.errors import NotAllowed
from pipelines import services
from pipelines.access import ItemRole
from pipelines.models import Run
from pipelines.run_states import (
    OCCUPYING,
    REFUSALS,
    TRANSITIONS,
    UNDER_WAY,
    PipelineState,
    RunAction,
    RunEvent,
    RunOutcome,
    RunState,
    after,
    badge_of_run,
    pipeline_state,
    states_before,
    status_of_run,
)
from pipelines.tests.factories import AccessRuleFactory, PipelineFactory, RunFactory
from pipelines.tests.stages import STAGES, Stage, state_of, steps_of

# Columns: first the actions of people, then the events of the worker.
MACHINE = """
            stop      resume      reset     approve     reject    taken    refused   gate    left    ended     released    superseded
queued      finished  .           finished  .           .         running  finished  .       .       .         .           .
continuing  halted    .           finished  .           .         running  halted    .       .       .         .           .
running     stopping  .           .         .           .         .        .         paused  halted  finished  continuing  .
stopping    .         .           .         .           .         .        .         .       halted  finished  .           .
paused      halted    .           finished  continuing  finished  .        .         .       .       .         .           .
halted      .         continuing  finished  .           .         .        .         .       .       .         .           finished
finished    .         .           .         .           .         .        .         .       .       .         .           .
"""  # noqa: E501
HEADS = {
    "stop": RunAction.STOP,
    "resume": RunAction.RESUME,
    "reset": RunAction.RESET,
    "approve": RunAction.APPROVE,
    "reject": RunAction.REJECT,
    "taken": RunEvent.TAKEN,
    "refused": RunEvent.REFUSED,
    "gate": RunEvent.GATE_REACHED,
    "left": RunEvent.ENDED_WITH_STEPS_LEFT,
    "ended": RunEvent.ENDED,
    "released": RunEvent.RELEASED,
    "superseded": RunEvent.SUPERSEDED,
}
# State and outcome of the run after each service, or "-" if it is refused.
SERVICES = """
                    stop               resume      reset              approve     reject
queued              finished stopped   -           finished stopped   -           -
running             stopping           -           -                  -           -
stopping            -                  -           -                  -           -
paused              halted stopped     -           finished stopped   continuing  finished failed
approved            halted stopped     -           finished stopped   -           -
resumed             halted stopped     -           finished stopped   -           -
released            halted stopped     -           finished stopped   -           -
stopped at gate     -                  continuing  finished stopped   -           -
failed              -                  continuing  finished failed    -           -
lost                -                  continuing  finished failed    -           -
failed at the last  -                  -           -                  -           -
rejected            -                  -           -                  -           -
succeeded           -                  -           -                  -           -
taken back          -                  -           -                  -           -
cleared             -                  -           -                  -           -
"""


def table(text):
    """Yields each row with its cells by column. Two spaces separate columns."""
    head, *rows = text.strip("\n").splitlines()
    names = head.split()
    starts = [head.index(f"  {name}") + 2 for name in names]
    for row in rows:
        cells = [row[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)]
        yield row[: starts[0]].strip(), dict(zip(names, cells, strict=True))


DONE = [
    pytest.param(stage, action, expected, id=f"{stage}-{action}")
    for stage, row in table(SERVICES)
    for action, expected in row.items()
    if expected != "-"
]


@pytest.fixture
def stage(owner, build_server):
    return Stage(owner, build_server)


# The table


def test_state_machine_matches_the_table():
    expected = {
        RunState(state): {HEADS[name]: RunState(cell) for name, cell in row.items() if cell != "."}
        for state, row in table(MACHINE)
    }

    assert expected == TRANSITIONS


def test_table_has_every_state_action_and_event():
    assert {state for state, _ in table(MACHINE)} == set(RunState.values)
    assert set(HEADS.values()) == {*RunAction, *RunEvent}


@pytest.mark.parametrize("action", RunAction)
@pytest.mark.parametrize("state", RunState)
def test_each_action_in_each_state_works_or_is_refused_with_a_message(state, action):
    moves = after(state, action) is not None
    sentence = REFUSALS[action].get(state)

    assert moves is (sentence is None)
    assert moves or sentence.endswith(".")


def test_every_state_is_reachable_and_only_finished_is_final():
    reached, new = {RunState.QUEUED}, {RunState.QUEUED}
    while new:
        new = {following for state in new for following in TRANSITIONS[state].values()} - reached
        reached |= new

    assert reached == set(RunState)
    assert [state for state in RunState if not TRANSITIONS[state]] == [RunState.FINISHED]


def test_people_can_end_every_run_without_the_worker_unless_a_step_is_running():
    ended = {state for state in RunState if RunState.FINISHED in (after(state, RunAction.RESET), state)}

    assert set(RunState) - ended == {RunState.RUNNING, RunState.STOPPING}


@pytest.mark.parametrize("what", [*RunAction, *RunEvent])
def test_states_before_match_the_table(what):
    name = next(name for name, known in HEADS.items() if known is what)

    assert states_before(what) == [RunState(state) for state, row in table(MACHINE) if row[name] != "."]


# Rows of the database


@pytest.mark.each_database
@pytest.mark.parametrize("what", [*RunAction, *RunEvent])
def test_row_changes_its_state_only_as_in_the_table(db, what):
    for state in RunState:
        run = RunFactory(state=state)
        following = after(state, what)

        moved = run.move(what, outcome="stopped")

        stored = Run.objects.get(pk=run.pk)
        assert moved is (following is not None)
        assert run.state == stored.state == (following or state)
        assert run.outcome == stored.outcome == ("stopped" if following else "")


@pytest.mark.each_database
def test_row_whose_state_changed_meanwhile_is_not_changed(db):
    run = RunFactory(state=RunState.HALTED, outcome="failed")
    Run.objects.update(state=RunState.CONTINUING, outcome="")

    assert run.move(RunAction.RESET, outcome="stopped") is False

    assert (run.state, run.outcome) == ("halted", "failed")
    assert state_of(run) == "continuing"


@pytest.mark.each_database
def test_database_allows_one_active_run_of_a_pipeline(db):
    for first in OCCUPYING:
        pipeline = PipelineFactory()
        RunFactory(pipeline=pipeline, number=1, state=first)
        for second in OCCUPYING:
            with pytest.raises(IntegrityError), transaction.atomic():
                RunFactory(pipeline=pipeline, number=2, state=second)


@pytest.mark.each_database
def test_database_allows_other_runs_beside_an_active_one(db):
    pipeline = PipelineFactory()
    RunFactory(pipeline=pipeline, number=1, state=RunState.RUNNING)

    for number, state in enumerate([RunState.QUEUED, RunState.HALTED, RunState.FINISHED] * 2, start=2):
        RunFactory(pipeline=pipeline, number=number, state=state)

    assert pipeline.runs.count() == 7


# Services


@pytest.mark.parametrize("name", STAGES)
def test_each_stage_has_the_state_of_its_name(stage, mortality, name):
    STAGES[name](stage, mortality)

    assert (stage.state, stage.steps) == {
        "queued": ("queued", "waiting waiting waiting"),
        "running": ("running", "success running waiting"),
        "stopping": ("stopping", "success running waiting"),
        "paused": ("paused", "success paused waiting"),
        "approved": ("continuing", "success success waiting"),
        "resumed": ("continuing", "success failed waiting"),
        "released": ("continuing", "success waiting waiting"),
        "stopped at gate": ("halted stopped", "success waiting waiting"),
        "failed": ("halted failed", "success failed waiting"),
        "lost": ("halted failed", "success failed waiting"),
        "failed at the last": ("finished failed", "success success failed"),
        "rejected": ("finished failed", "success failed skipped"),
        "succeeded": ("finished success", "success success success"),
        "taken back": ("finished stopped", "skipped skipped skipped"),
        "cleared": ("finished failed", "success failed skipped"),
    }[name]
    assert stage.pipeline.state == pipeline_state({stage.run.state})


def test_table_of_services_has_every_stage():
    assert {name for name, _ in table(SERVICES)} == set(STAGES)


@pytest.mark.parametrize(("name", "action", "expected"), DONE)
def test_services_follow_the_table_and_both_logs_name_the_actor(stage, mortality, name, action, expected):
    STAGES[name](stage, mortality)
    lines = len(stage.log)

    stage.do(action)

    assert stage.state == expected
    (said,) = stage.log[lines:]
    assert stage.owner.email in said
    entry = Activity.objects.first()
    past = {"stop": "stopped", "resume": "resumed", "reset": "reset", "approve": "approved", "reject": "rejected"}
    assert entry.action == f"pipeline.{past[action]}"
    assert (entry.actor, entry.target_id, entry.details["run_number"]) == (stage.owner, str(stage.pipeline.pk), 1)


@pytest.mark.parametrize(("name", "row"), list(table(SERVICES)))
def test_other_actions_are_refused_with_their_message_and_change_nothing(
    stage, mortality, name, row, django_capture_on_commit_callbacks
):
    STAGES[name](stage, mortality)
    stage.run.refresh_from_db()
    before = rows(stage)

    for action in [action for action, expected in row.items() if expected == "-"]:
        with django_capture_on_commit_callbacks() as told, pytest.raises(services.Refused) as refusal:
            stage.do(action)
        assert str(refusal.value) == f"“{stage.pipeline.name}”: {REFUSALS[RunAction(action)][stage.run.state]}"
        assert (rows(stage), told) == (before, [])


@pytest.mark.parametrize("name", STAGES)
def test_person_without_the_right_is_refused_in_every_state(stage, mortality, name):
    STAGES[name](stage, mortality)
    user, guest = UserFactory.create_batch(2, organization=stage.owner.organization)
    AccessRuleFactory(pipeline=stage.pipeline, user=user, role=ItemRole.USER)
    AccessRuleFactory(pipeline=stage.pipeline, user=guest, role=ItemRole.GUEST)
    before = rows(stage)

    for person, actions in ((user, ["approve", "reject"]), (guest, [action.value for action in RunAction])):
        for action in actions:
            with pytest.raises(NotAllowed):
                stage.do(action, actor=person)
            assert rows(stage) == before


@pytest.mark.parametrize("action", [action.value for action in RunAction])
def test_action_on_a_pipeline_that_was_never_run_is_refused_with_that_reason(stage, action):
    with pytest.raises(services.Refused) as refusal:
        stage.do(action)

    sentence = str(refusal.value)
    assert sentence.startswith(f"“{stage.pipeline.name}”")
    assert "has not been run yet" in sentence or "No gate waits" in sentence


@pytest.mark.parametrize(
    "who",
    ["stranger", "Guest", "Auditor", "Security Manager", "deactivated", "demoted a moment ago", "without a role"],
)
def test_person_without_the_right_learns_nothing_about_the_state(stage, stranger, who):
    stage.ask()
    organization = stage.owner.organization
    person = {
        "stranger": lambda: stranger,
        "Guest": lambda: UserFactory(organization=organization, site_role=SiteRole.GUEST),
        "Auditor": lambda: UserFactory(organization=organization, site_role=SiteRole.AUDITOR),
        "Security Manager": lambda: UserFactory(organization=organization, site_role=SiteRole.SECURITY_MANAGER),
        "deactivated": lambda: UserFactory(organization=organization, is_active=False),
        "demoted a moment ago": lambda: UserFactory(organization=organization, site_role=SiteRole.ADMINISTRATOR),
        "without a role": lambda: UserFactory(organization=organization),
    }[who]()
    if who == "demoted a moment ago":
        # The object in memory still says Administrator.
        type(person).objects.filter(pk=person.pk).update(site_role=SiteRole.GUEST)
    if who == "without a role":
        AccessRuleFactory(pipeline=stage.pipeline, user=stage.owner)

    for action in RunAction:
        with pytest.raises(NotAllowed):
            stage.do(action.value, actor=person)

    assert stage.state == "queued"


def rows(stage):
    """Everything that an action on a run could change."""
    stage.pipeline.refresh_from_db()
    return [
        *stage.pipeline.runs.values_list(),
        *(steps_of(run) for run in stage.pipeline.runs.all()),
        *Run.objects.values_list("log_lines__id"),
        stage.pipeline.run_count,
        Activity.objects.count(),
    ]


# Published states


@pytest.mark.parametrize(
    ("state", "outcome", "word"),
    [
        ("queued", "", "queued"),
        ("continuing", "", "running"),
        ("running", "", "running"),
        ("stopping", "", "running"),
        ("paused", "", "paused"),
        ("halted", "failed", "failed"),
        ("halted", "stopped", "stopped"),
        ("finished", "success", "success"),
        ("finished", "failed", "failed"),
        ("finished", "stopped", "stopped"),
    ],
)
def test_published_state_of_a_run(state, outcome, word):
    assert status_of_run(state, outcome) == word
    assert badge_of_run(state, outcome).label


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (set(), PipelineState.STOPPED),
        ({RunState.QUEUED}, PipelineState.STOPPED),
        ({RunState.FINISHED, RunState.HALTED}, PipelineState.STOPPED),
        ({RunState.RUNNING, RunState.QUEUED}, PipelineState.RUNNING),
        ({RunState.CONTINUING}, PipelineState.RUNNING),
        ({RunState.STOPPING}, PipelineState.RUNNING),
        ({RunState.PAUSED, RunState.QUEUED}, PipelineState.PAUSED),
    ],
)
def test_published_state_of_a_pipeline(states, expected):
    assert pipeline_state(states) is expected


def test_every_outcome_and_state_has_a_badge():
    for state in UNDER_WAY:
        assert badge_of_run(state, "").label
    for outcome in RunOutcome:
        assert badge_of_run(RunState.FINISHED, outcome).label
