"""Secrets of steps work only in their own step, and only some people can copy them."""

import re

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command

from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory
from auditlog.models import Activity
from pipelines import services, step_secrets
from pipelines.access import ItemRole
from pipelines.models import Step, StepRun
from pipelines.tests.factories import AccessRuleFactory, PipelineFactory, StepFactory, give_secrets
from pipelines.tests.stages import Stage

SECRET = {"X-Key": "very-secret-value"}


@pytest.fixture
def stage(owner, build_server):
    """A pipeline with one call that has a secret."""
    stage = Stage(owner, build_server, "/one", name="Nightly")
    give_secrets(stage.pipeline.steps.get(), SECRET)
    return stage


@pytest.fixture
def manager(organization, stage):
    manager = UserFactory(organization=organization, email="manager@acme.example")
    AccessRuleFactory(pipeline=stage.pipeline, user=manager, role=ItemRole.MANAGER)
    return manager


def run_fails_and_calls_nobody(stage):
    run = stage.ask()
    stage.work()
    message = run.step_runs.first().message
    return "cannot be decrypted" in message and stage.build_server.called == []


# Rows changed in the database


def test_secret_moved_to_another_step_of_the_database_is_not_sent(owner, build_server, stage):
    mine = Stage(owner, build_server, "/mine")
    mine.pipeline.steps.update(secret_headers=stage.pipeline.steps.get().secret_headers)

    assert run_fails_and_calls_nobody(mine)


def test_secret_moved_within_a_pipeline_is_not_sent(build_server, stage):
    kept = stage.pipeline.steps.get().secret_headers
    stage.has_steps("/one", "/two")
    stage.pipeline.steps.filter(position=1).update(secret_headers=kept)

    assert run_fails_and_calls_nobody(stage)


@pytest.mark.parametrize("change", ["host", "port"])
def test_secret_whose_url_was_changed_in_the_database_is_not_sent(build_server, stage, change):
    url = stage.pipeline.steps.get().url
    changed = url.replace("127.0.0.1", "127.0.0.3") if change == "host" else re.sub(r":\d+/", ":9/", url)
    stage.pipeline.steps.update(url=changed)

    assert run_fails_and_calls_nobody(stage)


def test_secret_under_another_name_is_not_sent(build_server, stage):
    stage.pipeline.steps.update(secret_headers={"X-Echo": stage.pipeline.steps.get().secret_headers["X-Key"]})

    assert run_fails_and_calls_nobody(stage)


def test_secret_moved_to_a_queued_run_of_another_pipeline_is_not_sent(owner, build_server, stage):
    stage.ask()
    stolen = StepRun.objects.get()
    mine = Stage(owner, build_server, "/mine")
    run = mine.ask()
    run.step_runs.update(secret_headers=stolen.secret_headers, step_public_id=stolen.step_public_id)
    mine.work()

    assert "cannot be decrypted" in run.step_runs.get().message
    assert build_server.called == []


def test_secret_in_the_format_without_binding_is_not_sent(build_server, stage):
    unbound = Fernet(step_secrets.BOX.key_of_the_file()).encrypt(b"very-secret-value").decode()
    stage.pipeline.steps.update(secret_headers={"X-Key": unbound})

    assert run_fails_and_calls_nobody(stage)
    with pytest.raises(CommandError, match="could not be read"):
        call_command("reencrypt_step_secrets")
    call_command("reencrypt_step_secrets", "--accept-unbound")
    assert step_secrets.decrypt(Step.objects.get(), "secret_headers") == SECRET


@pytest.mark.parametrize("value", [None, 7, [], {}, "x", "v2.", "v2..", "v2.a.b"])
def test_invalid_ciphertext_fails_the_step_and_not_the_worker(build_server, stage, value):
    stage.pipeline.steps.update(secret_headers={"X-Key": value})

    assert run_fails_and_calls_nobody(stage)


def test_secret_stays_valid_through_edits_moves_and_transfer(owner, member, build_server, stage):
    step = stage.pipeline.steps.get()
    services.add_step(actor=owner, pipeline=stage.pipeline, step=services.StepInput(name="X", url=build_server.url))
    services.move_step(actor=owner, pipeline=stage.pipeline, step_id=step.pk, direction="down")
    services.edit_step(
        actor=owner,
        pipeline=stage.pipeline,
        step_id=step.pk,
        step=services.StepInput(name="Y", url=f"{build_server.url}/other?a=1", secret_headers={"x-key": None}),
    )
    services.transfer_pipeline(actor=owner, pipeline=stage.pipeline, owner=member)
    stage.ask(actor=member)
    stage.work()

    assert stage.steps == "success success"
    assert [call[2].get("x-key") for call in (build_server.next_call(), build_server.next_call())] == [
        None,
        "very-secret-value",
    ]


