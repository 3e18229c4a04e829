"""The permission table of PRODUCT section 5, for what exists: its rows through every door."""

import pytest
from django.urls import reverse

from accounts.roles import SiteRole
from accounts.tests.factories import OperatorFactory, UserFactory
from pipelines.access import ALLOWED, PipelineAction, Standing, may, standing_of
from pipelines.models import Pipeline, Run
from pipelines.tests.factories import PipelineFactory, RunFactory, StepFactory
from tokens.tests.factories import TokenFactory, bearer

RELATIONS = ("owner", "colleague", "stranger", "deactivated owner", "deactivated colleague")
TABLE = {
    # site role                owner      colleague  stranger  deactivated owner and colleague
    SiteRole.ADMINISTRATOR: ("see, run", "see, run", "nothing", "nothing", "nothing"),
    SiteRole.POWER_USER: ("see, run", "see, run", "nothing", "nothing", "nothing"),
    SiteRole.USER: ("see, run", "see, run", "nothing", "nothing", "nothing"),
    SiteRole.GUEST: ("see", "see", "nothing", "nothing", "nothing"),
    SiteRole.SECURITY_MANAGER: ("see", "see", "nothing", "nothing", "nothing"),
    SiteRole.AUDITOR: ("see", "see", "nothing", "nothing", "nothing"),
}
CASES = [
    pytest.param(role, relation, "see" in cell, "run" in cell, id=f"{role}-{relation.replace(' ', '-')}")
    for role, cells in TABLE.items()
    for relation, cell in zip(RELATIONS, cells, strict=True)
]
ACTIVE_CASES = [case for case in CASES if "deactivated" not in case.values[1]]
every_row = pytest.mark.parametrize(("role", "relation", "sees", "runs"), CASES)
every_active_row = pytest.mark.parametrize(("role", "relation", "sees", "runs"), ACTIVE_CASES)


def person_and_pipeline(role, relation):
    person = UserFactory(site_role=role, is_active="deactivated" not in relation)
    if "owner" in relation:
        return person, PipelineFactory(owner=person)
    owner = UserFactory() if relation == "stranger" else UserFactory(organization=person.organization)
    return person, PipelineFactory(owner=owner)


@every_row
def test_the_rule_says_what_the_table_says(db, role, relation, sees, runs):
    person, pipeline = person_and_pipeline(role, relation)

    assert may(person, PipelineAction.SEE, pipeline) is sees
    assert may(person, PipelineAction.RUN, pipeline) is runs


@every_row
def test_the_queryset_of_pipelines_says_what_the_rule_says(db, role, relation, sees, runs):
    person, pipeline = person_and_pipeline(role, relation)
    PipelineFactory.create_batch(2)

    visible = [row for row in Pipeline.objects.all() if may(person, PipelineAction.SEE, row)]
    assert list(Pipeline.objects.visible_to(person)) == visible
    assert (pipeline in visible) is sees


@every_row
def test_the_queryset_of_runs_says_what_the_rule_says(db, role, relation, sees, runs):
    person, pipeline = person_and_pipeline(role, relation)
    run = RunFactory(pipeline=pipeline)
    RunFactory()

    assert list(Run.objects.visible_to(person)) == ([run] if sees else [])


@every_active_row
def test_the_api_says_what_the_table_says(db, api, role, relation, sees, runs):
    person, pipeline = person_and_pipeline(role, relation)
    StepFactory(pipeline=pipeline)
    headers = bearer(TokenFactory(owner=person))
    body = {"pipelineId": str(pipeline.pk)}

    assert api.post("/api/v1/pipeline/summary", body, headers=headers).status_code == (200 if sees else 403)
    assert api.post("/api/v1/pipeline/run", body, headers=headers).status_code == (200 if runs else 403)


@every_active_row
def test_the_pages_say_what_the_table_says(client, role, relation, sees, runs, db):
    person, pipeline = person_and_pipeline(role, relation)
    StepFactory(pipeline=pipeline)
    client.force_login(person)

    seen = client.get(reverse("pipelines:pipeline_detail", args=[pipeline.pk]))
    run = client.post(reverse("pipelines:pipeline_run", args=[pipeline.pk]))
    assert seen.status_code == (200 if sees else 404)
    assert run.status_code == (302 if runs else 403 if sees else 404)


def test_an_operator_meets_every_pipeline_in_django_admin_and_is_nobody_to_any(db):
    operator = OperatorFactory()
    pipelines = PipelineFactory.create_batch(2)

    assert set(Pipeline.objects.visible_to(operator)) == set(pipelines)
    assert [standing_of(operator, pipeline) for pipeline in pipelines] == [None, None]


def test_a_deactivated_operator_meets_no_pipeline(db):
    PipelineFactory()

    assert not Pipeline.objects.visible_to(OperatorFactory(is_active=False)).exists()


@pytest.mark.parametrize(
    ("standing", "actions"),
    [
        (Standing.OWNER, "see run approve edit_steps edit_access_rules duplicate lock administer"),
        (Standing.MANAGER, "see run approve edit_steps edit_access_rules duplicate lock"),
        (Standing.POWER_USER, "see run approve edit_steps edit_access_rules duplicate"),
        (Standing.USER, "see run"),
        (Standing.GUEST, "see"),
    ],
)
def test_the_columns_of_the_table(standing, actions):
    assert {action.name.lower() for action in ALLOWED[standing]} == set(actions.split())
