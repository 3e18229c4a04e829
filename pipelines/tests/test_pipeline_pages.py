import json
import re
import shlex
from datetime import UTC, datetime
from html import unescape
from urllib.parse import quote

import pytest
import time_machine
from django.conf import settings
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.roles import SiteRole
from accounts.tests.factories import OperatorFactory, ServiceAccountFactory, UserFactory
from core.pages.line_breaks import breakable
from opsera_portal import api_reference
from pipelines.access import PipelineAction, may
from pipelines.models import Run, RunLogLine, StepRun
from pipelines.services import start_run
from pipelines.tests.factories import PipelineFactory, RunFactory, StepFactory
from pipelines.views.runs import GROWS_EACH_SECONDS, LOG_LINES_SHOWN, version_of
from tokens.tests.factories import TokenFactory, bearer

LIST = "/pipelines/"
RUN_BUTTON = 'id="run-pipeline"'


@pytest.fixture
def pipeline(owner):
    pipeline = PipelineFactory(owner=owner, name="Nightly build", description="Builds it.", tags=["nightly"])
    StepFactory(
        pipeline=pipeline,
        position=1,
        name="Compile",
        headers={"X-Api-Key": "header-secret"},
        body="body-secret",
    )
    return pipeline


@pytest.fixture
def run(owner, pipeline):
    return start_run(actor=owner, pipeline=pipeline)


@pytest.fixture
def as_owner(client, owner):
    client.force_login(owner)
    return client


def detail(pipeline):
    return reverse("pipelines:pipeline_detail", args=[pipeline.pk])


def run_button(pipeline):
    return reverse("pipelines:pipeline_run", args=[pipeline.pk])


def run_page(run):
    return reverse("pipelines:run_detail", args=[run.pipeline_id, run.number])


def progress(run):
    return reverse("pipelines:run_progress", args=[run.pipeline_id, run.number])


def text(answer):
    assert answer.status_code == 200
    return answer.content.decode()


def rows(answer):
    return text(answer).count("data-pipeline=") + text(answer).count("data-run=")


def finish(run, outcome):
    now = timezone.now()
    Run.objects.filter(pk=run.pk).update(state="finished", outcome=outcome, started_at=now, finished_at=now)


# With curl


def curl_on(page):
    (command,) = re.findall(r'<code id="curl">(.*?)</code>', text(page), re.DOTALL)
    return shlex.split(unescape(command).replace("\\\n", " "))


def test_curl_command_runs_the_pipeline(as_owner, api, owner, pipeline):
    _curl, url, *options = curl_on(as_owner.get(detail(pipeline)))
    authorization, content_type = (header.split(": ") for header in options[1:4:2])
    token = TokenFactory(owner=owner, scope="pipeline")

    assert options[0:5:2] == ["-H", "-H", "-d"]
    assert authorization == ["Authorization", "Bearer $TOKEN"]
    assert content_type == ["Content-Type", "application/json"]
    path = url.removeprefix(settings.PORTAL_URL)
    answer = api.post(path, json.loads(options[5]), headers=bearer(token))
    assert answer.json()["status"] == "executed"
    assert pipeline.runs.count() == 1


def test_curl_command_has_the_id_and_a_link_to_the_reference(as_owner, pipeline):
    page = text(as_owner.get(detail(pipeline)))

    assert f'<code id="pipeline-id">{pipeline.pk}</code>' in page
    assert 'data-copy="#pipeline-id"' in page
    assert 'href="/api/docs/#pipeline_run"' in page
    assert 'id="pipeline_run"' in api_reference.rendered()


@pytest.mark.parametrize("role", SiteRole)
def test_only_people_who_may_run_it_see_the_curl_command(client, organization, pipeline, role):
    person = UserFactory(organization=organization, site_role=role)
    client.force_login(person)

    assert ("curl" in text(client.get(detail(pipeline)))) is may(person, PipelineAction.RUN, pipeline)


def test_stranger_gets_no_curl_command(client, stranger, pipeline):
    client.force_login(stranger)

    answer = client.get(detail(pipeline))

    assert answer.status_code == 404
    assert "curl" not in answer.content.decode()


# The list


def test_list_shows_a_pipeline_with_a_link_to_it(as_owner, owner, pipeline):
    page = text(as_owner.get(LIST))

    assert f'data-pipeline="{pipeline.pk}"' in page
    assert f'<a href="{detail(pipeline)}">Nightly build</a>' in page
    assert breakable(owner.email) in page
    assert "Never" in page


