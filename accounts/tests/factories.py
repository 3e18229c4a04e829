"""Factories for organizations, people and groups."""

import factory
from django.utils import timezone
from factory.django import DjangoModelFactory, Password

from accounts.models import Group, Organization, User
from accounts.roles import SiteRole

PASSWORD = "correct horse battery staple"


class OrganizationFactory(DjangoModelFactory):
    class Meta:
        model = Organization

    name = factory.Sequence(lambda n: f"Organization {n}")
    slug = factory.Sequence(lambda n: f"organization-{n}")


class UserFactory(DjangoModelFactory):
    class Meta:
        model = User

    email = factory.Sequence(lambda n: f"person{n}@example.com")
    name = factory.Sequence(lambda n: f"Person {n}")
    organization = factory.SubFactory(OrganizationFactory)
    site_role = SiteRole.USER
    password = Password(PASSWORD)
    joined_at = factory.LazyFunction(timezone.now)
    # Without one, each page has a form that sends the browser's.
    time_zone = "UTC"


class OperatorFactory(UserFactory):
    organization = None
    is_superuser = True


class GroupFactory(DjangoModelFactory):
    class Meta:
        model = Group

    organization = factory.SubFactory(OrganizationFactory)
    name = factory.Sequence(lambda n: f"Group {n}")
