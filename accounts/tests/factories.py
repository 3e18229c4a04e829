"""Factories for organizations, people and groups."""

import uuid
from functools import lru_cache

import factory
from django.contrib.auth.hashers import make_password
from django.utils import timezone
from factory.django import DjangoModelFactory, Password

from accounts.models import Group, Organization, ServiceAccount, User, Webhook
from accounts.roles import SiteRole
from accounts.webhooks import signatures

PASSWORD = "correct horse battery staple"


@lru_cache
def hashed(password):
    """Hashed once for everyone, because people are created in nearly every test."""
    return make_password(password)


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
    password = Password(PASSWORD, transform=hashed)
    joined_at = factory.LazyFunction(timezone.now)
    # As after a sign-in in a browser.
    time_zone = "UTC"


class OperatorFactory(UserFactory):
    organization = None
    is_superuser = True


class GroupFactory(DjangoModelFactory):
    class Meta:
        model = Group

    organization = factory.SubFactory(OrganizationFactory)
    name = factory.Sequence(lambda n: f"Group {n}")


class ServiceAccountFactory(UserFactory):
    """An active service account. Without ``responsible`` people, it is orphaned."""

    class Meta:
        skip_postgeneration_save = True

    email = factory.Sequence(lambda n: f"service-{n}@service-account.invalid")
    name = factory.Sequence(lambda n: f"Service {n}")
    password = factory.LazyFunction(lambda: make_password(None))
    is_service_account = True

    @factory.post_generation
    def responsible(self, create, people, **kwargs):
        row = ServiceAccount.objects.create(user=self)
        row.responsible.set(people or [])
        self.orphaned_at = None if people else timezone.now()
        self.save(update_fields=["orphaned_at"])


class WebhookFactory(DjangoModelFactory):
    class Meta:
        model = Webhook

    organization = factory.SubFactory(OrganizationFactory)
    url = "https://hooks.example.com/portal"
    description = factory.Sequence(lambda n: f"Webhook {n}")
    events = "leaked activity"
    secret = factory.LazyAttribute(lambda webhook: signatures.seal(signatures.new_secret(), webhook.id))
    id = factory.LazyFunction(uuid.uuid4)
