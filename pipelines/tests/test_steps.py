"""Steps of a pipeline are added, changed, ordered, removed and replaced with their secrets."""

import json

import pytest
from django.core.exceptions import ValidationError
from django.db import connection

from core.errors import NotAllowed
from pipelines import services, step_secrets
from pipelines.models import Step
from pipelines.services import StepInput
from pipelines.tests.factories import PipelineFactory, StepFactory

URL = "https://ci.example.com/build"
SECRET = {"Authorization": "Bearer very-secret-value"}


@pytest.fixture
def pipeline(owner):
    return PipelineFactory(owner=owner, name="Nightly")


@pytest.fixture
def as_owner(client, owner):
    client.force_login(owner)
    return client


@pytest.fixture
def step(owner, pipeline):
    new = StepInput(name="Build", url=URL, headers={"Accept": "text/plain"}, secret_headers=SECRET)
    return services.add_step(actor=owner, pipeline=pipeline, step=new)


def names(pipeline):
    return [(step.position, step.name) for step in pipeline.steps.order_by("position")]


def secrets_of(step):
    step.refresh_from_db()
    return step_secrets.decrypt(step, "secret_headers")


def edit(owner, step, **fields):
    values = {"name": "Build", "url": URL, "secret_headers": {"Authorization": None}} | fields
    return services.edit_step(actor=owner, pipeline=step.pipeline, step_id=step.pk, step=StepInput(**values))


def form(**fields):
    return {
        "kind": "http_call",
        "name": "Build",
        "method": "POST",
        "url": URL,
        "headers": "",
        "secret_headers": "",
        "body": "",
        "expected_status": "200",
    } | fields


def patch(client, pipeline, steps):
    return client.patch(f"/api/v1/pipelines/{pipeline.pk}", {"steps": steps}, content_type="application/json")


# Order


@pytest.mark.each_database
def test_steps_are_added_at_the_end_moved_and_removed(owner, pipeline):
    steps = [services.add_step(actor=owner, pipeline=pipeline, step=StepInput(name=name, url=URL)) for name in "ABC"]

    services.move_step(actor=owner, pipeline=pipeline, step_id=steps[2].pk, direction="up")
    assert names(pipeline) == [(1, "A"), (2, "C"), (3, "B")]
    services.move_step(actor=owner, pipeline=pipeline, step_id=steps[0].pk, direction="up")
    services.move_step(actor=owner, pipeline=pipeline, step_id=steps[1].pk, direction="down")
    assert names(pipeline) == [(1, "A"), (2, "C"), (3, "B")]
    services.remove_step(actor=owner, pipeline=pipeline, step_id=steps[0].pk)
    assert names(pipeline) == [(1, "C"), (2, "B")]


@pytest.mark.each_database
def test_steps_are_replaced_by_api_and_keep_their_ids_and_secrets(as_owner, pipeline, step):
    answer = patch(
        as_owner,
        pipeline,
        [
            {"name": "Gate", "kind": "approval", "instructions": "Look."},
            {"id": str(step.pk), "name": "Built", "url": URL, "secret_headers": {"authorization": None}},
        ],
    )

    assert answer.status_code == 200
    assert [row["name"] for row in answer.json()["steps"]] == ["Gate", "Built"]
    assert answer.json()["steps"][1]["id"] == str(step.pk)
    assert secrets_of(step) == {"authorization": SECRET["Authorization"]}


@pytest.mark.each_database
def test_replacement_with_one_invalid_step_changes_nothing(as_owner, pipeline, step):
    answer = patch(as_owner, pipeline, [{"name": "Good", "url": URL}, {"name": "Bad", "url": "ftp://example.com"}])

    assert answer.status_code == 400
    assert answer.json()["errors"] == {"steps": ["Step 2: url: The URL must start with http:// or https://."]}
    assert names(pipeline) == [(1, "Build")]


def test_step_of_another_pipeline_cannot_be_used(as_owner, owner, pipeline, step):
    other = PipelineFactory(owner=owner)

    answer = patch(as_owner, other, [{"id": str(step.pk), "name": "Mine", "url": URL}])
    page = as_owner.post(f"/pipelines/{other.pk}/steps/{step.pk}/", form())

    assert answer.status_code == 400
    assert page.status_code == 404
    assert names(pipeline) == [(1, "Build")]


@pytest.mark.parametrize("count", [101, 500])
def test_steps_over_the_limit_are_refused(as_owner, pipeline, count):
    answer = patch(as_owner, pipeline, [{"name": f"Step {n}", "url": URL} for n in range(count)])

    assert answer.status_code == 400
    assert "There can be at most 100" in answer.content.decode()
    assert names(pipeline) == []


