"""A request repeated with the same `Idempotency-Key` is carried out once and answered again."""

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import time_machine
from django.db import OperationalError, connection
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import Group, User
from auditlog import journal
from auditlog.models import Activity, TokenUse
from core import periodic_jobs
from core.api import idempotency
from core.api.operations import routes
from core.models import KeptAnswer
from pipelines.models import Pipeline, Run
from pipelines.services import lock_pipeline, unlock_pipeline
from pipelines.tests.factories import PipelineFactory, StepFactory
from tokens.models import Token
from tokens.tests.factories import TokenFactory, bearer

pytestmark = pytest.mark.each_database

RUN = "/api/v1/pipeline/run"
PIPELINES = "/api/v1/pipelines"
KEY = "8e03978e-40d5-43e8-bc93-6894a57f9324"


@pytest.fixture
def pipeline(owner):
    return StepFactory(pipeline__owner=owner).pipeline


@pytest.fixture
def token(owner):
    return TokenFactory(owner=owner)


@pytest.fixture
def post(api, token):
    def post(path, body, key=KEY, *, token=token, **headers):
        return api.post(path, body, headers=bearer(token) | {"Idempotency-Key": key} | headers)

    return post


@pytest.fixture
def run(post, pipeline):
    def run(key=KEY, **options):
        return post(RUN, {"pipelineId": str(pipeline.pk)}, key, **options)

    return run


def assert_replay(again, first):
    assert again.status_code == first.status_code
    assert again.content == first.content
    assert again.headers["Content-Type"] == first.headers["Content-Type"]
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers


def test_same_request_with_the_same_key_starts_one_run_and_gets_the_same_answer(run):
    first, again = run(), run()

    assert (first.status_code, first.json()["runCount"]) == (200, 1)
    assert_replay(again, first)
    assert Run.objects.count() == 1
    assert Activity.objects.filter(action="pipeline.started").count() == 1


def test_requests_with_different_keys_or_without_keys_are_all_carried_out(run, api, token, pipeline):
    answers = [run("one"), run("two")]
    answers += [api.post(RUN, {"pipelineId": str(pipeline.pk)}, headers=bearer(token)) for _ in range(2)]

    assert [answer.json()["runCount"] for answer in answers] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("path", "body", "model"),
    [
        (PIPELINES, {"name": "Created once"}, Pipeline),
        ("/api/v1/groups", {"name": "Created once"}, Group),
    ],
)
def test_object_is_created_once(api, administrator, path, body, model):
    headers = bearer(TokenFactory(owner=administrator)) | {"Idempotency-Key": KEY}

    first, again = (api.post(path, body, headers=headers) for _ in range(2))

    assert first.status_code == 201
    assert_replay(again, first)
    assert model.objects.filter(name="Created once").count() == 1


def test_answer_without_a_body_is_repeated(api, owner, member, pipeline):
    """A person who can no longer see the pipeline that they transferred gets 204."""
    from pipelines.tests.factories import AccessRuleFactory

    AccessRuleFactory(pipeline=pipeline, user=member)
    headers = bearer(TokenFactory(owner=owner)) | {"Idempotency-Key": KEY}

    first, again = (
        api.post(f"{PIPELINES}/{pipeline.pk}/transfer", {"owner_id": str(member.pk)}, headers=headers) for _ in range(2)
    )

    assert first.status_code == 204
    assert (again.status_code, again.content, again.headers["Idempotency-Replayed"]) == (204, b"", "true")


@pytest.mark.parametrize("spelling", [f'"{KEY}"', KEY])
@pytest.mark.once
def test_key_is_the_same_with_and_without_quotation_marks(run, spelling):
    run(KEY)

    assert "Idempotency-Replayed" in run(spelling).headers


def test_another_body_or_another_address_with_the_same_key_is_422(run, post, owner, pipeline):
    run()
    other = StepFactory(pipeline__owner=owner).pipeline

    refused = [
        post(RUN, {"pipelineId": str(other.pk)}),
        post("/api/v1/pipeline/stop", {"pipelineId": str(pipeline.pk)}),
        post(PIPELINES, {"name": "Another"}),
    ]

    assert [answer.status_code for answer in refused] == [422] * 3
    assert {answer.json()["code"] for answer in refused} == {"idempotency_key_reused"}
    assert {answer.headers["Content-Type"] for answer in refused} == {"application/problem+json"}
    assert Run.objects.count() == 1
    assert not Pipeline.objects.filter(name="Another").exists()


@pytest.mark.once
def test_same_body_with_other_white_space_is_the_same_request(api, token, pipeline):
    headers = bearer(token) | {"Idempotency-Key": KEY}
    path = f"{PIPELINES}/{pipeline.pk}/duplicate"
    bodies = ['{"name": "Copy"}', ' {"name" :"Copy"} ']

    first = api.post(path, bodies[0], content_type="application/json", headers=headers)
    again = api.post(path, bodies[1], content_type="application/json", headers=headers)

    assert first.status_code == 201
    assert_replay(again, first)


