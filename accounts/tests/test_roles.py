"""What each site role may do in its organization (docs/product.md#people-and-roles)."""

import pytest

from accounts.models import User
from accounts.roles import Ability, SiteRole, roles_with
from accounts.tests.factories import OperatorFactory, UserFactory

TABLE = """
ability              administrator  power_user  user  guest  security_manager  auditor
MANAGE_ORGANIZATION  yes            -           -     -      -                 -
MANAGE_GROUPS        yes            yes         -     -      -                 -
READ_USERS           yes            yes         -     -      yes               yes
READ_LOGS            yes            yes         -     -      yes               yes
READ_TOKENS          yes            -           -     -      yes               yes
EXPIRE_TOKENS        yes            -           -     -      yes               -
APPROVE_TOKENS       yes            -           -     -      yes               -
SEE_ALL_PIPELINES    yes            yes         -     -      yes               yes
CREATE_PIPELINES     yes            yes         yes   -      -                 -
USE_PIPELINES        yes            yes         yes   -      -                 -
EDIT_ALL_PIPELINES   yes            yes         -     -      -                 -
OWN_TOKENS           yes            yes         yes   yes    yes               yes
CHANGE_BY_TOKEN      yes            yes         yes   -      yes               yes
"""
HEAD, *ROWS = [line.split() for line in TABLE.strip().splitlines()]
CELLS = [
    pytest.param(SiteRole(role), Ability[name], cell == "yes", id=f"{role} {name}")
    for name, *row in ROWS
    for role, cell in zip(HEAD[1:], row, strict=True)
]


def test_table_names_every_role_and_ability():
    assert set(HEAD[1:]) == set(SiteRole.values)
    assert [row[0] for row in ROWS] == [ability.name for ability in Ability]


@pytest.mark.parametrize(("role", "ability", "may"), CELLS)
def test_role_has_these_abilities(role, ability, may):
    assert UserFactory.build(site_role=role).may(ability) == may
    assert (role in roles_with(ability)) == may


@pytest.mark.parametrize("role", SiteRole)
def test_deactivated_person_has_no_abilities(role):
    person = UserFactory.build(site_role=role, is_active=False)

    assert not any(person.may(ability) for ability in Ability)
    assert not person.is_staff


@pytest.mark.parametrize("role", SiteRole)
def test_operator_has_no_abilities_in_an_organization(role):
    operator = OperatorFactory.build(site_role=role)

    assert not any(operator.may(ability) for ability in Ability)


@pytest.mark.parametrize("role", SiteRole)
def test_only_administrators_can_open_django_admin(role):
    assert UserFactory.build(site_role=role).is_staff == (role == SiteRole.ADMINISTRATOR)


def test_active_operators_can_open_django_admin():
    assert OperatorFactory.build().is_staff
    assert not OperatorFactory.build(is_active=False).is_staff


def test_new_person_is_a_guest():
    assert User().site_role == SiteRole.GUEST