def test_step_101_is_refused_on_the_page(as_owner, pipeline):
    Step.objects.bulk_create([Step(pipeline=pipeline, position=n, name=str(n), url=URL) for n in range(1, 101)])

    answer = as_owner.post(f"/pipelines/{pipeline.pk}/steps/new/", form())

    assert answer.status_code == 400
    assert "at most 100 steps" in answer.content.decode()


# Secrets


@pytest.mark.each_database
def test_secret_is_stored_only_encrypted(owner, pipeline, step):
    services.start_run(actor=owner, pipeline=pipeline)

    for table in ("pipelines_step", "pipelines_steprun"):
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {table}")
            assert "very-secret-value" not in str(cursor.fetchall())
    assert secrets_of(step) == SECRET


def test_a_secret_is_kept_changed_and_removed(owner, step):
    edit(owner, step, secret_headers={"AUTHORIZATION": None})
    assert secrets_of(step) == {"AUTHORIZATION": SECRET["Authorization"]}

    edit(owner, step, secret_headers={"Authorization": "Bearer another"})
    assert secrets_of(step) == {"Authorization": "Bearer another"}

    edit(owner, step, secret_headers={})
    assert secrets_of(step) == {}


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example.com/build",
        "http://ci.example.com/build",
        "https://ci.example.com:8443/build",
        "https://ci.example.com.evil.example/build",
        "https://CI.example.com@evil.example/build",
    ],
)
def test_secret_is_not_sent_to_another_server(owner, step, url):
    with pytest.raises(ValidationError):
        edit(owner, step, url=url)

    step.refresh_from_db()
    assert step.url == URL
    edit(owner, step, url="https://ci.example.com/another/path?x=1")


def test_secret_without_a_stored_value_cannot_be_kept(owner, pipeline):
    with pytest.raises(ValidationError, match="has no value yet"):
        services.add_step(
            actor=owner, pipeline=pipeline, step=StepInput(name="X", url=URL, secret_headers={"Authorization": None})
        )


def test_step_that_becomes_a_gate_loses_the_fields_of_a_call(owner, step):
    edit(owner, step, kind="approval", secret_headers={}, instructions="Look.")

    step.refresh_from_db()
    assert (step.url, step.headers, step.secret_headers, step.body) == ("", {}, {}, "")
    assert step.instructions == "Look."


def test_form_keeps_changes_and_removes_secrets_without_showing_them(as_owner, pipeline, step):
    page = f"/pipelines/{pipeline.pk}/steps/{step.pk}/"
    shown = as_owner.get(page).content.decode()
    assert "Authorization: (unchanged)" in shown
    assert "very-secret-value" not in shown

    as_owner.post(page, form(secret_headers="Authorization: (unchanged)\nX-Token: new"))
    assert secrets_of(step) == SECRET | {"X-Token": "new"}
    as_owner.post(page, form(secret_headers="X-Token: (unchanged)"))
    assert secrets_of(step) == {"X-Token": "new"}


def test_copy_has_the_secrets_without_showing_them(as_owner, pipeline, step):
    as_owner.post(f"/pipelines/{pipeline.pk}/duplicate/", {"name": "Copy"})

    copied = Step.objects.exclude(pk=step.pk).get()
    assert secrets_of(copied) == SECRET
    assert "very-secret-value" not in as_owner.get(f"/api/v1/pipelines/{copied.pipeline_id}").content.decode()


def test_encryption_key_can_be_changed(settings, owner, step, capsys):
    from cryptography.fernet import Fernet
    from django.core.management import call_command

    old = step_secrets.BOX.key_of_the_file()
    new = Fernet.generate_key().decode()
    settings.STEP_SECRETS_KEYS = (new, old)

    call_command("reencrypt_step_secrets")

    settings.STEP_SECRETS_KEYS = (new,)
    assert secrets_of(step) == SECRET
    assert "Secrets of 1 step encrypted again." in capsys.readouterr().out


# Invalid steps


