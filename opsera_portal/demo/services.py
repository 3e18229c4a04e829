"""The demo's service behind the portal, and a token for it."""

from accounts.models import Organization
from gateway.models import Service
from gateway.querysets import ServiceQuerySet
from opsera_portal.demo.dashboards import ADDRESS

SLUG = "dashboards"
RULES = """\
GET,HEAD / any
GET,HEAD /api/dashboards/** read
POST,PUT,DELETE /api/dashboards/** write
* /api/admin/** nobody"""
SCOPES = [
    {"name": "read", "label": "Read dashboards", "description": "See every dashboard.", "only_reads": True},
    {"name": "write", "label": "Change dashboards", "description": "Create, change and delete.", "only_reads": False},
]


def create_service(organization: Organization, port: int) -> Service:
    return Service.objects.create(
        organization=organization,
        name="Dashboards",
        name_key="dashboards",
        slug=SLUG,
        address=address_at(port),
        description="The demo's small service. Its proxy asks the portal about each request.",
        scopes=SCOPES,
        rules=RULES,
        site_roles="administrator power_user user",
        allows_sessions=True,
    )


def set_port(port: int) -> None:
    of_demo().update(address=address_at(port))


def of_demo() -> ServiceQuerySet:
    return Service.objects.filter(organization__slug="demo", slug=SLUG, address__startswith=f"http://{ADDRESS}:")


def address_at(port: int) -> str:
    return f"http://{ADDRESS}:{port}"
