"""Secret URL parameters and body fields are entered, sent, stored and never shown.

Only people who can edit the steps read the answers of servers.
"""

import json

import pytest
from django.core.exceptions import ValidationError
from django.db import connection

from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory
from pipelines import secret_fields, services, step_secrets
from pipelines.access import ItemRole
from pipelines.models import RunLogLine, Step, StepRun
from pipelines.services import StepInput
from pipelines.tests.factories import AccessRuleFactory, PipelineFactory, give_secrets
from pipelines.tests.stages import Stage

SECRETS = {"secret_query": {"job token": "query&secret=1#é"}, "secret_body": {"inputs.key": 'body"secret\\'}}
LOGS = "/api/v1/pipeline/logs"


@pytest.fixture
def stage(owner, build_server):
    """A pipeline with one call that has a secret in its URL and one in its body."""
    stage = Stage(owner, build_server)
    url = f"{build_server.url}/one?a=1"
    replace(stage, StepInput(name="Call", url=url, body='{"inputs": {"b": 2}}', **SECRETS))
    return stage


def replace(stage, *steps):
    return services.replace_steps(actor=stage.owner, pipeline=stage.pipeline, steps=steps)


def rows(*tables):
    text = ""
    for table in tables:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {table}")
            text += str(cursor.fetchall())
    return text


# Sent


def test_secret_parameters_and_fields_are_sent_and_deleted_after_the_run(build_server, stage):
    stage.ask()
    assert "secret" not in rows("pipelines_steprun")
    stage.work()

    _, path, _, body = build_server.next_call()
    assert path == "/one?a=1&job%20token=query%26secret%3D1%23%C3%A9"
    assert json.loads(body) == {"inputs": {"b": 2, "key": 'body"secret\\'}}
    assert stage.state == "finished success"
    copy = StepRun.objects.get()
    assert (copy.secret_query, copy.secret_body) == ({}, {})


def test_form_gets_secret_fields_as_pairs(build_server, stage):
    form = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    call = StepInput(name="X", url=f"{build_server.url}/x", headers=form, body="a=1", secret_body={"token": "b&c=d é"})
    replace(stage, call)
    stage.ask()
    stage.work()

    assert build_server.next_call()[3] == "a=1&token=b%26c%3Dd+%C3%A9"


@pytest.mark.parametrize(
    "value", ["//evil.example", "@evil.example/", "\r\nHost: evil.example", "#", "?", "%00", "../"]
)
def test_secret_parameter_cannot_change_the_address(value):
    url = secret_fields.url_with("https://ci.example.com/a?b=1#c", {"x": value})

    assert step_secrets.server_of(url) == "https://ci.example.com:443"
    assert url.startswith("https://ci.example.com/a?b=1&x=")
    assert url.endswith("#c")
    assert not set(url.removeprefix("https://ci.example.com/a?b=1&x=").removesuffix("#c")) & set("/@\r\n#?&=")


def test_secret_in_an_answer_is_hidden_even_from_editors(build_server, stage):
    build_server.answers["/one"] = (500, "Got query%26secret%3D1%23%C3%A9 and body\\u0022secret\\\\ – no.")
    run = stage.ask()
    stage.work()

    assert run.log_lines.get(action="answer").answer == "Got [secret] and [secret] – no."
    assert "secret=1" not in rows("pipelines_runlogline", "pipelines_steprun")


def test_answer_to_a_step_with_a_short_secret_is_not_kept(build_server, stage):
    build_server.answers["/one"] = (200, "Your pin is 123.")
    give_secrets(stage.pipeline.steps.get(), {"pin": "123"}, "secret_query")
    run = stage.ask()
    stage.work()

    line = run.log_lines.get(action="answer")
    assert line.answer == ""
    assert line.message == (
        "The answer has 16 bytes. It is not kept. A secret of this step is too short to be found in the answer."
    )


def test_secret_at_the_64_kib_limit_is_not_partly_logged(build_server, stage):
    give_secrets(stage.pipeline.steps.get(), {"X-Key": "very-secret-value"})
    build_server.answers["/one"] = (200, "x" * (64 * 1024 - 8) + "very-secret-value" + "y" * 100)
    run = stage.ask()
    stage.work()

    line = run.log_lines.get(action="answer")
    assert line.answer == "x" * (64 * 1024 - 8) + "[secret]"
    assert line.message == "The answer has more than 65,536 bytes. Its beginning is kept."


# Moved in the database


@pytest.mark.parametrize(("source", "target"), [("secret_query", "secret_body"), ("secret_body", "secret_headers")])
def test_secret_moved_to_another_place_is_not_sent(build_server, stage, source, target):
    step = stage.pipeline.steps.get()
    [value] = getattr(step, source).values()
    Step.objects.update(**{place: {} for place in step_secrets.PLACES} | {target: {"job": value}})
    run = stage.ask()
    stage.work()

    assert "cannot be decrypted" in run.step_runs.get().message
    assert build_server.called == []


