"""The published pipeline API: formats, permissions, and secrets that no answer contains."""

import pytest
from rest_framework.test import APIClient

from accounts.roles import SiteRole
from pipelines.access import PipelineAction
from pipelines.models import Pipeline, Run, RunLogLine
from pipelines.services import start_run
from pipelines.tests.factories import PipelineFactory, RunFactory, StepFactory, give_secrets
from tokens.tests.factories import TokenFactory, bearer

LIST = "/api/v1/pipelines"
RUN, STATUS, SUMMARY, LOGS = (f"/api/v1/pipeline/{name}" for name in ("run", "status", "summary", "logs"))
POSTS = [RUN, STATUS, SUMMARY, LOGS]
NOWHERE = "6f1e4ad0-0000-4000-8000-000000000000"
CSRF = "c" * 32


@pytest.fixture
def pipeline(owner):
    pipeline = PipelineFactory(owner=owner, name="Nightly build", description="Builds it.", tags=["nightly"])
    step = StepFactory(
        pipeline=pipeline, position=1, name="Build", headers={"Accept": "text/plain"}, body="body-secret"
    )
    give_secrets(step, {"X-Api-Key": "header-secret"})
    return pipeline


class As:
    """Calls the API with a token of this person."""

    def __init__(self, person, scope="api"):
        self.headers = bearer(TokenFactory(owner=person, scope=scope))
        self.client = APIClient()

    def get(self, url):
        return self.client.get(url, headers=self.headers)

    def post(self, url, pipeline, **body):
        return self.client.post(
            url, {"pipelineId": str(getattr(pipeline, "pk", pipeline)), **body}, headers=self.headers
        )


@pytest.fixture
def as_owner(owner):
    return As(owner)


def moments(rows, *names):
    """Checks that the times are ISO 8601 UTC or null, and removes them from the rows."""
    for row in rows:
        for name in names:
            value = row.pop(name)
            assert value is None or value.endswith("Z")
    return rows


# The list


def test_the_list_has_the_published_shape(as_owner, owner, pipeline):
    answer = as_owner.get(LIST)

    assert answer.status_code == 200
    body = answer.json()
    assert (body.pop("count"), body.pop("next")) == (1, None)
    [row] = moments(body.pop("data"), "created_at", "updated_at")
    assert body == {}
    assert row == {
        "id": str(pipeline.pk),
        "name": "Nightly build",
        "description": "Builds it.",
        "tags": ["nightly"],
        "owner_id": str(owner.pk),
        "owner_email": owner.email,
        "state": "stopped",
        "is_locked": False,
        "runCount": 0,
        "last_run": None,
    }


@pytest.mark.each_database
@pytest.mark.parametrize(
    ("state", "outcome", "status"),
    [
        ("queued", "", "queued"),
        ("running", "", "running"),
        ("finished", "failed", "failed"),
        ("finished", "success", "success"),
    ],
)
def test_list_shows_the_latest_run(as_owner, pipeline, state, outcome, status):
    RunFactory(pipeline=pipeline, number=1, state="finished", outcome="success")
    RunFactory(pipeline=pipeline, number=2, state=state, outcome=outcome)

    [row] = as_owner.get(LIST).json()["data"]
    assert row["last_run"] == {"runCount": 2, "status": status}


@pytest.mark.each_database
def test_list_is_sorted_by_name(as_owner, owner):
    for name in ("beta", "alpha", "gamma"):
        PipelineFactory(owner=owner, name=name)

    assert [row["name"] for row in as_owner.get(LIST).json()["data"]] == ["alpha", "beta", "gamma"]


def test_list_has_no_pipeline_of_another_organization(as_owner, stranger, pipeline):
    PipelineFactory(owner=stranger)

    assert [row["id"] for row in as_owner.get(LIST).json()["data"]] == [str(pipeline.pk)]


