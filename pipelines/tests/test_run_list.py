"""The list of all runs, as a page and in the API."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory
from core import filters
from core.db import keyset
from core.pages.line_breaks import breakable
from pipelines import querysets
from pipelines.access import ItemRole
from pipelines.models import Run, StepRun
from pipelines.run_states import RunOutcome, RunState, RunStatus, status_of_run
from pipelines.tests.factories import AccessRuleFactory, PipelineFactory, RunFactory
from tokens.tests.factories import TokenFactory, bearer

PAGE = "/pipelines/runs/"
API = "/api/v1/runs"
NOON = datetime(2026, 5, 3, 12, tzinfo=UTC)


@pytest.fixture
def pipeline(owner):
    return PipelineFactory(owner=owner, name="Nightly build")


@pytest.fixture
def as_owner(client, owner):
    client.force_login(owner)
    return client


def text(answer):
    assert answer.status_code == 200
    return answer.content.decode()


def on_page(client, **query):
    """The numbers of the runs on the page, in order."""
    return [run.number for run in client.get(PAGE, query).context["table"].data]


def in_api(client, **query):
    answer = client.get(API, query)
    assert answer.status_code == 200, answer.json()
    return [row["runCount"] for row in answer.json()["data"]]


def shown(client, **query):
    """The numbers on the page, which must be those of the API."""
    numbers = on_page(client, **query)
    assert in_api(client, **query) == numbers
    return numbers


# What it shows


def test_runs_of_all_pipelines_are_listed_newest_first(as_owner, owner, pipeline):
    RunFactory(pipeline=pipeline, number=1, requested_at=NOON)
    RunFactory(pipeline=PipelineFactory(owner=owner), number=2, requested_at=NOON + timedelta(hours=1))
    RunFactory(pipeline=pipeline, number=3, requested_at=NOON - timedelta(hours=1))

    assert shown(as_owner) == [2, 1, 3]


def test_page_shows_pipeline_number_state_requester_time_and_duration(as_owner, owner, pipeline):
    started = NOON + timedelta(minutes=1)
    ended = started + timedelta(minutes=3, seconds=5)
    state = {"state": "finished", "outcome": "failed", "started_at": started, "finished_at": ended}
    RunFactory(pipeline=pipeline, number=7, requested_at=NOON, **state)

    page = text(as_owner.get(PAGE))
    assert f'<a href="/pipelines/{pipeline.pk}/">Nightly build</a>' in page
    assert f'<a href="/pipelines/{pipeline.pk}/runs/7/">Run 7</a>' in page
    for words in ("Failed", breakable(owner.email), "3 May 2026, 12:00 UTC", "3 min 5 s"):
        assert words in page


def test_api_shows_a_run_with_its_pipeline_and_its_steps(as_owner, owner, pipeline):
    run = RunFactory(pipeline=pipeline, number=7, requested_at=NOON, state="paused")
    StepRun.objects.create(run=run, position=1, name="Go", kind="approval", state="paused", body="secret body")

    [row] = as_owner.get(API).json()["data"]
    assert [step["name"] for step in row.pop("steps")] == ["Go"]
    assert row == {
        "id": str(run.pk),
        "pipelineId": str(pipeline.pk),
        "pipeline_name": "Nightly build",
        "runCount": 7,
        "status": "paused",
        "started_by_email": owner.email,
        "token_name": "",
        "requested_at": "2026-05-03T12:00:00Z",
        "started_at": None,
        "finished_at": None,
    }


def test_run_shows_the_new_name_of_its_renamed_pipeline(as_owner, pipeline):
    RunFactory(pipeline=pipeline)
    type(pipeline).objects.update(name="Weekly build")

    assert "Weekly build" in text(as_owner.get(PAGE))
    assert as_owner.get(API).json()["data"][0]["pipeline_name"] == "Weekly build"


def test_text_of_people_is_shown_as_text(as_owner, owner):
    RunFactory(pipeline=PipelineFactory(owner=owner, name="<b>bold</b>"), started_by_email="<i>@acme.example")

    page = text(as_owner.get(PAGE, {"started_by_email": "<i>"}))
    assert "<b>bold" not in page
    assert "<i>" not in page


def test_empty_list_says_what_would_be_here(as_owner, pipeline):
    assert "No runs yet. A run is listed here as soon as someone requests it." in text(as_owner.get(PAGE))
    assert "No run matches." in text(as_owner.get(PAGE, {"status": "failed"}))


def test_pages_of_pipelines_link_to_the_list(as_owner, pipeline):
    assert f'href="{PAGE}"' in text(as_owner.get("/pipelines/"))
    assert f'href="{PAGE}?pipeline={pipeline.pk}"' in text(as_owner.get(f"/pipelines/{pipeline.pk}/"))


# Who sees what


def test_nobody_sees_runs_of_pipelines_that_they_cannot_see(client, owner, member, pipeline):
    RunFactory(pipeline=pipeline, number=1)
    ruled = PipelineFactory(owner=owner, name="Secret plan")
    AccessRuleFactory(pipeline=ruled, user=owner, role=ItemRole.ADMINISTRATOR)
    RunFactory(pipeline=ruled, number=2)
    client.force_login(member)

    assert shown(client) == [1]
    assert "Secret plan" not in text(client.get(PAGE))
    assert client.get(PAGE, {"pipeline": ruled.pk}).context["filter"].errors
    assert client.get(API, {"pipeline": ruled.pk}).status_code == 400


def test_stranger_sees_no_run(client, stranger, pipeline):
    RunFactory(pipeline=pipeline)
    client.force_login(stranger)

    assert shown(client) == []
    assert "Nightly build" not in text(client.get(PAGE))


def test_runs_of_a_deleted_pipeline_are_for_roles_that_see_every_pipeline(client, owner, organization, pipeline):
    RunFactory(pipeline=pipeline, number=4, state="finished", outcome="success")
    public_id = str(pipeline.pk)
    pipeline.delete()

    for role, numbers in ((SiteRole.AUDITOR, [4]), (SiteRole.USER, [])):
        client.force_login(UserFactory(organization=organization, site_role=role))
        assert shown(client) == numbers
    client.force_login(UserFactory(organization=organization, site_role=SiteRole.POWER_USER))
    page = text(client.get(PAGE))
    assert 'Nightly build <span class="hint">(deleted)</span>' in page
    assert f"/pipelines/{public_id}/" not in page
    assert client.get(API).json()["data"][0]["pipelineId"] == public_id


@pytest.mark.each_database
@pytest.mark.parametrize("many", [0, 100])
@pytest.mark.parametrize("role", SiteRole)
def test_list_has_the_runs_that_a_person_can_see(owner, organization, stranger, role, many, monkeypatch):
    monkeypatch.setattr(querysets, "MANY_FOR_A_PAGE", many)
    person = UserFactory(organization=organization, site_role=role)
    ruled = AccessRuleFactory(pipeline__owner=owner, user=owner).pipeline
    deleted = PipelineFactory(owner=owner)
    for number, of in enumerate((PipelineFactory(owner=owner, run_count=1), ruled, deleted), start=1):
        RunFactory(pipeline=of, number=number)
    RunFactory(pipeline=PipelineFactory(owner=stranger))
    deleted.delete()

    assert set(Run.objects.listed_for(person)) == set(Run.objects.visible_to(person))
    person.is_active = False
    assert not Run.objects.listed_for(person).exists()


def test_token_with_a_scope_that_reads_pipelines_lists_runs(api, owner, pipeline):
    RunFactory(pipeline=pipeline, number=5)
    token = TokenFactory(owner=owner, scope="pipeline-readonly")

    assert [row["runCount"] for row in api.get(API, headers=bearer(token)).json()["data"]] == [5]
    assert api.get(API, headers=bearer(TokenFactory(owner=owner, scope="security-logs"))).status_code == 403


# Filters


@pytest.mark.each_database
def test_status_finds_the_runs_that_show_it(owner, pipeline):
    states = [(state, outcome) for state in RunState for outcome in ("", *RunOutcome)]
    for number, (state, outcome) in enumerate(states, start=1):
        RunFactory(pipeline=PipelineFactory(owner=owner), number=number, state=state, outcome=outcome)

    for status in RunStatus:
        found = Run.objects.with_status(status).values_list("state", "outcome")
        assert set(found) == {pair for pair in states if status_of_run(*pair) == status}


def test_filters_narrow_the_list(as_owner, owner, pipeline, member):
    other = PipelineFactory(owner=owner)
    RunFactory(pipeline=pipeline, number=1, requested_at=NOON, state="finished", outcome="failed")
    RunFactory(pipeline=other, number=2, requested_at=NOON + timedelta(days=1), started_by=member)
    RunFactory(pipeline=pipeline, number=3, requested_at=NOON + timedelta(days=2), state="running")

    assert shown(as_owner, status="failed") == [1]
    assert shown(as_owner, status="running") == [3]
    assert shown(as_owner, pipeline=str(pipeline.pk)) == [3, 1]
    assert shown(as_owner, started_by_email="MEMBER@acme.example") == [2]
    assert shown(as_owner, started_by_email="acme") == [3, 2, 1]
    assert shown(as_owner, date="2026-05-04") == [3, 2]
    assert shown(as_owner, date_to="2026-05-04") == [2, 1]
    assert shown(as_owner, pipeline=str(pipeline.pk), date="2026-05-04", status="running") == [3]


def test_filters_stay_in_the_address_and_can_be_removed_one_by_one(as_owner, pipeline):
    for number in range(1, 52):
        RunFactory(pipeline=pipeline, number=number)
    query = {"pipeline": str(pipeline.pk), "status": "queued"}

    context = as_owner.get(PAGE, query).context
    assert f"pipeline={pipeline.pk}&status=queued&cursor=" in context["page"].next_url
    chips = [(chip.label, chip.value, chip.url) for chip in context["chips"]]
    assert chips == [
        ("State", "Queued", f"{PAGE}?pipeline={pipeline.pk}"),
        ("Pipeline", "Nightly build", f"{PAGE}?status=queued"),
    ]


def test_many_pipelines_are_suggested_and_found_by_name(as_owner, owner, pipeline, monkeypatch):
    monkeypatch.setattr(filters, "MOST_TO_READ", 1)
    PipelineFactory(owner=owner, name="Other")
    RunFactory(pipeline=pipeline, number=1)

    assert 'hx-post="/suggestions/pipelines/"' in text(as_owner.get(PAGE))
    assert on_page(as_owner, pipeline="nightly BUILD") == [1]
    # An address has the id, and the page says the name.
    answer = as_owner.get(PAGE, {"pipeline": pipeline.pk})
    assert [chip.value for chip in answer.context["chips"]] == ["Nightly build"]
    assert "No pipeline has this name." in text(as_owner.get(PAGE, {"pipeline": "nothing"}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "halted"),
        ("status", ""),
        ("status", "failed\x00"),
        ("pipeline", "nightly"),
        ("pipeline", "00000000-0000-4000-8000-000000000000"),
        ("pipeline", ""),
        ("started_by_email", "x" * 255),
        ("started_by_email", "a\x00b"),
        ("date", "yesterday"),
        ("date", "2026-02-30"),
        ("date", "٢٠٢٦-٠٥-٠٣x"),
        ("date_to", "99999-01-01"),
        ("page_size", "101"),
        ("cursor", "bm9uc2Vuc2U"),
        ("unknown", "1"),
    ],
)
def test_wrong_value_is_an_error_and_shows_no_runs_instead(as_owner, pipeline, name, value):
    RunFactory(pipeline=pipeline)

    answer = as_owner.get(API, {name: value})
    assert (answer.status_code, list(answer.json()["errors"])) == (400, [name])
    page = as_owner.get(PAGE, {name: value})
    assert page.status_code == 200
    if value and name not in {"page_size", "cursor", "unknown"}:
        assert list(page.context["filter"].errors) == [name]
        assert not page.context["table"].data


def test_last_day_before_the_first_day_is_an_error(as_owner, pipeline):
    days = {"date": "2026-05-04", "date_to": "2026-05-03"}

    assert as_owner.get(API, days).json()["errors"] == {"date_to": ["This day is before the first day."]}
    assert "This day is before the first day." in text(as_owner.get(PAGE, days))


# Pages of the list


@pytest.mark.each_database
def test_pages_follow_each_other_without_gap_or_repetition(as_owner, pipeline):
    for number in range(1, 121):
        RunFactory(pipeline=pipeline, number=number, requested_at=NOON + timedelta(seconds=number // 3))

    numbers, url = [], PAGE
    while url:
        context = as_owner.get(url).context
        numbers += [run.number for run in context["table"].data]
        url = context["page"].next_url
    assert sorted(numbers) == list(range(1, 121))
    seen, url = [], f"{API}?page_size=50"
    while url:
        answer = as_owner.get(url).json()
        seen += [row["runCount"] for row in answer["data"]]
        url = answer["next"]
    assert seen == numbers


@pytest.mark.each_database
def test_long_search_stops_and_is_continued_in_its_own_runs_only(client, owner, member, pipeline, monkeypatch):
    monkeypatch.setattr(keyset, "MAX_SEARCHED", 2)
    hidden = AccessRuleFactory(pipeline__owner=owner, user=owner).pipeline
    for number in range(1, 7):
        outcome = "failed" if number == 1 else "success"
        at = NOON + timedelta(hours=number)
        state = {"state": "finished", "outcome": outcome, "requested_at": at}
        RunFactory(pipeline=pipeline if number % 2 else hidden, number=number, **state)
    client.force_login(member)

    page = client.get(PAGE, {"status": "failed"}).context["page"]
    # The second of the member's own runs: the place of a hidden run would reveal its time and id.
    assert page.searched_to == NOON + timedelta(hours=3)
    assert [run.number for run in client.get(page.searched_url).context["table"].data] == [1]
    answer = client.get(API, {"status": "failed"}).json()
    assert answer["data"] == []
    assert [row["runCount"] for row in client.get(answer["next"]).json()["data"]] == [1]


def test_second_page_of_one_of_many_pipelines_takes_at_most_12_queries(as_owner, owner, pipeline, monkeypatch):
    monkeypatch.setattr(filters, "MOST_TO_READ", 1)
    PipelineFactory(owner=owner)
    for number in range(1, 102):
        RunFactory(pipeline=pipeline, number=number)
    RunFactory(pipeline=PipelineFactory(owner=owner), number=1)

    for query in ({}, {"pipeline": pipeline.pk, "date": "2020-01-01"}):
        first = as_owner.get(PAGE, query)
        with CaptureQueriesContext(connection) as captured:
            second = as_owner.get(first.context["page"].next_url)
        assert len(captured) <= 12
        assert [page.context["page"].count for page in (first, second)] == [f"{101 if query else 102} entries"] * 2


@pytest.mark.parametrize("number", [2, 20])
@pytest.mark.parametrize("query", ["", "all"])
def test_list_takes_the_same_queries_for_few_and_many_rows(as_owner, owner, pipeline, number, query):
    for pipeline in PipelineFactory.create_batch(number, owner=owner):
        run = RunFactory(pipeline=pipeline)
        StepRun.objects.create(run=run, position=1, name="Go", kind="approval")
    filled = {"status": "queued", "started_by_email": "acme", "date": "2020-01-01"} if query else {}

    with CaptureQueriesContext(connection) as on_the_page:
        assert len(on_page(as_owner, **filled)) == number
    with CaptureQueriesContext(connection) as in_the_api:
        assert len(in_api(as_owner, **filled)) == number
    # The session, the person, how many runs they see, the runs, the offered pipelines; where a search ends.
    assert len(on_the_page) == (6 if query else 5)
    # The same, with the steps of the runs instead of the offered pipelines.
    assert len(in_the_api) == (6 if query else 5)