@pytest.mark.parametrize(
    "key", ["", '""', '"', " ", "a b", "a,b", "ä", "a\tb", "back\\slash", 'a"b', "x" * 256, "\x00", "💥"], ids=repr
)
@pytest.mark.once
def test_invalid_key_is_400_and_changes_nothing(api, token, pipeline, key):
    answer = api.generic(
        "POST",
        RUN,
        json.dumps({"pipelineId": str(pipeline.pk)}),
        content_type="application/json",
        HTTP_AUTHORIZATION=bearer(token)["Authorization"],
        HTTP_IDEMPOTENCY_KEY=key.encode().decode("latin-1"),
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert "Idempotency-Key must have 1 to 255 visible ASCII characters" in answer.json()["detail"]
    assert not Run.objects.exists()
    assert TokenUse.objects.get().status == 400


@pytest.mark.once
def test_longest_key_is_accepted(run):
    assert run("x" * 255).status_code == 200


def test_key_is_shared_by_all_tokens_and_the_session_of_its_owner(run, owner, member, pipeline):
    first = run()

    assert_replay(run(token=TokenFactory(owner=owner)), first)
    browser = APIClient()
    browser.force_login(owner)
    body = {"pipelineId": str(pipeline.pk)}
    assert_replay(browser.post(RUN, body, headers={"Idempotency-Key": KEY}), first)
    assert run(token=TokenFactory(owner=member)).json()["runCount"] == 2


def test_key_can_be_used_again_after_24_hours(run):
    first = run()
    with time_machine.travel(timezone.now() + timedelta(hours=23, minutes=59), tick=False):
        assert_replay(run(), first)
    with time_machine.travel(timezone.now() + timedelta(hours=24, seconds=1), tick=False):
        assert run().json()["runCount"] == 2


def test_answers_are_removed_after_24_hours(run):
    run("old")
    KeptAnswer.objects.update(created_at=timezone.now() - timedelta(hours=24, seconds=1))
    run("new")

    periodic_jobs._registered["kept answers"].work(threading.Event())

    assert KeptAnswer.objects.count() == 1
    assert "Idempotency-Replayed" in run("new").headers


def test_refused_request_can_be_tried_again_with_the_same_key(run, owner, pipeline):
    lock_pipeline(actor=owner, pipeline=pipeline)
    assert run().status_code == 409
    unlock_pipeline(actor=owner, pipeline=pipeline)

    assert (run().status_code, Run.objects.count()) == (200, 1)


def test_request_whose_log_entry_could_not_be_written_can_be_tried_again(run, monkeypatch):
    def no_disk(*args, **kwargs):
        raise OperationalError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(journal, "_insert", no_disk)
        assert run().status_code == 503
    assert not KeptAnswer.objects.exists()

    answer = run()

    assert (answer.status_code, answer.json()["runCount"], Run.objects.count()) == (200, 1, 1)


def test_each_retry_is_in_the_authentication_log(run):
    answers = [run() for _ in range(3)]

    uses = TokenUse.objects.order_by("id")
    assert [str(use.request_id) for use in uses] == [answer.headers["X-Request-ID"] for answer in answers]
    assert {(use.status, use.outcome) for use in uses} == {(200, "allowed")}


def test_permissions_are_checked_again_for_each_retry(run, owner, token, api, pipeline):
    run()
    assert run(token=TokenFactory(owner=owner, scope="pipeline-readonly")).status_code == 403
    User.objects.filter(pk=owner.pk).update(site_role="guest")
    assert run().status_code == 403
    Token.objects.filter(pk=token.pk).update(revoked_at=timezone.now(), live_name_key=None)
    assert run().status_code == 401


def test_token_is_created_once_and_not_stored(owner):
    browser = APIClient()
    browser.force_login(owner)
    body = {"name": "nightly build", "scopes": ["api"], "lifetime": "1d"}

    first, again = (browser.post("/api/v1/tokens", body, headers={"Idempotency-Key": KEY}) for _ in range(2))

    assert first.status_code == 201
    assert (again.status_code, again.json()["code"]) == (409, "already_shown")
    assert "shown only once" in again.json()["detail"]
    assert "token" not in again.json()
    assert Token.objects.count() == 1
    [kept] = KeptAnswer.objects.all()
    assert (kept.status, kept.body) == (201, "")


def test_refused_request_of_a_session_does_not_use_up_the_key(owner):
    browser = APIClient()
    browser.force_login(owner)

    for _ in range(2):
        assert browser.post(PIPELINES, {"name": ""}, headers={"Idempotency-Key": KEY}).status_code == 400
    assert not KeptAnswer.objects.exists()
    answer = browser.post(PIPELINES, {"name": "Created"}, headers={"Idempotency-Key": KEY})
    assert (answer.status_code, "Idempotency-Replayed" in answer.headers) == (201, False)


@pytest.mark.once
def test_kept_answers_are_encrypted_and_bound_to_their_row(run, settings):
    first = run()
    [kept] = KeptAnswer.objects.all()
    assert "executed" not in kept.body
    assert KEY not in (kept.key_digest, kept.fingerprint)

    settings.SECRET_KEY = "another one, as after a change of it " * 2
    assert run().status_code == 422
    assert first.status_code == 200


@pytest.mark.once
def test_fingerprint_of_a_body_cannot_be_guessed_without_the_secret_key(run, settings):
    run("one")
    settings.SECRET_KEY = "a guess of it " * 4
    run("two")

    one, two = KeptAnswer.objects.values_list("fingerprint", flat=True)
    assert one != two


def test_stored_answer_moved_to_another_row_does_not_decrypt(run):
    run("one")
    run("two")
    one, two = KeptAnswer.objects.order_by("created_at")
    KeptAnswer.objects.filter(pk=two.pk).update(body=one.body)

    assert run("two").status_code == 409


@pytest.mark.once
def test_key_is_ignored_for_requests_that_only_read(api, token, post, pipeline):
    body = {"pipelineId": str(pipeline.pk)}
    for _ in range(2):
        assert "Idempotency-Replayed" not in post("/api/v1/pipeline/status", body).headers
    assert "Idempotency-Replayed" not in api.get(PIPELINES, headers=bearer(token) | {"Idempotency-Key": KEY}).headers
    assert not KeptAnswer.objects.exists()


@pytest.mark.once
def test_schema_has_the_key_for_every_post_that_changes_something(client):
    schema = client.get("/api/schema/").json()
    taking = {
        path
        for path, item in schema["paths"].items()
        if "post" in item
        and any(parameter["name"] == "Idempotency-Key" for parameter in item["post"].get("parameters", []))
    }

    changing = {
        re.sub(r"<\w+:pk>", "{id}", route.path)
        for route in routes()
        if route.method == "POST"
        and route.path.startswith("/api/v1/")
        and not route.operation.only_reads
        and not route.operation.is_public
        and not route.operation.is_for_services
    }
    assert taking == changing
    assert {RUN, PIPELINES, "/api/v1/tokens", "/api/v1/users", "/api/v1/groups"} <= taking
    assert {f"{PIPELINES}/{{id}}/duplicate", "/api/v1/users/{id}/invitation"} <= taking
    assert "422" in schema["paths"][RUN]["post"]["responses"]


def test_request_without_a_key_costs_no_extra_query(api, token, pipeline, django_assert_num_queries):
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as captured:
        api.post(RUN, {"pipelineId": str(pipeline.pk)}, headers=bearer(token))

    assert not any("keptanswer" in query["sql"] for query in captured)


@pytest.mark.django_db(transaction=True)
def test_two_requests_at_the_same_time_start_one_run(owner):
    pipeline = StepFactory(pipeline=PipelineFactory(owner=owner)).pipeline
    headers = [bearer(TokenFactory(owner=owner)) | {"Idempotency-Key": KEY} for _ in range(6)]
    barrier = threading.Barrier(len(headers))

    def ask(headers):
        try:
            barrier.wait(30)
            return APIClient().post(RUN, {"pipelineId": str(pipeline.pk)}, headers=headers)
        finally:
            connection.close()

    with ThreadPoolExecutor(len(headers)) as pool:
        answers = list(pool.map(ask, headers))

    assert [answer.status_code for answer in answers] == [200] * 6
    assert {answer.content for answer in answers} == {answers[0].content}
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    assert Run.objects.count() == 1
    assert TokenUse.objects.count() == 6


@pytest.mark.django_db(transaction=True)
def test_second_request_is_carried_out_if_the_first_fails(owner, monkeypatch):
    """The first request claims the key and fails. The second waits for it and starts the run."""
    pipeline = StepFactory(pipeline=PipelineFactory(owner=owner)).pipeline
    headers = bearer(TokenFactory(owner=owner)) | {"Idempotency-Key": KEY}
    claimed, fail = threading.Event(), threading.Event()
    claim = idempotency.claim

    def claim_and_wait(*args):
        found = claim(*args)
        if not claimed.is_set():
            claimed.set()
            fail.wait(0.3)
            raise OperationalError("the connection was lost")
        return found

    monkeypatch.setattr(idempotency, "claim", claim_and_wait)

    def ask():
        try:
            return APIClient().post(RUN, {"pipelineId": str(pipeline.pk)}, headers=headers)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask)
        assert claimed.wait(30)
        second = pool.submit(ask)

    assert (first.result().status_code, second.result().status_code) == (503, 200)
    assert Run.objects.count() == 1