@pytest.mark.each_database
def test_next_pages_contain_every_pipeline_once(as_owner, owner):
    made = {str(PipelineFactory(owner=owner).pk) for _ in range(5)}
    url, seen, sizes = f"{LIST}?page_size=2", [], []

    while url:
        body = as_owner.get(url).json()
        sizes.append(body["count"])
        seen += [row["id"] for row in body["data"]]
        url = body["next"]

    assert sizes == [2, 2, 1]
    assert (len(seen), set(seen)) == (5, made)


@pytest.mark.each_database
def test_next_keeps_the_search_and_the_page_size(as_owner, owner):
    for name in ("build a", "build b", "build c", "deploy"):
        PipelineFactory(owner=owner, name=name)

    body = as_owner.get(f"{LIST}?page_size=2&q=build").json()
    assert [row["name"] for row in as_owner.get(body["next"]).json()["data"]] == ["build c"]


@pytest.mark.each_database
def test_page_keeps_its_place_when_pipelines_are_created_before_it(as_owner, owner):
    for name in ("b", "c", "d"):
        PipelineFactory(owner=owner, name=name)
    following = as_owner.get(f"{LIST}?page_size=2").json()["next"]

    PipelineFactory(owner=owner, name="a")

    assert [row["name"] for row in as_owner.get(following).json()["data"]] == ["d"]


def test_cursor_gives_no_access_to_the_pipelines_of_another_person(as_owner, owner, stranger):
    PipelineFactory.create_batch(3, owner=owner)
    foreign = PipelineFactory(owner=stranger, name="Zulu")
    following = as_owner.get(f"{LIST}?page_size=1").json()["next"]

    assert [row["id"] for row in As(stranger).get(following).json()["data"]] == [str(foreign.pk)]


@pytest.mark.each_database
@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("build", ["Nightly build"]),
        ("NIGHTLY", ["Nightly build"]),
        ("smoke", ["Deploy"]),
        ("nothing", []),
        ("%25", ["100%"]),
        ("_", []),
        ("%20deploy%20", ["Deploy"]),
    ],
)
def test_q_searches_name_and_description(as_owner, owner, q, found):
    PipelineFactory(owner=owner, name="Nightly build")
    PipelineFactory(owner=owner, name="Deploy", description="Rolls out, then a smoke test.")
    PipelineFactory(owner=owner, name="100%")

    assert [row["name"] for row in as_owner.get(f"{LIST}?q={q}").json()["data"]] == found


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("page_size=0", "page_size"),
        ("page_size=-1", "page_size"),
        ("page_size=1001", "page_size"),
        ("page_size=abc", "page_size"),
        ("page_size=9999999999999999999999", "page_size"),
        ("page_size=", "page_size"),
        ("page_size=1&page_size=2", "page_size"),
        ("q=%00", "q"),
        (f"q={'x' * 101}", "q"),
        ("q=a&q=b", "q"),
        ("cursor=abc", "cursor"),
        ("cursor=%00", "cursor"),
        (f"cursor={'x' * 501}", "cursor"),
        ("cursor=bnVsbA", "cursor"),
        ("cursor=WyJuIiwxLDJd", "cursor"),
        ("cursor=WyJuIiwiYSIsImIiXQ", "cursor"),
        ("page=2", "page"),
        ("owner=someone", "owner"),
    ],
)
def test_invalid_or_unknown_query_parameter_is_named(as_owner, pipeline, query, field):
    answer = as_owner.get(f"{LIST}?{query}")

    assert answer.status_code == 400
    assert set(answer.json()["errors"]) == {field}


def test_largest_page_has_1000_rows(owner):
    caller = As(owner)

    assert caller.get(f"{LIST}?page_size=1000").status_code == 200
    assert caller.get(f"{LIST}?page_size=1001").json()["errors"].keys() == {"page_size"}