def test_list_shows_the_outcome_of_the_latest_run(as_owner, run):
    finish(run, "failed")

    page = text(as_owner.get(LIST))
    assert "Failed" in page
    assert "Never" not in page


def test_stranger_does_not_see_the_pipeline_in_the_list(client, stranger, pipeline):
    client.force_login(stranger)

    page = text(client.get(LIST))
    assert "Nightly build" not in page
    assert "No pipelines found." in page


def test_the_search_narrows_the_list(as_owner, owner, pipeline):
    PipelineFactory(owner=owner, name="Deploy")

    page = text(as_owner.get(LIST, {"q": "BUILD"}))
    assert "Nightly build" in page
    assert "Deploy" not in page


@pytest.mark.parametrize(
    ("sort", "names"), [("name", ["alpha", "beta"]), ("-name", ["beta", "alpha"]), ("run_count", ["beta", "alpha"])]
)
def test_list_is_sorted_by_the_requested_column(as_owner, owner, sort, names):
    RunFactory(pipeline=PipelineFactory(owner=owner, name="alpha", run_count=1))
    PipelineFactory(owner=owner, name="beta")

    page = text(as_owner.get(LIST, {"sort": sort}))
    assert sorted(names, key=lambda name: page.index(f">{name}</a>")) == names


def test_long_list_has_pages_of_50(as_owner, owner):
    PipelineFactory.create_batch(51, owner=owner)

    assert [rows(as_owner.get(LIST, {"page": page})) for page in (1, 2)] == [50, 1]


@pytest.mark.parametrize("number", [2, 20])
def test_list_takes_the_same_queries_for_few_and_many_rows(as_owner, owner, number, django_assert_num_queries):
    for pipeline in PipelineFactory.create_batch(number, owner=owner):
        RunFactory(pipeline=pipeline)

    # The session, the person, the offered tags, the number of rows, the rows.
    with django_assert_num_queries(5):
        assert rows(as_owner.get(LIST)) == number


# One pipeline


def test_page_of_a_pipeline_shows_its_details(as_owner, owner, pipeline):
    page = text(as_owner.get(detail(pipeline)))

    for words in ("Nightly build", "Builds it.", "nightly", owner.email, "Compile", "POST", "X-Api-Key", "Idle"):
        assert words in page
    assert "https://jenkins.example.com/build" in page


def test_no_page_shows_a_header_value_or_a_body(as_owner, pipeline, run):
    for url in (LIST, detail(pipeline), run_page(run), progress(run)):
        page = text(as_owner.get(url))
        assert "header-secret" not in page
        assert "body-secret" not in page


def test_input_is_shown_as_text(as_owner, owner):
    pipeline = PipelineFactory(owner=owner, name="<b>bold</b>", description="<script>1</script>", tags=["<i>"])
    StepFactory(pipeline=pipeline, name="<img src=x>", headers={"X": "1"})
    run = start_run(actor=owner, pipeline=pipeline)
    RunLogLine.objects.create(run=run, action="answer", message="<iframe>")

    for url in (LIST, detail(pipeline), run_page(run), progress(run)):
        page = text(as_owner.get(url))
        for tag in ("<b>bold", "<script>1", "<i>", "<img src=x>", "<iframe>"):
            assert tag not in page


def test_the_page_of_a_pipeline_lists_its_runs_newest_first(as_owner, owner, pipeline):
    first, second = (start_run(actor=owner, pipeline=pipeline) for _ in range(2))

    page = text(as_owner.get(detail(pipeline)))
    assert page.index(f'href="{run_page(second)}"') < page.index(f'href="{run_page(first)}"')


def test_the_page_of_a_pipeline_shows_its_recent_log_and_no_other(as_owner, owner, pipeline, run):
    other = StepFactory(pipeline__owner=owner).pipeline
    RunLogLine.objects.create(run=run, action="answer", message="42 files compiled")
    RunLogLine.objects.create(run=start_run(actor=owner, pipeline=other), action="answer", message="something else")

    page = text(as_owner.get(detail(pipeline)))
    assert "42 files compiled" in page
    assert "something else" not in page


