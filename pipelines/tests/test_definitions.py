"""Creates, edits, duplicates, transfers, locks and deletes pipelines; chooses notified people."""

import threading

import pytest
from django.core.exceptions import ValidationError
from django.db import connection

from accounts.roles import SiteRole
from accounts.tests.factories import GroupFactory, UserFactory
from auditlog.models import Activity
from core.errors import NameTaken, NotAllowed
from pipelines import services
from pipelines.models import Pipeline, Run, RunLogLine, StepRun
from pipelines.tests.factories import (
    AccessRuleFactory,
    PipelineFactory,
    RunFactory,
    StepFactory,
    give_secrets,
)
from pipelines.tests.stages import Stage


@pytest.fixture
def pipeline(owner):
    return PipelineFactory(owner=owner, name="Nightly", description="Builds.", tags=["nightly"])


@pytest.fixture
def as_owner(client, owner):
    client.force_login(owner)
    return client


def recorded():
    entries = Activity.objects.exclude(type="authentication").order_by("at", "id")
    return list(entries.values_list("action", "target_name"))


def text(answer):
    return answer.content.decode()


def patch(client, pipeline, body):
    return client.patch(f"/api/v1/pipelines/{pipeline.pk}", body, content_type="application/json")


@pytest.mark.each_database
def test_api_creates_pipeline_with_its_steps(as_owner, owner):
    answer = as_owner.post(
        "/api/v1/pipelines",
        {
            "name": " Nightly ",
            "tags": ["a", " b ", "a"],
            "steps": [{"name": "Build", "url": "https://ci.example.com/"}, {"name": "Gate", "kind": "approval"}],
        },
        content_type="application/json",
    )

    assert answer.status_code == 201
    made = Pipeline.objects.get()
    assert (made.name, made.owner, made.tags, made.steps.count()) == ("Nightly", owner, ["a", "b"], 2)
    assert answer.json()["id"] == str(made.pk)
    assert recorded() == [("pipeline.created", "Nightly")]


def test_pipeline_with_an_invalid_step_is_not_created(as_owner):
    body = {"name": "Nightly", "steps": [{"name": "Build", "url": "nowhere"}]}

    assert as_owner.post("/api/v1/pipelines", body, content_type="application/json").status_code == 400
    assert not Pipeline.objects.exists()
    assert recorded() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "  "},
        {"name": "x" * 101},
        {"name": "a\x00b"},
        {"name": "a\nb"},
        {"name": 5},
        {"name": None},
        {"description": "x" * 2001},
        {"tags": ["x" * 51]},
        {"tags": [str(n) for n in range(21)]},
        {"tags": [""]},
        {"tags": ["a,b"]},
        {"tags": "nightly"},
        {"tags": [5]},
        {"owner": "someone"},
        {},
    ],
    ids=str,
)
def test_invalid_edit_changes_nothing(as_owner, pipeline, wrong):
    assert patch(as_owner, pipeline, wrong).status_code == 400

    pipeline.refresh_from_db()
    assert (pipeline.name, pipeline.tags) == ("Nightly", ["nightly"])
    assert recorded() == []


@pytest.mark.each_database
def test_edit_of_text_and_steps_requires_both_rights_and_is_atomic(client, pipeline, organization):
    manager = UserFactory(organization=organization)
    AccessRuleFactory(pipeline=pipeline, user=manager, role="manager")
    client.force_login(manager)

    assert patch(client, pipeline, {"steps": [], "name": "Mine"}).status_code == 403
    assert patch(client, pipeline, {"notified_people": ["nobody@acme.example"], "steps": []}).status_code == 400

    pipeline.refresh_from_db()
    assert pipeline.name == "Nightly"
    assert recorded() == []


@pytest.mark.django_db(transaction=True)
def test_one_of_two_simultaneous_requests_gets_the_name(owner):
    barrier, ends = threading.Barrier(2), []

    def create():
        try:
            barrier.wait()
            ends.append(services.create_pipeline(actor=owner, name="Nightly"))
        except NameTaken as error:
            ends.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=create) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(type(end).__name__ for end in ends) == ["NameTaken", "Pipeline"]


# Copies


def test_copy_has_the_access_rules_of_the_original(as_owner, owner, pipeline, member, organization):
    StepFactory(pipeline=pipeline, position=1, name="Build")
    AccessRuleFactory(pipeline=pipeline, group=GroupFactory(organization=organization, name="Builders"))
    pipeline.notified_people.add(owner)

    answer = as_owner.post(f"/api/v1/pipelines/{pipeline.pk}/duplicate", {}, content_type="application/json")

    copy = Pipeline.objects.get(pk=answer.json()["id"])
    assert (copy.name, copy.owner, copy.description, copy.tags) == ("Nightly (copy)", owner, "Builds.", ["nightly"])
    assert [step.name for step in copy.steps.all()] == ["Build"]
    assert not Pipeline.objects.visible_to(member).filter(pk=copy.pk).exists()
    assert not copy.notified_people.exists()
    assert services.duplicate_pipeline(actor=owner, pipeline=pipeline).name == "Nightly (copy 2)"