@pytest.mark.each_database
@pytest.mark.parametrize("rows", [2, 20])
def test_list_takes_one_query_for_any_number_of_rows(owner, rows, django_assert_num_queries):
    for pipeline in PipelineFactory.create_batch(rows, owner=owner):
        RunFactory(pipeline=pipeline)
    caller = As(owner)

    # The token, the list, the entry in the log, the token's last use.
    with django_assert_num_queries(4):
        assert caller.get(LIST).json()["count"] == rows


# Run


@pytest.mark.each_database
def test_run_returns_the_published_answer_and_the_run_number(as_owner, pipeline):
    first, second = as_owner.post(RUN, pipeline), as_owner.post(RUN, pipeline)

    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json() == {
        "status": "executed",
        "message": "Run 1 of “Nightly build” is queued.",
        "runCount": 1,
    }
    assert second.json()["runCount"] == 2


def test_run_that_cannot_start_answers_failed_with_409_and_changes_nothing(as_owner, owner):
    empty = PipelineFactory(owner=owner, name="Empty")

    answer = as_owner.post(RUN, empty)

    assert answer.status_code == 409
    assert answer.json() == {"status": "failed", "message": "“Empty” has no steps yet. Add a step, then run it."}
    assert Pipeline.objects.get().run_count == 0
    assert not Run.objects.exists()


@pytest.mark.parametrize("role", [SiteRole.GUEST, SiteRole.AUDITOR, SiteRole.SECURITY_MANAGER])
def test_read_only_roles_cannot_run(member, pipeline, role):
    member.site_role = role
    member.save()

    assert As(member).post(RUN, pipeline).status_code == 403
    assert not Run.objects.exists()


# Status


def test_status_of_a_pipeline_that_never_ran_is_stopped(as_owner, pipeline):
    answer = as_owner.post(STATUS, pipeline)

    assert answer.status_code == 200
    assert answer.json() == {"status": "stopped", "message": "“Nightly build” has not been run yet.", "runCount": 0}


@pytest.mark.parametrize(
    ("state", "outcome", "status"),
    [
        ("queued", "", "queued"),
        ("running", "", "running"),
        ("finished", "failed", "failed"),
        ("finished", "success", "success"),
    ],
)
def test_status_is_the_state_or_outcome_of_the_latest_run(as_owner, pipeline, state, outcome, status):
    RunFactory(pipeline=pipeline, number=1, state="finished", outcome="success")
    RunFactory(pipeline=pipeline, number=2, state=state, outcome=outcome)

    assert as_owner.post(STATUS, pipeline).json() == {
        "status": status,
        "message": f"Run 2 of “Nightly build”: {status}.",
        "runCount": 2,
    }


def test_status_of_one_run_is_read_by_its_number(as_owner, pipeline):
    RunFactory(pipeline=pipeline, number=1, state="finished", outcome="failed")
    RunFactory(pipeline=pipeline, number=2)

    body = as_owner.post(STATUS, pipeline, runCount=1).json()
    assert (body["status"], body["runCount"]) == ("failed", 1)


# Summary


@pytest.mark.each_database
def test_summary_describes_the_whole_pipeline(as_owner, owner, pipeline):
    StepFactory(pipeline=pipeline, position=2, name="Test", method="GET", expected_status=204)

    [body] = moments([as_owner.post(SUMMARY, pipeline).json()], "created_at", "updated_at")

    ids = [step.pop("id") for step in body["steps"]]
    assert ids == [str(step.pk) for step in pipeline.steps.all()]
    url = "https://jenkins.example.com/build"
    assert body == {
        "id": str(pipeline.pk),
        "name": "Nightly build",
        "description": "Builds it.",
        "tags": ["nightly"],
        "owner_id": str(owner.pk),
        "owner_email": owner.email,
        "runCount": 0,
        "last_run": None,
        "steps": [
            {
                "position": 1,
                "name": "Build",
                "kind": "http_call",
                "method": "POST",
                "url": url,
                "header_names": ["Accept", "X-Api-Key"],
                "secret_header_names": ["X-Api-Key"],
                "secret_query_names": [],
                "secret_body_names": [],
                "missing_secrets": [],
                "headers": {"Accept": "text/plain"},
                "body": "body-secret",
                "expected_status": 200,
                "instructions": "",
            },
            {
                "position": 2,
                "name": "Test",
                "kind": "http_call",
                "method": "GET",
                "url": url,
                "header_names": [],
                "secret_header_names": [],
                "secret_query_names": [],
                "secret_body_names": [],
                "missing_secrets": [],
                "headers": {},
                "body": "",
                "expected_status": 204,
                "instructions": "",
            },
        ],
        "state": "stopped",
        "is_locked": False,
        "locked_by_email": "",
        "notified_people": [],
        "latest_run": None,
        "allowed": [action.name.lower() for action in PipelineAction],
    }