# Stored


def change(stage, **fields):
    step = stage.pipeline.steps.get()
    kept = {place: dict.fromkeys(getattr(step, place)) for place in step_secrets.PLACES}
    values = {"name": step.name, "url": step.url, "body": step.body} | kept | fields
    return services.edit_step(actor=stage.owner, pipeline=stage.pipeline, step_id=step.pk, step=StepInput(**values))


def test_secrets_are_kept_changed_and_removed(stage):
    change(stage, secret_query={"job token": "other"})
    step = stage.pipeline.steps.get()

    assert step_secrets.decrypt(step, "secret_query") == {"job token": "other"}
    assert step_secrets.decrypt(step, "secret_body") == SECRETS["secret_body"]
    change(stage, secret_query={}, secret_body={})
    assert not stage.pipeline.steps.get().has_secrets


@pytest.mark.parametrize("place", ["secret_query", "secret_body"])
def test_secrets_are_not_sent_to_another_server(stage, place):
    other = {"secret_query": {}, "secret_body": {}}
    del other[place]
    with pytest.raises(ValidationError) as refusal:
        change(stage, url="https://evil.example.com/", **other)

    assert list(refusal.value.message_dict) == [place]
    assert "another server" in str(refusal.value)


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("secret_query", {"secret_query": {"a": "x"}}),
        ("secret_query", {"secret_query": {"": "x"}}),
        ("secret_query", {"secret_query": {"b": " "}}),
        ("secret_query", {"secret_query": {"b": None}}),
        ("secret_query", {"secret_query": {"b:c": "x"}}),
        ("secret_query", {"secret_query": {"b\nc": "x"}}),
        ("secret_query", {"secret_query": {"b": "x", " b": "y"}}),
        ("secret_query", {"secret_query": {"b" * 201: "x"}}),
        ("secret_query", {"secret_query": {"b": "x" * 8193}}),
        ("secret_query", {"secret_query": {str(n): "x" for n in range(51)}}),
        ("secret_body", {"secret_body": {"inputs": "x"}}),
        ("secret_body", {"secret_body": {"inputs.b": "x"}}),
        ("secret_body", {"secret_body": {"inputs.b.c": "x"}}),
        ("secret_body", {"secret_body": {"x": "1", "x.y": "2"}}),
        ("secret_body", {"secret_body": {"x": "1"}, "body": "no JSON"}),
        ("secret_body", {"secret_body": {"x": "1"}, "body": "[]"}),
        ("secret_body", {"secret_body": {"x": "1"}, "body": '{"a": NaN}'}),
        ("secret_body", {"secret_body": {"x": "1"}, "body": "[" * 5000}),
        ("url", {"url": "https://ci.example.com/?api_key=very-secret", "secret_query": {}, "secret_body": {}}),
        ("body", {"body": '{"a": {"password": "very-secret"}}'}),
    ],
)
def test_error_of_a_secret_is_shown_beside_it_without_its_value(stage, field, fields):
    before = Step.objects.values().get()

    with pytest.raises(ValidationError) as refusal:
        change(stage, **fields)

    assert list(refusal.value.message_dict) == [field]
    assert "very-secret" not in str(refusal.value)
    assert Step.objects.values().get() == before


def test_body_field_named_like_a_secret_can_be_empty_or_no_text(stage):
    change(stage, body='{"token": "", "max_tokens": 5, "private": true, "author": "me"}', secret_body={})


def test_form_shows_names_and_keeps_values(client, stage):
    client.force_login(stage.owner)
    step = stage.pipeline.steps.get()
    page = f"/pipelines/{stage.pipeline.pk}/steps/{step.pk}/"
    shown = client.get(page).content.decode()
    fields = {"kind": "http_call", "name": "X", "method": "POST", "url": step.url, "expected_status": "200"}
    secret = {"secret_query": "job token: (unchanged)", "secret_body": "inputs.key: (unchanged)\nInputs.Key: new"}
    answer = client.post(page, fields | {"body": step.body} | secret)

    assert "job token: (unchanged)" in shown
    assert "inputs.key: (unchanged)" in shown
    assert "query&amp;secret" not in shown
    assert answer.status_code == 302
    step.refresh_from_db()
    assert step_secrets.decrypt(step, "secret_query") == SECRETS["secret_query"]
    assert step_secrets.decrypt(step, "secret_body") == SECRETS["secret_body"] | {"Inputs.Key": "new"}