# Transfer


def test_transfer_can_hide_the_pipeline_from_its_former_owner(as_owner, pipeline, member, organization):
    AccessRuleFactory(pipeline=pipeline, user=member)

    answer = as_owner.post(f"/pipelines/{pipeline.pk}/transfer/", {"owner": member.email}, follow=True)

    assert "You can no longer see “Nightly”." in text(answer)
    pipeline.refresh_from_db()
    assert pipeline.owner == member
    assert recorded() == [("pipeline.transferred", "Nightly")]


@pytest.mark.parametrize("who", ["guest", "auditor", "security_manager", "deactivated", "stranger", "nobody"])
def test_pipeline_is_transferred_only_to_people_who_can_own_one(as_owner, pipeline, organization, stranger, who):
    if who == "stranger":
        email = stranger.email
    elif who == "nobody":
        email = "nobody@acme.example"
    elif who == "deactivated":
        email = UserFactory(organization=organization, is_active=False).email
    else:
        email = UserFactory(organization=organization, site_role=who).email

    page = as_owner.post(f"/pipelines/{pipeline.pk}/transfer/", {"owner": email})
    answer = as_owner.post(
        f"/api/v1/pipelines/{pipeline.pk}/transfer", {"owner_email": email}, content_type="application/json"
    )

    assert (page.status_code, answer.status_code) == (400, 400)
    assert recorded() == []


# Locks


def test_locked_pipeline_cannot_be_started(as_owner, pipeline, administrator, owner):
    StepFactory(pipeline=pipeline, position=1)
    as_owner.post(f"/pipelines/{pipeline.pk}/lock/")

    for actor in (owner, administrator):
        with pytest.raises(services.CannotStart, match=f"is locked by {owner.email}"):
            services.start_run(actor=actor, pipeline=pipeline)
    page = text(as_owner.get(f"/pipelines/{pipeline.pk}/"))
    assert "Locked by" in page
    assert "Run pipeline" not in page

    as_owner.post(f"/pipelines/{pipeline.pk}/unlock/")
    assert services.start_run(actor=owner, pipeline=pipeline).number == 1
    assert [action for action, _ in recorded()] == ["pipeline.locked", "pipeline.unlocked", "pipeline.started"]


# Deletion


@pytest.mark.each_database
def test_runs_keep_the_name_of_a_deleted_pipeline(as_owner, owner, pipeline, administrator):
    run = RunFactory(pipeline=pipeline, state="finished", outcome="success")
    run.log("run", "success", "All steps succeeded.")

    question = text(as_owner.get(f"/pipelines/{pipeline.pk}/delete/"))
    answer = as_owner.post(f"/pipelines/{pipeline.pk}/delete/")

    assert "Delete “Nightly”?" in question
    assert answer.url == "/pipelines/"
    run = Run.objects.get()
    assert (run.pipeline, run.pipeline_name, run.pipeline_public_id) == (None, "Nightly", pipeline.pk)
    assert RunLogLine.objects.get().message == "All steps succeeded."
    assert recorded() == [("pipeline.deleted", "Nightly")]
    assert as_owner.get("/").status_code == 200
    assert list(Run.objects.visible_to(administrator)) == [run]
    assert list(Run.objects.visible_to(owner)) == []


def test_auditor_finds_the_runs_of_a_deleted_pipeline(client, pipeline, administrator):
    RunFactory(pipeline=pipeline, state="finished", outcome="success", started_by=administrator)
    services.delete_pipeline(actor=administrator, pipeline=pipeline)
    client.force_login(administrator)

    page = text(client.get("/"))

    assert "Nightly, run 1" in page
    assert "(deleted)" in page


@pytest.mark.parametrize("state", ["queued", "continuing", "running", "stopping", "paused"])
@pytest.mark.each_database
def test_pipeline_is_not_deleted_while_a_run_is_unfinished(as_owner, pipeline, state):
    RunFactory(pipeline=pipeline, state=state)

    page = as_owner.post(f"/pipelines/{pipeline.pk}/delete/", follow=True)
    answer = as_owner.delete(f"/api/v1/pipelines/{pipeline.pk}")

    assert "then delete the pipeline." in text(page)
    assert answer.status_code == 409
    assert Pipeline.objects.exists()
    assert recorded() == []


# Notified people


def test_only_people_who_see_the_pipeline_can_be_notified(as_owner, pipeline, owner, member, stranger, organization):
    AccessRuleFactory(pipeline=pipeline, user=owner, role="administrator")
    page = f"/pipelines/{pipeline.pk}/notifications/"

    for wrong in (member.email, stranger.email, "nobody@acme.example", "no address"):
        assert as_owner.post(page, {"notified_people": wrong}).status_code == 400
        assert patch(as_owner, pipeline, {"notified_people": [wrong]}).status_code == 400
    auditor = UserFactory(organization=organization, site_role=SiteRole.AUDITOR)
    as_owner.post(page, {"notified_people": f"{owner.email.upper()}\n{auditor.email}\n"})

    assert set(pipeline.notified_people.all()) == {owner, auditor}
    assert patch(as_owner, pipeline, {"notified_people": []}).json()["notified_people"] == []