def test_summary_shows_the_latest_run_with_its_steps(as_owner, owner, pipeline):
    as_owner.post(RUN, pipeline)
    as_owner.post(RUN, pipeline)

    body = as_owner.post(SUMMARY, pipeline).json()

    assert body["last_run"] == {"runCount": 2, "status": "queued"}
    [run] = moments([body["latest_run"]], "requested_at", "started_at", "finished_at")
    moments(run["steps"], "started_at", "finished_at")
    assert run == {
        "id": str(pipeline.runs.get(number=2).pk),
        "runCount": 2,
        "status": "queued",
        "started_by_email": owner.email,
        "token_name": owner.tokens.get().name,
        "steps": [
            {
                "position": 1,
                "name": "Build",
                "kind": "http_call",
                "state": "waiting",
                "response_status": None,
                "response_bytes": None,
                "message": "",
                "decided_by_email": "",
            }
        ],
    }


# Logs


def test_logs_have_the_published_shape(as_owner, owner, pipeline):
    as_owner.post(RUN, pipeline)

    body = as_owner.post(LOGS, pipeline).json()

    assert (body["count"], body["next"]) == (1, None)
    [row] = moments(body["data"], "createdAt")
    assert row.pop("_id") == row.pop("id") == str(RunLogLine.objects.get().public_id)
    assert row == {
        "runCount": 1,
        "step": "",
        "action": "run",
        "message": f"Requested by {owner.email} with the token “{owner.tokens.get().name}”.",
        "answer": None,
        "status": "queued",
        "level": "info",
    }


@pytest.mark.each_database
def test_logs_of_all_runs_come_newest_first(as_owner, pipeline):
    as_owner.post(RUN, pipeline)
    as_owner.post(RUN, pipeline)

    assert [row["runCount"] for row in as_owner.post(LOGS, pipeline).json()["data"]] == [2, 1]


def test_logs_of_one_run_are_read_by_its_number(as_owner, pipeline):
    as_owner.post(RUN, pipeline)
    as_owner.post(RUN, pipeline)

    assert [row["runCount"] for row in as_owner.post(LOGS, pipeline, runCount=1).json()["data"]] == [1]


def test_logs_contain_no_line_of_another_pipeline(as_owner, owner, pipeline):
    start_run(actor=owner, pipeline=StepFactory(pipeline__owner=owner).pipeline)

    assert as_owner.post(LOGS, pipeline).json()["data"] == []


@pytest.mark.each_database
def test_logs_continue_on_the_next_page_after_1000_lines(as_owner, pipeline):
    run = RunFactory(pipeline=pipeline)
    RunLogLine.objects.bulk_create([RunLogLine(run=run, action="run", message=str(n)) for n in range(1001)])

    first = as_owner.post(LOGS, pipeline).json()
    second = as_owner.post(first["next"], pipeline).json()

    assert (first["count"], second["count"], second["next"]) == (1000, 1, None)
    assert [row["message"] for row in first["data"] + second["data"]] == [str(n) for n in range(1000, -1, -1)]


def test_logs_refuse_an_invalid_cursor(as_owner, pipeline):
    assert as_owner.post(f"{LOGS}?cursor=abc", pipeline).status_code == 400