def test_api_accepts_secrets_and_returns_only_their_names(client, owner):
    client.force_login(owner)
    step = {
        "name": "X",
        "url": "https://ci.example.com/",
        "secret_query": {"q": "q-secret"},
        "secret_body": {"b": "b-secret"},
    }
    made = client.post("/api/v1/pipelines", {"name": "P", "steps": [step]}, content_type="application/json")
    [row] = made.json()["steps"]
    kept = {"id": row["id"], "name": "X", "url": "https://ci.example.com/x", "secret_query": {"q": None}}
    changed = client.patch(f"/api/v1/pipelines/{made.json()['id']}", {"steps": [kept]}, content_type="application/json")

    assert (row["secret_query_names"], row["secret_body_names"]) == (["q"], ["b"])
    assert "q-secret" not in made.content.decode() + changed.content.decode()
    assert changed.json()["steps"][0]["secret_query_names"] == ["q"]
    assert changed.json()["steps"][0]["secret_body_names"] == []
    assert step_secrets.decrypt(Step.objects.get(), "secret_query") == {"q": "q-secret"}


def test_copy_by_a_power_user_lists_all_missing_secrets(stage, organization):
    power = UserFactory(organization=organization, site_role=SiteRole.POWER_USER)
    copy = services.duplicate_pipeline(actor=power, pipeline=stage.pipeline)

    assert copy.steps.get().missing_secrets == ["job token", "inputs.key"]


def test_query_is_split_into_secret_and_plain_parameters():
    url = "https://ci.example.com/?token=a%26b&x=1&x=2&TOKEN=c&sig&cause=t+u#f"

    assert secret_fields.split_query(url) == (
        "https://ci.example.com/?x=1&x=2&sig&cause=t+u#f",
        {"token": "a&b", "TOKEN": "c"},
    )
    assert secret_fields.split_query("https://ci.example.com/x") == ("https://ci.example.com/x", {})


@pytest.mark.parametrize("query", ["token=a&token=b", "token=&token=b", "token=%ff%fe"])
def test_parameter_that_could_not_be_sent_unchanged_stays_in_the_url(query):
    url = f"https://ci.example.com/?{query}"

    assert secret_fields.split_query(url) == (url, {})


# Permission to read answers


EDITORS = {"owner", "administrator", "power_user", "item administrator", "item manager"}
READERS = {"item user", "item guest", "auditor", "security_manager"}


@pytest.mark.parametrize("who", sorted(EDITORS | READERS))
def test_only_editors_of_steps_read_responses(client, owner, organization, build_server, who):
    build_server.answers["/one"] = (200, "the text of the answer")
    stage = Stage(owner, build_server, "/one")
    person = owner
    if who.startswith("item "):
        person = UserFactory(organization=organization)
        AccessRuleFactory(pipeline=stage.pipeline, user=person, role=ItemRole(who.removeprefix("item ")))
    elif who != "owner":
        person = UserFactory(organization=organization, site_role=SiteRole(who))
    stage.ask()
    stage.work()
    client.force_login(person)
    address = f"/pipelines/{stage.pipeline.pk}"
    pages = [client.get(address + path).content.decode() for path in ("/", "/runs/1/", "/runs/1/progress/")]
    log = client.post(LOGS, {"pipelineId": str(stage.pipeline.pk)}, content_type="application/json")
    summary = client.post(
        "/api/v1/pipeline/summary", {"pipelineId": str(stage.pipeline.pk)}, content_type="application/json"
    )
    answers = [row["answer"] for row in log.json()["data"] if row["action"] == "answer"]

    assert answers == (["the text of the answer"] if who in EDITORS else [None])
    assert ("the text of the answer" in pages[1]) is (who in EDITORS)
    assert ("the text of the answer" in pages[2]) is (who in EDITORS)
    assert "the text of the answer" not in pages[0] + summary.content.decode()
    # Everyone who sees the pipeline sees status, time and size of the answer.
    assert "The answer has 22 bytes." in pages[1]
    [run_step] = summary.json()["latest_run"]["steps"]
    assert (run_step["response_status"], run_step["response_bytes"]) == (200, 22)


def test_message_does_not_contain_the_answer(owner, build_server):
    build_server.answers["/one"] = (503, "the text of the answer")
    stage = Stage(owner, build_server, "/one")
    stage.ask()
    stage.work()

    assert "the text" not in str(list(RunLogLine.objects.values_list("message", flat=True)))
    assert "the text" not in str(list(StepRun.objects.values()))


def test_strangers_find_no_log(client, stranger, stage):
    client.force_login(stranger)

    assert client.get(f"/pipelines/{stage.pipeline.pk}/runs/1/").status_code == 404
    assert PipelineFactory(owner=stranger).steps.count() == 0