# Services


@pytest.mark.parametrize("role", [SiteRole.GUEST, SiteRole.AUDITOR, SiteRole.SECURITY_MANAGER])
def test_read_only_roles_cannot_create_or_copy(organization, pipeline, role):
    reader = UserFactory(organization=organization, site_role=role)
    AccessRuleFactory(pipeline=pipeline, user=reader, role="administrator")

    with pytest.raises(NotAllowed):
        services.create_pipeline(actor=reader, name="Mine")
    with pytest.raises(NotAllowed):
        services.duplicate_pipeline(actor=reader, pipeline=pipeline)
    assert Pipeline.objects.get() == pipeline


@pytest.mark.parametrize(
    "wrong",
    [{"description": "x" * 2001}, {"description": "a\0b"}, {"tags": ["a\0b"]}, {"name": "a\u202eb"}],
    ids=["a long description", "NUL in the description", "NUL in a tag", "a turned name"],
)
def test_service_validates_texts_itself(owner, pipeline, wrong):
    with pytest.raises(ValidationError) as refusal:
        services.edit_pipeline(actor=owner, pipeline=pipeline, **wrong)

    assert list(refusal.value.message_dict) == list(wrong)


def test_edit_that_changes_nothing_is_not_recorded(owner, pipeline):
    services.edit_pipeline(actor=owner, pipeline=pipeline, name=" Nightly ", description="Builds.", tags=["nightly"])

    assert recorded() == []


@pytest.mark.each_database
def test_case_of_a_name_can_be_changed(owner, pipeline):
    services.edit_pipeline(actor=owner, pipeline=pipeline, name="NIGHTLY")

    pipeline.refresh_from_db()
    assert pipeline.name == "NIGHTLY"


def test_copy_shortens_a_long_name(owner, organization):
    original = PipelineFactory(owner=owner, name="x" * 100)

    names = [services.duplicate_pipeline(actor=owner, pipeline=original).name for _ in range(2)]

    assert names == ["x" * 93 + " (copy)", "x" * 91 + " (copy 2)"]


@pytest.mark.each_database
def test_two_organizations_can_use_the_same_name(stranger, pipeline):
    assert services.create_pipeline(actor=stranger, name="Nightly").organization == stranger.organization


def test_lock_and_unlock_are_refused_if_they_would_change_nothing(owner, pipeline):
    with pytest.raises(services.Refused, match="is not locked"):
        services.unlock_pipeline(actor=owner, pipeline=pipeline)
    services.lock_pipeline(actor=owner, pipeline=pipeline)
    with pytest.raises(services.Refused, match=f"locked already, by {owner.email}"):
        services.lock_pipeline(actor=owner, pipeline=pipeline)


def test_transfer_to_the_current_owner_is_not_recorded(owner, pipeline):
    services.transfer_pipeline(actor=owner, pipeline=pipeline, owner=owner)

    assert recorded() == []


def test_former_owner_keeps_only_what_the_rules_give(owner, pipeline, member):
    services.transfer_pipeline(actor=owner, pipeline=pipeline, owner=member)

    with pytest.raises(NotAllowed):
        services.edit_pipeline(actor=owner, pipeline=pipeline, name="Mine again")
    assert Pipeline.objects.visible_to(owner).exists()


def test_secrets_of_a_halted_run_are_removed_with_its_pipeline(owner, build_server):
    build_server.answers["/one"] = (500, "broken")
    stage = Stage(owner, build_server)
    for step in stage.pipeline.steps.all():
        give_secrets(step, {"X-Key": "very-secret-value"})
    stage.ask()
    stage.work()
    assert (stage.state, StepRun.objects.exclude(secret_headers={}).count()) == ("halted failed", 3)

    services.delete_pipeline(actor=owner, pipeline=stage.pipeline)

    assert (stage.state, stage.steps) == ("finished failed", "failed skipped skipped")
    assert not StepRun.objects.exclude(secret_headers={}).exists()
    assert Activity.objects.filter(target_id=str(stage.run.pipeline_public_id)).count() == 2


@pytest.mark.each_database
def test_two_deleted_pipelines_can_each_have_a_first_run(owner):
    for pipeline in PipelineFactory.create_batch(2, owner=owner):
        RunFactory(pipeline=pipeline, state="finished", outcome="success")
        services.delete_pipeline(actor=owner, pipeline=pipeline)

    assert list(Run.objects.values_list("pipeline", "number")) == [(None, 1), (None, 1)]


def test_more_than_50_notified_people_are_refused(owner, pipeline, organization):
    people = UserFactory.create_batch(51, organization=organization, password="!")

    with pytest.raises(ValidationError, match="at most 50 people"):
        services.notify_people(actor=owner, pipeline=pipeline, people=people)
    services.notify_people(actor=owner, pipeline=pipeline, people=[people[0], people[0]])

    assert list(pipeline.notified_people.all()) == [people[0]]