@pytest.mark.parametrize("rows", [2, 20])
@pytest.mark.parametrize(
    ("url", "queries"),
    [
        # The token, the pipeline, the requested data; the log entry and the token's last use.
        (STATUS, 5),
        # The requested data: allowed actions, steps, notified people, the latest run, its steps.
        (SUMMARY, 9),
        # Whether the caller can read the answers of servers.
        (LOGS, 6),
    ],
)
@pytest.mark.slow
def test_answers_take_the_same_queries_for_few_and_many_rows(
    owner, pipeline, rows, url, queries, django_assert_num_queries
):
    for position in range(2, rows + 1):
        StepFactory(pipeline=pipeline, position=position)
    for _ in range(rows):
        start_run(actor=owner, pipeline=pipeline)
    caller = As(owner)

    with django_assert_num_queries(queries):
        assert caller.post(url, pipeline).status_code == 200


# Permissions


@pytest.mark.parametrize("url", POSTS)
def test_stranger_cannot_tell_a_pipeline_from_a_missing_one(stranger, pipeline, url):
    caller = As(stranger)
    answers = [caller.post(url, target) for target in (pipeline, NOWHERE)]

    bodies = [{**answer.json(), "request_id": ""} for answer in answers]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert bodies[0] == bodies[1]
    assert (bodies[0]["title"], bodies[0]["code"]) == ("Forbidden", "forbidden")


@pytest.mark.parametrize("url", [STATUS, LOGS])
def test_missing_run_gets_403_like_a_missing_pipeline(as_owner, pipeline, url):
    RunFactory(pipeline=pipeline, number=1)

    assert as_owner.post(url, pipeline, runCount=2).status_code == 403


@pytest.mark.parametrize("url", [LIST, *POSTS])
def test_request_without_credentials_gets_401_with_a_challenge(db, api, url):
    answer = api.get(url) if url == LIST else api.post(url, {"pipelineId": NOWHERE})

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("role", [SiteRole.GUEST, SiteRole.AUDITOR, SiteRole.SECURITY_MANAGER])
def test_read_only_roles_can_read_everything(member, pipeline, role):
    member.site_role = role
    member.save()
    caller = As(member)

    assert caller.get(LIST).json()["count"] == 1
    assert [caller.post(url, pipeline).status_code for url in (STATUS, SUMMARY, LOGS)] == [200, 200, 200]


@pytest.mark.parametrize(
    ("scope", "reads", "runs"),
    [
        ("api", True, True),
        ("pipeline", True, True),
        ("api-readonly", True, False),
        ("pipeline-readonly", True, False),
        ("security-logs", False, False),
        ("security-logs pipeline-readonly", True, False),
    ],
)
def test_each_scope_allows_its_operations(owner, pipeline, scope, reads, runs):
    caller = As(owner, scope)

    read = [caller.get(LIST), *(caller.post(url, pipeline) for url in (STATUS, SUMMARY, LOGS))]
    assert [answer.status_code for answer in read] == [200 if reads else 403] * 4
    assert caller.post(RUN, pipeline).status_code == (200 if runs else 403)
    assert Run.objects.exists() is runs


def test_token_that_runs_pipelines_cannot_change_them(owner, pipeline):
    address = f"/api/v1/pipelines/{pipeline.pk}"
    caller = As(owner, "pipeline")

    refused = [
        caller.client.post(LIST, {"name": "another"}, headers=caller.headers),
        caller.client.patch(address, {"steps": []}, headers=caller.headers),
        caller.client.put(f"{address}/access-rules", {"rules": []}, headers=caller.headers),
        caller.client.post(f"{address}/lock", headers=caller.headers),
        caller.client.delete(address, headers=caller.headers),
    ]

    assert [answer.status_code for answer in refused] == [403] * 5
    assert {answer.json()["code"] for answer in refused} == {"insufficient_scope"}
    assert {answer.json()["detail"] for answer in refused} == {
        "This operation needs one of these scopes, and the token has none of them: api."
    }
    assert pipeline.steps.count() == 1


