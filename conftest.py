"""The cast that every test knows: an owner, a member of the same organization, a stranger from another one."""

import pytest
from rest_framework.test import APIClient

from accounts.roles import SiteRole
from accounts.tests.factories import OrganizationFactory, UserFactory


@pytest.fixture
def organization(db):
    return OrganizationFactory(name="Acme", slug="acme")


@pytest.fixture
def owner(organization):
    """An ordinary User who owns what the test is about."""
    return UserFactory(organization=organization, email="owner@acme.example", name="Olga Owner")


@pytest.fixture
def member(organization):
    """Another User of the same organization."""
    return UserFactory(organization=organization, email="member@acme.example", name="Mo Member")


@pytest.fixture
def administrator(organization):
    return UserFactory(
        organization=organization,
        email="admin@acme.example",
        name="Ada Admin",
        site_role=SiteRole.ADMINISTRATOR,
    )


@pytest.fixture
def stranger(db):
    """The Administrator of another organization: all rights there, none here."""
    return UserFactory(
        organization=OrganizationFactory(name="Elsewhere", slug="elsewhere"),
        email="stranger@elsewhere.example",
        name="Sam Stranger",
        site_role=SiteRole.ADMINISTRATOR,
    )


@pytest.fixture
def api():
    """A client of the API that sends what the test tells it to, as JSON."""
    return APIClient()