# Copies


def copy_of(stage, actor):
    return services.duplicate_pipeline(actor=actor, pipeline=stage.pipeline, name="Copy")


def test_copy_by_a_manager_has_no_values_of_secrets(stage, manager, build_server):
    copy = copy_of(stage, manager)

    step = copy.steps.get()
    assert (step.secret_headers, step.missing_secrets) == ({"X-Key": ""}, ["X-Key"])
    with pytest.raises(services.CannotStart, match=r"step 1, “Step 1”: X-Key"):
        services.start_run(actor=manager, pipeline=copy)
    assert build_server.called == []
    assert Activity.objects.get(action="pipeline.duplicated").details["secrets_copied"] is False


@pytest.mark.parametrize("role", ["owner", "item administrator", "administrator", "power_user"])
def test_only_administrators_of_the_original_copy_its_secrets(stage, owner, organization, build_server, role):
    actor = owner
    if role == "item administrator":
        actor = UserFactory(organization=organization)
        AccessRuleFactory(pipeline=stage.pipeline, user=actor, role=ItemRole.ADMINISTRATOR)
    elif role != "owner":
        actor = UserFactory(organization=organization, site_role=SiteRole(role))
    copy = copy_of(stage, actor)

    assert copy.steps.get().missing_secrets == (["X-Key"] if role == "power_user" else [])
    if role != "power_user":
        mine = Stage(actor, build_server)
        mine.pipeline = copy
        mine.ask(actor=actor)
        mine.work()
        assert build_server.next_call()[2]["X-Key"] == "very-secret-value"


def test_manager_sees_which_secrets_to_enter_before_the_copy_can_run(client, stage, manager, build_server):
    client.force_login(manager)
    address = f"/pipelines/{stage.pipeline.pk}/duplicate/"
    asked = client.get(address).content.decode()
    page = client.post(address, {"name": "Copy"}, follow=True).content.decode()
    copy = Step.objects.exclude(pipeline=stage.pipeline).get().pipeline
    step = copy.steps.get()

    assert "<strong>Step 1</strong>: X-Key" in asked
    assert "Without a value: X-Key" in page
    assert 'id="run-pipeline"' not in page
    assert "Enter a value for X-Key" in client.get(f"/pipelines/{copy.pk}/steps/").content.decode()
    edit = f"/pipelines/{copy.pk}/steps/{step.pk}/"
    assert "X-Key: \n" in client.get(edit).content.decode().replace("</textarea>", "\n")
    fields = {"kind": "http_call", "name": "A", "method": "POST", "url": step.url, "expected_status": "200"}
    for kept in ("X-Key:", "X-Key: (unchanged)"):
        assert client.post(edit, fields | {"secret_headers": kept}).status_code == 400
    client.post(edit, fields | {"secret_headers": "X-Key: my-own"})
    assert 'id="run-pipeline"' in client.get(f"/pipelines/{copy.pk}/").content.decode()


def test_api_lists_missing_secrets_of_a_copy_and_refuses_its_run(client, stage, manager):
    client.force_login(manager)
    copied = client.post(f"/api/v1/pipelines/{stage.pipeline.pk}/duplicate", {}, content_type="application/json")
    run = client.post("/api/v1/pipeline/run", {"pipelineId": copied.json()["id"]}, content_type="application/json")

    assert copied.json()["steps"][0]["missing_secrets"] == ["X-Key"]
    assert copied.json()["steps"][0]["secret_header_names"] == ["X-Key"]
    assert run.status_code == 409
    assert "X-Key" in run.json()["message"]


def test_queued_run_with_a_missing_secret_fails_at_its_step(build_server, stage):
    run = stage.ask()
    run.step_runs.update(secret_headers={"X-Key": ""})
    stage.work()

    assert run.step_runs.get().message == "The secret X-Key has no value. Enter it in the step."
    assert build_server.called == []


def test_unreadable_secret_of_the_original_is_missing_in_the_copy(stage, owner):
    stage.pipeline.steps.update(secret_headers={"X-Key": "moved"})

    assert copy_of(stage, owner).steps.get().missing_secrets == ["X-Key"]


def test_step_cannot_be_moved_to_another_pipeline(owner, stage):
    other = PipelineFactory(owner=owner)
    StepFactory(pipeline=other, position=1)
    taken = services.StepInput(name="X", url=stage.build_server.url, id=stage.pipeline.steps.get().pk)

    with pytest.raises(ValidationError):
        services.replace_steps(actor=owner, pipeline=other, steps=[taken])