def test_the_page_of_a_pipeline_says_that_it_is_running(as_owner, pipeline):
    RunFactory(pipeline=pipeline, state="finished", outcome="success")
    assert "Idle" in text(as_owner.get(detail(pipeline)))

    RunFactory(pipeline=pipeline, number=2, state="running")
    assert "Idle" not in text(as_owner.get(detail(pipeline)))


@pytest.mark.parametrize("number", [2, 20])
def test_page_of_a_pipeline_takes_the_same_queries_for_few_and_many_rows(
    as_owner, owner, pipeline, number, django_assert_num_queries
):
    for position in range(2, number + 1):
        StepFactory(pipeline=pipeline, position=position)
    for _ in range(number):
        start_run(actor=owner, pipeline=pipeline)

    # The session, the person, the pipeline, the allowed actions, its rules, its steps, the possible
    # actions on its runs, its notified people, the number of runs, the runs, the log.
    with django_assert_num_queries(12):
        assert rows(as_owner.get(detail(pipeline))) == number


# Starting a run


def test_button_queues_a_run_and_opens_its_page(as_owner, owner, pipeline):
    assert RUN_BUTTON in text(as_owner.get(detail(pipeline)))

    answer = as_owner.post(run_button(pipeline))

    run = Run.objects.get()
    assert (answer.status_code, answer.url) == (302, run_page(run))
    assert (run.number, run.started_by, run.token) == (1, owner, None)


def test_a_link_cannot_start_a_run(as_owner, pipeline):
    assert as_owner.get(run_button(pipeline)).status_code == 405
    assert not Run.objects.exists()


def test_another_site_cannot_start_a_run(owner, pipeline):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(owner)

    assert browser.post(run_button(pipeline)).status_code == 403
    assert not Run.objects.exists()


def test_a_pipeline_without_steps_says_why_it_cannot_start(as_owner, owner):
    empty = PipelineFactory(owner=owner, name="Empty")

    answer = as_owner.post(run_button(empty), follow=True)

    assert answer.redirect_chain == [(detail(empty), 302)]
    assert "“Empty” has no steps yet. Add a step, then run it." in text(answer)
    assert not Run.objects.exists()


def test_only_people_who_edit_steps_are_told_to_add_one(client, owner, member):
    empty = PipelineFactory(owner=owner)
    pages = []
    for person in (owner, member):
        client.force_login(person)
        pages.append(text(client.get(detail(empty))))

    assert "It has no steps yet. Add a step first." in pages[0]
    assert "It has no steps yet. Its Managers and Administrators, and Power Users, can add them." in pages[1]


def test_name_of_a_service_account_that_locked_it_has_no_ending(as_owner, owner, pipeline):
    account = ServiceAccountFactory(organization=owner.organization)
    type(pipeline).objects.filter(pk=pipeline.pk).update(locked_at=timezone.now(), locked_by_email=account.email)

    assert "service-account.invalid" not in text(as_owner.get(detail(pipeline)))


@pytest.mark.parametrize("role", [SiteRole.GUEST, SiteRole.AUDITOR, SiteRole.SECURITY_MANAGER])
def test_read_only_roles_see_no_button_and_cannot_run(client, member, pipeline, role):
    member.site_role = role
    member.save()
    client.force_login(member)

    assert RUN_BUTTON not in text(client.get(detail(pipeline)))
    assert client.post(run_button(pipeline)).status_code == 403
    assert not Run.objects.exists()


# One run


def test_page_of_a_run_shows_its_requester_and_progress(as_owner, owner, run):
    run.step_runs.update(state="failed", response_status=503, message="Answered 503 in 4 ms. The step expects 200.")
    finish(run, "failed")

    page = text(as_owner.get(run_page(run)))
    for words in ("Run 1 of Nightly build", owner.email, "Compile", "503", "The step expects 200.", "Failed"):
        assert words in page


def test_log_of_a_run_begins_with_the_oldest_line(as_owner, run):
    for message in ("first line", "second line"):
        RunLogLine.objects.create(run=run, action="answer", message=message)

    page = text(as_owner.get(run_page(run)))
    assert page.index("Requested by") < page.index("first line") < page.index("second line")


def test_log_says_once_that_its_times_are_in_utc(as_owner, run):
    at = datetime(2026, 5, 3, 14, 5, 7, tzinfo=UTC)
    RunLogLine.objects.filter(run=run).update(at=at)
    RunLogLine.objects.create(run=run, action="answer", message="second line", at=at)

    page = text(as_owner.get(run_page(run)))
    assert page.count("Times are in UTC.") == 1
    assert page.count(">2026-05-03 14:05:07<") == 2


