import factory

from accounts.tests.factories import OrganizationFactory
from gateway.models import Service, ServiceCredential, ServiceRule
from gateway.secrets import digest_of, new_secret

READ = {"name": "read", "label": "Read", "description": "Look at dashboards.", "only_reads": True}
WRITE = {"name": "write", "label": "Write", "description": "Change dashboards.", "only_reads": False}
RULES = """\
GET,HEAD /api/dashboards/** read
POST /api/dashboards/** write
* /public/** any
* /admin/** nobody"""


class ServiceFactory(factory.django.DjangoModelFactory):
    """A service that every site role except Guest may use."""

    class Meta:
        model = Service

    organization = factory.SubFactory(OrganizationFactory)
    name = factory.Sequence(lambda number: f"Grafana {number}")
    name_key = factory.LazyAttribute(lambda service: service.name.casefold())
    slug = factory.Sequence(lambda number: f"grafana-{number}")
    address = "https://grafana.example.com"
    scopes = factory.LazyFunction(lambda: [dict(READ), dict(WRITE)])
    rules = RULES
    site_roles = "administrator power_user user"


class ServiceRuleFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = ServiceRule

    service = factory.SubFactory(ServiceFactory)


def secret_of(service, **values):
    """A new secret of the service. ``values``: of its `ServiceCredential`."""
    secret = new_secret()
    ServiceCredential.objects.create(service=service, digest=digest_of(secret), **values)
    return secret


class ServiceCredentialFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = ServiceCredential

    service = factory.SubFactory(ServiceFactory)
    digest = factory.Sequence(lambda number: digest_of(f"secret {number}"))