WRONG = {
    "no name": {"name": ""},
    "a name of spaces": {"name": "   "},
    "a long name": {"name": "x" * 101},
    "a line break in the name": {"name": "a\nb"},
    "NUL in the name": {"name": "a\x00b"},
    "no address": {"url": ""},
    "another scheme": {"url": "ftp://example.com/"},
    "a file": {"url": "file:///etc/passwd"},
    "no host": {"url": "https:///build"},
    "no address at all": {"url": "build"},
    "a password in the address": {"url": "https://user:password@example.com/"},
    "a line break in the address": {"url": "https://example.com/\r\nX: y"},
    "NUL in the address": {"url": "https://example.com/\x00"},
    "a long address": {"url": "https://example.com/" + "x" * 2048},
    "an invalid port": {"url": "https://example.com:99999/"},
    "another kind": {"kind": "shell"},
    "another method": {"method": "CONNECT"},
    "an invalid status": {"expected_status": 42},
    "NUL in the body": {"body": "a\x00b"},
    "a body that is too long": {"body": "x" * (64 * 1024 + 1)},
    "a line break in a header": {"headers": {"X-A": "b\r\nX-C: d"}},
    "a line break in a header's name": {"headers": {"X-A\r\nX-C": "d"}},
    "NUL in a header": {"headers": {"X-A": "b\x00"}},
    "a number in a header": {"headers": {"X-A": 1}},
    "a list of headers": {"headers": [1]},
    "many headers": {"headers": {f"X-{n}": "a" for n in range(51)}},
    "a header that the portal sets": {"headers": {"Host": "example.com"}},
    "a secret among the plain headers": {"headers": {"Authorization": "Bearer x"}},
    "a key among the plain headers": {"headers": {"X-Api-Key": "x"}},
    "a header twice": {"headers": {"X-A": "1"}, "secret_headers": {"x-a": "2"}},
    "a secret without value": {"secret_headers": {"Authorization": " "}},
    "a line break in a secret": {"secret_headers": {"Authorization": "a\r\nb"}},
    "a number as secret": {"secret_headers": {"Authorization": 5}},
    "an unknown field": {"shell": "rm"},
}


def typed_in_a_form(wrong):
    return wrong.keys() <= {"name", "url", "method", "expected_status", "body"}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_invalid_step_is_refused_with_its_error_and_changes_nothing(as_owner, pipeline, wrong):
    answer = patch(as_owner, pipeline, [{"name": "Build", "url": URL} | wrong])

    assert answer.status_code == 400
    assert "steps" in {field.partition(".")[0] for field in answer.json()["errors"]}
    assert names(pipeline) == []


@pytest.mark.parametrize(
    "wrong",
    [
        *(WRONG[name] for name in WRONG if typed_in_a_form(WRONG[name])),
        {"headers": "no colon here"},
        {"headers": ": no name"},
        {"headers": "X-A: 1\nx-a: 2"},
        {"headers": "Authorization: Bearer x"},
        {"secret_headers": "Authorization:"},
        {"secret_headers": "Authorization: (unchanged)"},
    ],
    ids=str,
)
def test_step_error_is_shown_beside_its_field_and_input_stays(as_owner, pipeline, wrong):
    answer = as_owner.post(f"/pipelines/{pipeline.pk}/steps/new/", form(**wrong))

    assert answer.status_code == 400
    assert "error-summary" in answer.content.decode()
    assert names(pipeline) == []


def test_a_body_of_a_megabyte_is_refused_before_it_is_read(as_owner, pipeline):
    by_page = as_owner.post(f"/pipelines/{pipeline.pk}/steps/new/", form(body="x" * 2**20))
    by_api = patch(as_owner, pipeline, [{"name": "Build", "url": URL, "body": "x" * 2**20}])

    assert (by_page.status_code, by_api.status_code) == (413, 413)
    assert names(pipeline) == []


@pytest.mark.parametrize("steps", [None, "x", {}, [1], [None], [{}], [[]]])
def test_invalid_list_of_steps_is_refused(as_owner, pipeline, steps):
    assert patch(as_owner, pipeline, steps).status_code == 400


@pytest.mark.parametrize("template", ["jenkins", "github", "gitlab", "argo", "webhook"])
def test_a_template_fills_the_form_and_its_secret_must_be_entered(as_owner, pipeline, template):
    rows = {row["id"]: row for row in as_owner.get("/api/v1/step-templates").json()["data"]}
    page = as_owner.get(f"/pipelines/{pipeline.pk}/steps/new/?template={template}").content.decode()
    row = rows[template]

    assert row["url"] in page
    headers = "\n".join(f"{name}: {value}" for name, value in row["headers"].items())
    empty = "\n".join(f"{name}: " for name in row["secret_header_names"])
    fields = form(
        name=row["label"],
        method=row["method"],
        url=row["url"],
        headers=headers,
        body=row["body"],
        expected_status=row["expected_status"],
    )
    address = f"/pipelines/{pipeline.pk}/steps/new/"
    if empty:
        assert as_owner.post(address, fields | {"secret_headers": empty}).status_code == 400
    filled = "\n".join(f"{name}: secret" for name in row["secret_header_names"])
    assert as_owner.post(address, fields | {"secret_headers": filled}).status_code == 302
    assert json.loads(pipeline.steps.get().body or "{}") is not None