@pytest.mark.parametrize("url", POSTS)
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"pipelineId": None},
        {"pipelineId": 7},
        {"pipelineId": True},
        {"pipelineId": "nightly"},
        {"pipelineId": "\x00"},
        {"pipelineId": [NOWHERE]},
        {"pipelineId": {"id": NOWHERE}},
    ],
    ids=str,
)
def test_invalid_pipeline_id_is_a_field_error(as_owner, url, body):
    answer = as_owner.client.post(url, body, headers=as_owner.headers)

    assert answer.status_code == 400
    assert set(answer.json()["errors"]) == {"pipelineId"}


@pytest.mark.parametrize("url", [STATUS, LOGS])
@pytest.mark.parametrize("number", [0, -1, 2**31, 10**30, "abc", None, 1.5, [1], True], ids=str)
def test_invalid_run_count_is_a_field_error(as_owner, pipeline, url, number):
    RunFactory(pipeline=pipeline)

    answer = as_owner.post(url, pipeline, runCount=number)

    assert answer.status_code == 400
    assert set(answer.json()["errors"]) == {"runCount"}


@pytest.mark.parametrize("url", POSTS)
def test_unknown_field_is_named(as_owner, pipeline, url):
    answer = as_owner.post(url, pipeline, pipelineName="x")

    assert answer.status_code == 400
    assert set(answer.json()["errors"]) == {"pipelineName"}


# Secrets


@pytest.mark.parametrize(("who", "hidden"), [("owner", b"header-secret"), ("member", b"-secret")])
def test_answers_omit_the_fields_of_a_step_that_the_caller_cannot_see(request, pipeline, who, hidden):
    """Nobody sees a secret header. Only people who can edit the step see its body."""
    caller = As(request.getfixturevalue(who))
    answers = [
        caller.post(RUN, pipeline),
        caller.get(LIST),
        caller.get(f"{LIST}/{pipeline.pk}"),
        *(caller.post(url, pipeline) for url in (STATUS, SUMMARY, LOGS)),
    ]

    assert [answer.status_code for answer in answers] == [200] * 6
    for answer in answers:
        assert hidden not in answer.content


# In a browser session


@pytest.fixture
def browser(owner):
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(owner)
    client.cookies["csrftoken"] = CSRF
    return client


def test_a_session_runs_a_pipeline_with_the_csrf_token(browser, pipeline):
    answer = browser.post(RUN, {"pipelineId": str(pipeline.pk)}, headers={"X-CSRFToken": CSRF})

    assert answer.status_code == 200
    assert (Run.objects.get().started_by, Run.objects.get().token) == (pipeline.owner, None)


@pytest.mark.parametrize("headers", [{}, {"X-CSRFToken": "d" * 32}], ids=["none", "another"])
def test_session_without_csrf_token_cannot_start_a_run(browser, pipeline, headers):
    answer = browser.post(RUN, {"pipelineId": str(pipeline.pk)}, headers=headers)

    assert answer.status_code == 403
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert not Run.objects.exists()


def test_a_session_reads_the_list_without_a_csrf_token(browser, pipeline):
    assert browser.get(LIST).json()["count"] == 1


def test_a_bearer_token_needs_no_csrf_token(owner, pipeline):
    client = APIClient(enforce_csrf_checks=True)

    answer = client.post(RUN, {"pipelineId": str(pipeline.pk)}, headers=bearer(TokenFactory(owner=owner)))
    assert answer.status_code == 200


def test_next_is_an_address_of_this_portal(as_owner, owner, settings):
    PipelineFactory.create_batch(2, owner=owner)

    following = as_owner.get(f"{LIST}?page_size=1").json()["next"]
    assert following.startswith(f"{settings.PORTAL_URL}{LIST}?")