def test_reason_comes_before_both_buttons_of_a_gate(as_owner, owner, pipeline):
    run = RunFactory(pipeline=pipeline, state="paused")
    StepRun.objects.create(run=run, position=1, name="Go or no go", kind="approval", state="paused")

    page = text(as_owner.get(run_page(run)))
    places = [page.index(mark) for mark in ('name="message"', 'id="approve-gate"', 'id="reject-gate"')]
    assert places == sorted(places)


def test_approval_keeps_its_reason_and_refuses_one_that_is_too_long(as_owner, owner, pipeline):
    run = RunFactory(pipeline=pipeline, state="paused")
    StepRun.objects.create(run=run, position=1, name="Go or no go", kind="approval", state="paused")
    approve = reverse("pipelines:run_approve", args=[pipeline.pk, run.number])

    assert as_owner.post(approve, {"position": 1, "message": "x" * 501}).status_code == 400
    page = as_owner.post(approve, {"position": 1, "message": "Tests are green"}, follow=True)
    assert f"Approved by {owner.email}: Tests are green" in text(page)


def test_page_says_that_a_long_log_is_cut(as_owner, run):
    more = LOG_LINES_SHOWN - 1
    RunLogLine.objects.bulk_create(RunLogLine(run=run, action="answer", message="line") for _ in range(more))
    assert "These are the newest" not in text(as_owner.get(run_page(run)))

    RunLogLine.objects.create(run=run, action="answer", message="line")
    assert f"These are the newest {LOG_LINES_SHOWN} lines." in text(as_owner.get(run_page(run)))


@pytest.mark.parametrize(("state", "later"), [("queued", 204), ("running", 200)])
def test_progress_is_sent_again_while_a_step_runs(as_owner, run, state, later):
    Run.objects.update(state=state)
    run.refresh_from_db()
    with time_machine.travel(timezone.now(), tick=False) as clock:
        seen = version_of(run)
        assert as_owner.get(progress(run), {"seen": seen}).status_code == 204
        clock.shift(GROWS_EACH_SECONDS)
        assert as_owner.get(progress(run), {"seen": seen}).status_code == later


def test_page_of_a_run_in_progress_polls(as_owner, run):
    assert f'hx-get="{progress(run)}?seen=' in text(as_owner.get(run_page(run)))
    assert f'hx-get="{progress(run)}?seen=' in text(as_owner.get(progress(run)))


def test_page_of_a_finished_run_does_not_poll(as_owner, run):
    finish(run, "success")

    assert "hx-get" not in text(as_owner.get(progress(run)))


def test_progress_is_only_the_changing_part_of_the_page(as_owner, run):
    fragment = text(as_owner.get(progress(run))).strip()

    assert fragment.startswith('<div id="run-progress"')
    assert "<html" not in fragment
    assert "<h1" not in fragment


@pytest.mark.parametrize("number", [2, 20])
@pytest.mark.parametrize(
    ("url", "queries"),
    [
        # The session, the person, the pipeline, the allowed actions, the run, its steps, its log
        # and its version, the possible actions on the pipeline's runs.
        (progress, 11),
        (run_page, 10),
    ],
    ids=["progress", "run_page"],
)
def test_page_of_a_run_takes_the_same_queries_for_few_and_many_rows(
    as_owner, owner, pipeline, number, url, queries, django_assert_num_queries
):
    for position in range(2, number + 1):
        StepFactory(pipeline=pipeline, position=position)
    run = start_run(actor=owner, pipeline=pipeline)
    for n in range(number):
        RunLogLine.objects.create(run=run, action="answer", message=f"line {n}")

    with django_assert_num_queries(queries):
        assert f"line {number - 1}" in text(as_owner.get(url(run)))


# Permissions


@pytest.mark.parametrize("kind", ["detail", "run_page", "progress"])
def test_stranger_gets_404(client, stranger, pipeline, run, kind):
    client.force_login(stranger)
    url = {"detail": detail(pipeline), "run_page": run_page(run), "progress": progress(run)}[kind]

    answer = client.get(url)
    assert answer.status_code == 404
    assert "Nightly build" not in answer.content.decode()


