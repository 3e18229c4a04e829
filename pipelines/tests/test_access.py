"""Tests every row of the permission table, on the pages and in the API.

The table is in docs/product.md#pipelines-and-access-rules.
"""

import pytest
from django.urls import reverse

from accounts.models import User
from accounts.roles import SiteRole
from accounts.tests.factories import GroupFactory, OperatorFactory, UserFactory
from pipelines.access import (
    ALLOWED,
    STANDING_BY_ITEM_ROLE,
    ItemRole,
    PipelineAction,
    Standing,
    allowed_actions,
    may,
    may_read_some_rules,
    rule_gives_less,
    standing_of,
    standing_under,
)
from pipelines.models import Pipeline, Run
from pipelines.tests.factories import AccessRuleFactory, PipelineFactory, RunFactory, StepFactory
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
def test_rule_matches_the_table(db, role, relation, sees, runs):
    person, pipeline = person_and_pipeline(role, relation)

    assert may(person, PipelineAction.SEE, pipeline) is sees
    assert may(person, PipelineAction.RUN, pipeline) is runs


@every_row
def test_pipeline_queryset_matches_the_rule(db, role, relation, sees, runs):
    person, pipeline = person_and_pipeline(role, relation)
    PipelineFactory.create_batch(2)

    visible = [row for row in Pipeline.objects.all() if may(person, PipelineAction.SEE, row)]
    assert list(Pipeline.objects.visible_to(person)) == visible
    assert (pipeline in visible) is sees


@every_row
def test_run_queryset_matches_the_rule(db, role, relation, sees, runs):
    person, pipeline = person_and_pipeline(role, relation)
    run = RunFactory(pipeline=pipeline)
    RunFactory()

    assert list(Run.objects.visible_to(person)) == ([run] if sees else [])


@every_active_row
def test_api_matches_the_table(db, api, role, relation, sees, runs):
    person, pipeline = person_and_pipeline(role, relation)
    StepFactory(pipeline=pipeline)
    headers = bearer(TokenFactory(owner=person))
    body = {"pipelineId": str(pipeline.pk)}

    assert api.post("/api/v1/pipeline/summary", body, headers=headers).status_code == (200 if sees else 403)
    assert api.post("/api/v1/pipeline/run", body, headers=headers).status_code == (200 if runs else 403)


@every_active_row
def test_pages_match_the_table(client, role, relation, sees, runs, db):
    person, pipeline = person_and_pipeline(role, relation)
    StepFactory(pipeline=pipeline)
    client.force_login(person)

    seen = client.get(reverse("pipelines:pipeline_detail", args=[pipeline.pk]))
    run = client.post(reverse("pipelines:pipeline_run", args=[pipeline.pk]))
    assert seen.status_code == (200 if sees else 404)
    assert run.status_code == (302 if runs else 403 if sees else 404)


def test_operator_sees_every_pipeline_and_has_no_standing(db):
    operator = OperatorFactory()
    pipelines = PipelineFactory.create_batch(2)

    assert set(Pipeline.objects.visible_to(operator)) == set(pipelines)
    assert [standing_of(operator, pipeline) for pipeline in pipelines] == [None, None]


def test_deactivated_operator_sees_no_pipeline(db):
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
def test_standing_allows_the_actions_of_its_column(standing, actions):
    assert {action.name.lower() for action in ALLOWED[standing]} == set(actions.split())


# Standings


STANDINGS = """
                  no rules    others only  own         direct user  direct guest, group administrator  groups user, manager
administrator     OWNER       OWNER        OWNER       OWNER        OWNER                              OWNER
power_user        POWER_USER  POWER_USER   OWNER       POWER_USER   POWER_USER                         MANAGER
user              USER        -            OWNER       USER         GUEST                              MANAGER
guest             GUEST       -            GUEST       GUEST        GUEST                              GUEST
security_manager  GUEST       GUEST        GUEST       GUEST        GUEST                              GUEST
auditor           GUEST       GUEST        GUEST       GUEST        GUEST                              GUEST
"""  # noqa: E501


def standings():
    head, *rows = STANDINGS.strip("\n").splitlines()
    columns = [cell.strip() for cell in head.split("  ") if cell.strip()]
    for row in rows:
        role, *cells = row.split()
        for column, cell in zip(columns, cells, strict=True):
            yield pytest.param(role, column, None if cell == "-" else Standing[cell], id=f"{role}-{column}")