def test_removed_step_is_not_found(as_owner, pipeline, step):
    step.delete()

    for action in ("", "move-up/", "remove/"):
        assert as_owner.post(f"/pipelines/{pipeline.pk}/steps/{step.pk}/{action}", form()).status_code == 404


def test_step_of_another_organization_is_not_found(client, stranger, step):
    client.force_login(stranger)

    assert client.post(f"/pipelines/{step.pipeline_id}/steps/{step.pk}/", form()).status_code == 404
    StepFactory(pipeline=PipelineFactory(owner=stranger))


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("body", {"body": "x" * (64 * 1024 + 1)}),
        ("body", {"body": "a\0b"}),
        ("instructions", {"kind": "approval", "instructions": "x" * 501}),
        ("instructions", {"kind": "approval", "instructions": "a\0b"}),
        ("headers", {"headers": {"X-A": "b\r\nX-C: d"}}),
        ("secret_headers", {"secret_headers": {"X-A": "b\r\nX-C: d"}}),
        ("secret_headers", {"secret_headers": {"X-A": "b", "x-a": "c"}}),
        ("secret_headers", {"secret_headers": {f"X-{n}": "a" for n in range(51)}}),
    ],
    ids=["long body", "NUL in body", "long text", "NUL in text", "break", "secret break", "twice", "many"],
)
def test_service_validates_steps_itself(owner, pipeline, field, wrong):
    with pytest.raises(ValidationError) as refusal:
        services.add_step(actor=owner, pipeline=pipeline, step=StepInput(**{"name": "Build", "url": URL} | wrong))

    assert list(refusal.value.message_dict) == [field]
    assert names(pipeline) == []


@pytest.mark.each_database
def test_a_body_of_64_kib_is_kept_as_it_is(owner, pipeline):
    body = "ä" * (64 * 1024 - 2) + "\r\n"

    services.add_step(actor=owner, pipeline=pipeline, step=StepInput(name="Build", url=URL, body=body))

    assert pipeline.steps.get().body == body


def test_error_messages_contain_no_secret(owner, pipeline):
    for secrets in ({"Bearer very-secret-value": "x"}, {"X-A": "very-secret\nvalue"}, {"X-A": "very-secret-välue€"}):
        new = StepInput(name="Build", url=URL, secret_headers=secrets)
        with pytest.raises(ValidationError) as refusal:
            services.add_step(actor=owner, pipeline=pipeline, step=new)
        assert "very-secret" not in str(refusal.value)


def test_step_cannot_be_reached_through_another_pipeline(owner, pipeline, step):
    mine = PipelineFactory(owner=owner)

    for action in (
        lambda: services.edit_step(actor=owner, pipeline=mine, step_id=step.pk, step=StepInput(name="X", url=URL)),
        lambda: services.move_step(actor=owner, pipeline=mine, step_id=step.pk, direction="up"),
        lambda: services.remove_step(actor=owner, pipeline=mine, step_id=step.pk),
    ):
        with pytest.raises(NotAllowed):
            action()
    assert names(pipeline) == [(1, "Build")]


def test_list_that_contains_a_step_twice_is_refused(owner, pipeline, step):
    same = StepInput(name="Build", url=URL, id=step.pk)

    with pytest.raises(ValidationError, match="appear once"):
        services.replace_steps(actor=owner, pipeline=pipeline, steps=[same, same])


@pytest.mark.each_database
def test_100_steps_can_be_reversed(owner, pipeline):
    Step.objects.bulk_create([Step(pipeline=pipeline, position=n, name=str(n), url=URL) for n in range(1, 101)])
    steps = [StepInput(name=step.name, url=URL, id=step.pk) for step in pipeline.steps.order_by("-position")]

    services.replace_steps(actor=owner, pipeline=pipeline, steps=steps)

    assert names(pipeline) == [(n, str(101 - n)) for n in range(1, 101)]


def test_secret_of_a_step_that_replaces_a_gate_must_be_entered(owner, step):
    edit(owner, step, kind="approval", secret_headers={})

    with pytest.raises(ValidationError, match="has no value yet"):
        edit(owner, step)
