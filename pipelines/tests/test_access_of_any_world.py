"""Compares the queryset and the functions with the documented rules, in random organizations.

``plain_reading`` follows the documentation and shares no code with the product.
"""

from dataclasses import dataclass, field

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import Group, User
from accounts.roles import SiteRole
from accounts.tests.factories import OrganizationFactory
from pipelines.access import PipelineAction, allowed_actions
from pipelines.models import AccessRule, Pipeline, Run
from pipelines.tests.factories import RunFactory, limit_to
from tokens.tests.factories import TokenFactory

pytestmark = pytest.mark.each_database
# Fewer on PostgreSQL, where each takes longer. A few are enough to find differences in SQL.
EXAMPLES = 60 if connection.vendor == "sqlite" else 20

ROLES = ["administrator", "manager", "user", "guest"]
COLUMNS = {
    "all": "SEE RUN APPROVE EDIT_STEPS EDIT_ACCESS_RULES DUPLICATE LOCK ADMINISTER",
    "manager": "SEE RUN APPROVE EDIT_STEPS EDIT_ACCESS_RULES DUPLICATE LOCK",
    "power user": "SEE RUN APPROVE EDIT_STEPS EDIT_ACCESS_RULES DUPLICATE",
    "user": "SEE RUN",
    "reads": "SEE",
}


@dataclass
class World:
    """People, groups and pipelines are numbers.

    ``rules`` maps (pipeline, ("person" or "group", number)) to a role. ``chosen`` are the pipelines of a limited token.
    """

    roles: list
    active: list
    members: set = field(default_factory=set)
    owners: list = field(default_factory=list)
    rules: dict = field(default_factory=dict)
    chosen: set = field(default_factory=set)


@st.composite
def worlds(draw):
    people = draw(st.integers(1, 5))
    groups = draw(st.integers(0, 3))
    pipelines = draw(st.integers(1, 4))
    person, group = st.integers(0, people - 1), st.integers(0, max(groups - 1, 0))
    subjects = st.tuples(st.just("person"), person)
    if groups:
        subjects |= st.tuples(st.just("group"), group)
    rules = st.dictionaries(st.tuples(st.integers(0, pipelines - 1), subjects), st.sampled_from(ROLES), max_size=8)
    return World(
        roles=draw(st.lists(st.sampled_from(SiteRole.values), min_size=people, max_size=people)),
        active=draw(st.lists(st.sampled_from([True, True, True, False]), min_size=people, max_size=people)),
        members=draw(st.sets(st.tuples(group, person), max_size=8)) if groups else set(),
        owners=draw(st.lists(person, min_size=pipelines, max_size=pipelines)),
        rules=draw(rules),
        chosen=draw(st.sets(st.integers(0, pipelines - 1))),
    )


def plain_reading(world, person, pipeline):
    """The actions allowed to this person, computed directly from the documented rules."""
    if not world.active[person]:
        return set()
    role = world.roles[person]
    rules = {subject: given for (where, subject), given in world.rules.items() if where == pipeline}
    mine = [
        rules[("group", group)] for group, member in world.members if member == person and ("group", group) in rules
    ]
    # A direct rule overrides group rules. Of several group rules, the strongest counts.
    item_role = rules.get(("person", person)) or min(mine, key=ROLES.index, default=None)
    is_owner = world.owners[pipeline] == person
    # Roles that read everything only read. A Guest sees what a User sees, but only reads.
    if role in {"auditor", "security_manager"}:
        return words("reads")
    if role == "guest":
        return words("reads") if is_owner or not rules or item_role else set()
    if role == "administrator" or is_owner or item_role == "administrator":
        return words("all")
    if item_role == "manager":
        return words("manager")
    if role == "power_user":
        return words("power user")
    if not rules or item_role == "user":
        return words("user")
    return words("reads") if item_role == "guest" else set()


def words(column):
    return set(COLUMNS[column].split())


def build(world):
    organization = OrganizationFactory()
    people = User.objects.bulk_create(
        [
            User(
                organization=organization,
                email=f"{organization.slug}-{number}@example.com",
                name=str(number),
                site_role=role,
                is_active=active,
            )
            for number, (role, active) in enumerate(zip(world.roles, world.active, strict=True))
        ]
    )
    groups = Group.objects.bulk_create([Group(organization=organization, name=str(n)) for n in range(3)])
    for group, person in world.members:
        groups[group].members.add(people[person])
    pipelines = Pipeline.objects.bulk_create(
        [Pipeline(organization=organization, owner=people[owner], name=str(n)) for n, owner in enumerate(world.owners)]
    )
    AccessRule.objects.bulk_create(
        [
            AccessRule(
                pipeline=pipelines[where],
                user=people[number] if kind == "person" else None,
                group=groups[number] if kind == "group" else None,
                role=role,
            )
            for (where, (kind, number)), role in world.rules.items()
        ]
    )
    return people, pipelines


@pytest.mark.django_db
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(world=worlds())
@pytest.mark.slow
def test_queryset_and_functions_follow_the_documented_rules(world):
    with transaction.atomic():
        people, pipelines = build(world)
        for number, person in enumerate(people):
            expected = [plain_reading(world, number, n) for n in range(len(pipelines))]

            assert [{action.name for action in allowed_actions(person, each)} for each in pipelines] == expected
            for action in PipelineAction:
                found = Pipeline.objects.allowing(person, action).values_list("pk", flat=True)
                wanted = {each.pk for each, names in zip(pipelines, expected, strict=True) if action.name in names}
                assert sorted(found) == sorted(wanted)
            assert set(Pipeline.objects.visible_to(person)) == {
                each for each, names in zip(pipelines, expected, strict=True) if "SEE" in names
            }
        transaction.set_rollback(True)


@pytest.mark.django_db
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(world=worlds())
@pytest.mark.slow
def test_limited_token_reaches_what_its_owner_may_and_what_was_chosen(world):
    with transaction.atomic():
        people, pipelines = build(world)
        runs = [RunFactory(pipeline=pipeline) for pipeline in pipelines]
        gone = RunFactory(pipeline=pipelines[0], number=2)
        Run.objects.filter(pk=gone.pk).update(pipeline=None)
        for number, person in enumerate(people):
            person.limited_by_token = limit_to(TokenFactory(owner=person), *(pipelines[n] for n in world.chosen)).pk
            expected = [plain_reading(world, number, n) if n in world.chosen else set() for n in range(len(pipelines))]

            assert [{action.name for action in allowed_actions(person, each)} for each in pipelines] == expected
            for action in PipelineAction:
                found = set(Pipeline.objects.allowing(person, action))
                assert found == {each for each, names in zip(pipelines, expected, strict=True) if action.name in names}
            seen = {run for run, names in zip(runs, expected, strict=True) if "SEE" in names}
            assert set(Run.objects.visible_to(person)) == seen
            assert set(Run.objects.listed_for(person)) == seen
        transaction.set_rollback(True)