@pytest.mark.parametrize(("role", "column", "expected"), list(standings()))
def test_standing_follows_from_role_ownership_and_rules(
    owner, organization, role, column, expected, django_assert_max_num_queries
):
    person = UserFactory(organization=organization, site_role=role)
    pipeline = PipelineFactory(owner=person if column == "own" else owner)
    first, second = GroupFactory.create_batch(2, organization=organization)
    person.member_groups.set([first, second])
    if column != "no rules":
        AccessRuleFactory(pipeline=pipeline, user=UserFactory(organization=organization))
        AccessRuleFactory(pipeline=PipelineFactory(owner=owner), user=person, role=ItemRole.ADMINISTRATOR)
    if column == "direct user":
        AccessRuleFactory(pipeline=pipeline, user=person, role=ItemRole.USER)
    elif column == "direct guest, group administrator":
        AccessRuleFactory(pipeline=pipeline, user=person, role=ItemRole.GUEST)
        AccessRuleFactory(pipeline=pipeline, group=first, role=ItemRole.ADMINISTRATOR)
    elif column == "groups user, manager":
        AccessRuleFactory(pipeline=pipeline, group=first, role=ItemRole.USER)
        AccessRuleFactory(pipeline=pipeline, group=second, role=ItemRole.MANAGER)
    person, pipeline = User.objects.get(pk=person.pk), Pipeline.objects.get(pk=pipeline.pk)

    with django_assert_max_num_queries(1):
        assert standing_of(person, pipeline) is expected
    for action in PipelineAction:
        allowed = expected is not None and action in ALLOWED[expected]
        assert may(person, action, pipeline) is allowed
        assert list(Pipeline.objects.allowing(person, action).filter(pk=pipeline.pk)) == ([pipeline] if allowed else [])


def test_queryset_takes_one_query(owner, organization, member, django_assert_num_queries):
    for _ in range(3):
        AccessRuleFactory(pipeline=PipelineFactory(owner=owner), user=member)

    for action in PipelineAction:
        with django_assert_num_queries(1):
            list(Pipeline.objects.allowing(member, action))


def test_person_with_many_rules_sees_a_pipeline_once(owner, organization, member):
    pipeline = PipelineFactory(owner=owner)
    AccessRuleFactory(pipeline=pipeline, user=member)
    for group in GroupFactory.create_batch(3, organization=organization):
        group.members.add(member)
        AccessRuleFactory(pipeline=pipeline, group=group, role=ItemRole.MANAGER)

    assert list(Pipeline.objects.visible_to(member)) == [pipeline]
    assert list(Pipeline.objects.allowing(member, PipelineAction.RUN)) == [pipeline]
    assert list(Pipeline.objects.allowing(member, PipelineAction.LOCK)) == []


def test_rule_for_a_stranger_gives_no_access(owner, stranger):
    pipeline = PipelineFactory(owner=owner)
    group = GroupFactory(organization=owner.organization)
    group.members.add(stranger)
    AccessRuleFactory(pipeline=pipeline, user=stranger, role=ItemRole.ADMINISTRATOR)
    AccessRuleFactory(pipeline=pipeline, group=group, role=ItemRole.ADMINISTRATOR)

    assert standing_of(stranger, pipeline) is None
    assert not Pipeline.objects.visible_to(stranger).exists()


def test_runs_of_deleted_pipeline_stay_visible_to_roles_that_read_everything(owner, organization, stranger, member):
    run = RunFactory(pipeline=PipelineFactory(owner=owner), state="finished")
    run.pipeline.delete()
    readers = [SiteRole.ADMINISTRATOR, SiteRole.POWER_USER, SiteRole.AUDITOR, SiteRole.SECURITY_MANAGER]

    for role in SiteRole:
        person = UserFactory(organization=organization, site_role=role)
        assert list(Run.objects.visible_to(person)) == ([run] if role in readers else [])
        person.is_active = False
        assert not Run.objects.visible_to(person).exists()
    assert not Run.objects.visible_to(stranger).exists()


@pytest.mark.django_db
def test_every_site_role_but_guest_can_read_some_rules(organization):
    people = [UserFactory(organization=organization, site_role=role) for role in SiteRole]

    assert [person.site_role for person in people if not may_read_some_rules(person)] == [SiteRole.GUEST]


@pytest.mark.parametrize("is_active", [True, False])
@pytest.mark.parametrize("role", ItemRole)
@pytest.mark.parametrize("site_role", SiteRole)
def test_standing_under_a_rule_is_that_of_the_person(db, site_role, role, is_active):
    person = UserFactory(site_role=site_role, is_active=is_active)
    group = GroupFactory(organization=person.organization)
    person.member_groups.add(group)
    for owner in (person, UserFactory(organization=person.organization)):
        pipeline = PipelineFactory(owner=owner)
        AccessRuleFactory(pipeline=pipeline, group=group, role=ItemRole.ADMINISTRATOR)
        rule = AccessRuleFactory(pipeline=pipeline, user=person, role=role)

        assert standing_under(rule) == standing_of(person, pipeline)
        promised = ALLOWED[STANDING_BY_ITEM_ROLE[role]]
        assert rule_gives_less(rule) is not (promised <= allowed_actions(person, pipeline))
        # The words of pipelines/rule_texts.py know no other cases.
        if rule_gives_less(rule):
            assert allowed_actions(person, pipeline) == ({PipelineAction.SEE} if is_active else set())


def test_rule_for_a_group_never_gives_less(db):
    group = GroupFactory()
    group.members.add(UserFactory(organization=group.organization, site_role=SiteRole.GUEST))
    pipeline = PipelineFactory(owner=UserFactory(organization=group.organization))

    assert not rule_gives_less(AccessRuleFactory(pipeline=pipeline, group=group, role=ItemRole.MANAGER))