def test_stranger_cannot_start_a_run(client, stranger, pipeline):
    client.force_login(stranger)

    assert client.post(run_button(pipeline)).status_code == 404
    assert not Run.objects.exists()


@pytest.mark.parametrize("kind", ["list", "detail", "run_page", "progress"])
def test_signed_out_person_is_sent_to_sign_in_and_back(client, pipeline, run, kind):
    url = {"list": LIST, "detail": detail(pipeline), "run_page": run_page(run), "progress": progress(run)}[kind]

    answer = client.get(url)
    # The progress fragment is no page, so the person returns to the page of the run.
    back = run_page(run) if kind == "progress" else url
    assert (answer.status_code, answer.url) == (302, f"/login/?next={quote(back)}")


def test_signed_out_person_cannot_start_a_run(client, pipeline):
    assert client.post(run_button(pipeline)).url.startswith("/login/")
    assert not Run.objects.exists()


def test_deactivated_person_is_signed_out_by_the_next_request(as_owner, owner, pipeline):
    owner.is_active = False
    owner.save()

    assert as_owner.get(detail(pipeline)).url.startswith("/login/")
    assert as_owner.post(run_button(pipeline)).url.startswith("/login/")
    assert not Run.objects.exists()


def test_an_operator_is_sent_to_django_admin(client, pipeline):
    client.force_login(OperatorFactory())

    assert client.get(LIST).url == "/admin/"
    assert client.post(run_button(pipeline)).url == "/admin/"
    assert not Run.objects.exists()


@pytest.mark.parametrize("number", [0, 2, 2**31, 2**63, 10**30])
def test_a_run_that_does_not_exist_is_not_found(as_owner, pipeline, run, number):
    assert as_owner.get(f"{detail(pipeline)}runs/{number}/").status_code == 404


def test_a_run_of_another_pipeline_is_not_found(as_owner, owner, run):
    other = PipelineFactory(owner=owner)

    assert as_owner.get(f"{detail(other)}runs/1/").status_code == 404


# Invalid addresses


ODD = [
    "per_page=0",
    "per_page=-1",
    "per_page=abc",
    "per_page=",
    "per_page=999999999999999999999999999999",
    "page=0",
    "page=-1",
    "page=abc",
    "page=",
    "page=9",
    "page=999999999999999999999999999999",
    "sort=nothing",
    "sort=-",
    "sort=",
    "sort=tags",
    "sort=owner__password",
    "sort=name&sort=-nothing",
    "sort=%00",
    "unknown=1",
    "q=%ED%A0%80",
    "page=1&page=abc",
]


@pytest.mark.parametrize("query", [query for query in ODD if not query.startswith("q=")])
def test_invalid_parameters_do_not_change_the_list(as_owner, owner, query):
    PipelineFactory.create_batch(3, owner=owner)

    assert rows(as_owner.get(f"{LIST}?{query}")) == 3


@pytest.mark.parametrize("query", ODD)
def test_invalid_parameters_do_not_change_the_page_of_a_pipeline(as_owner, pipeline, query):
    for number in (1, 2, 3):
        RunFactory(pipeline=pipeline, number=number)

    assert rows(as_owner.get(f"{detail(pipeline)}?{query}")) == 3


@pytest.mark.parametrize("q", ["%00", "a%00b", "%ED%A0%80", "x" * 101])
def test_search_for_characters_that_no_name_has_finds_nothing(as_owner, pipeline, q):
    assert rows(as_owner.get(f"{LIST}?q={q}")) == 0


@pytest.mark.parametrize("kind", ["list", "detail"])
def test_page_size_is_limited(as_owner, owner, pipeline, kind):
    if kind == "list":
        PipelineFactory.create_batch(201, owner=owner)
    else:
        for number in range(1, 202):
            RunFactory(pipeline=pipeline, number=number)

    url = LIST if kind == "list" else detail(pipeline)
    assert rows(as_owner.get(f"{url}?per_page=1000000")) <= 200


def test_unknown_tag_finds_nothing_on_page_and_api(client, owner):
    PipelineFactory(owner=owner, tags=["nightly"])
    client.force_login(owner)

    page = client.get("/pipelines/?tag=weekly").content.decode()
    assert "No pipelines found." in page
    assert '<option value="weekly" selected>' in page
    assert client.get("/api/v1/pipelines?tag=weekly").json()["count"] == 0
    assert client.get("/api/v1/pipelines?tag=nightly").json()["count"] == 1
