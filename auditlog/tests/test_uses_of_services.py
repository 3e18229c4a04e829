"""Uses of services: how the pages, the API and the files of the authentication log show and filter them."""

import json
import re
from datetime import UTC, datetime

import pytest
from django.db import connection

from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory
from auditlog.filters import OrganizationTokenUseFilter, TokenUseFilter
from auditlog.models import NEWEST_FIRST, TokenUse
from auditlog.seals.entries import columns
from auditlog.seals.macs import EntryMac
from auditlog.tests.entries import USES, change, findings, seal, use
from gateway.models import Service
from gateway.tests.factories import ServiceFactory
from tokens.models import Token
from tokens.tests.factories import TokenFactory

pytestmark = pytest.mark.django_db

OWN, ALL = "/profile/authentication-log/", "/organization/authentication-log/"
REPORTED_AT = datetime(2026, 11, 30, 14, 5, 2, tzinfo=UTC)


@pytest.fixture
def service(owner):
    return ServiceFactory(organization=owner.organization, name="Grafana", slug="grafana")


@pytest.fixture
def auditor(organization):
    return UserFactory(organization=organization, site_role=SiteRole.AUDITOR)


@pytest.fixture
def token(owner, service):
    return TokenFactory(owner=owner, service=service, scope="service:grafana:read")


@pytest.fixture
def entries(owner, service, token):
    """One of the portal, one of the service that the portal saw, and one that the service reported."""
    own = {"owner_id": owner.pk, "owner_email": owner.email}
    of_service = {**own, "service": service, "token_id": token.pk, "scope": token.scope, "target": "/api/dashboards/7"}
    found = [
        use(owner.organization, **own),
        use(owner.organization, **of_service),
        use(owner.organization, **of_service, reported_at=REPORTED_AT),
    ]
    TokenUse.objects.bulk_create(found)
    return found


def ids_of(rows):
    return {str(row.request_id) for row in rows}


def shown(answer):
    return set(re.findall(r'data-request-id="([^"]+)"', answer.content.decode()))


@pytest.mark.parametrize("path", [OWN, ALL])
def test_page_names_the_service_before_the_request(client, owner, auditor, service, entries, path):
    client.force_login(owner if path == OWN else auditor)

    page = client.get(path).content.decode()

    assert page.count(f'data-service="{service.pk}"') == 2
    assert page.count(f"?service={service.pk}") >= 2
    assert page.count("Reported</span>") == 1
    # The label of its scope, which only the service knows.
    assert "Read" in page
    assert "service:grafana:read" not in page
    assert f'<option value="{service.pk}">Grafana</option>' in page


def test_page_of_a_token_names_its_service(client, owner, service, token, entries):
    client.force_login(owner)

    page = client.get(f"/profile/tokens/{token.pk}/").content.decode()

    assert page.count(f'data-service="{service.pk}"') == 2
    assert f"?service={service.pk}" not in page


@pytest.mark.parametrize("path", [OWN, ALL])
def test_names_cost_one_query_and_none_without_services(
    client, owner, auditor, service, entries, path, django_assert_max_num_queries
):
    client.force_login(owner if path == OWN else auditor)

    def queries(**chosen):
        with django_assert_max_num_queries(100) as captured:
            client.get(path, chosen)
        return [query["sql"] for query in captured if 'FROM "gateway_service"' in query["sql"]]

    filled = 0 if path == OWN else 1
    client.get(path)
    assert len(queries(service="portal")) == filled
    assert len(queries()) == filled + 1


@pytest.mark.parametrize("path", [OWN, ALL])
def test_page_filters_by_service(client, owner, auditor, service, entries, path):
    client.force_login(owner if path == OWN else auditor)

    assert shown(client.get(path, {"service": str(service.pk)})) == ids_of(entries[1:])
    assert shown(client.get(path, {"service": "portal"})) == ids_of(entries[:1])
    wrong = client.get(path, {"service": "grafana"})
    assert "Enter the ID of a service" in wrong.content.decode()
    assert not shown(wrong)


def test_people_without_tokens_of_services_see_no_such_filter(client, owner, service):
    client.force_login(owner)

    assert 'name="service"' not in client.get(OWN).content.decode()
    assert 'name="service"' in client.get(OWN, {"service": str(service.pk)}).content.decode()


def test_services_of_others_are_neither_named_nor_found(client, api, owner, auditor):
    other = ServiceFactory(name="Vault of another organization")
    TokenUse.objects.bulk_create([use(other.organization, service=other)])
    client.force_login(auditor)
    api.force_login(auditor)

    page = client.get(ALL, {"service": str(other.pk)})

    assert other.name not in page.content.decode()
    assert not shown(page)
    assert api.get("/api/v1/logs/user/tokens", {"service": str(other.pk)}).json()["data"] == []


@pytest.mark.parametrize("path", [OWN, ALL])
def test_page_of_an_entry_says_which_service_and_who_reported_it(client, owner, auditor, service, entries, path):
    client.force_login(owner if path == OWN else auditor)

    of_portal, seen, reported = (client.get(f"{path}{entry.request_id}/").content.decode() for entry in entries)

    assert 'id="service"' not in of_portal
    for page in (seen, reported):
        assert f'href="{path}?service={service.pk}" id="service-uses"' in page
        assert "Read (<code>service:grafana:read</code>)" in " ".join(page.split())
    assert "what the portal answered to the check" in seen
    assert "Reported by the service at Monday, 30 November 2026, 14:05:02 UTC" in " ".join(reported.split())
    assert "The service checked the token itself" in reported


def test_refusal_by_a_service_names_the_scope_that_its_rules_ask_for(client, owner, service, token):
    refused = {"status": 403, "outcome": "refused", "reason": "insufficient_scope"}
    entry = use(
        owner.organization,
        owner_id=owner.pk,
        token_id=token.pk,
        scope=token.scope,
        service=service,
        **{**refused, "method": "POST", "target": "/api/dashboards/7"},
    )
    # For the portal, this path would be an operation of its API.
    closed = use(owner.organization, owner_id=owner.pk, service=service, **refused, target="/api/v1/users")
    TokenUse.objects.bulk_create([entry, closed])
    client.force_login(owner)

    page = client.get(f"{OWN}{entry.request_id}/").content.decode()

    assert "The operation needs this scope: Write." in " ".join(page.split())
    assert "None of the token&#x27;s scopes allows this request to the service." in page
    assert 'id="needed-scopes"' not in client.get(f"{OWN}{closed.request_id}/").content.decode()


@pytest.mark.parametrize("route", ["/api/v1/me/authentication-log", "/api/v1/logs/user/tokens"])
def test_api_has_the_service_and_filters_by_it(api, owner, auditor, service, entries, route):
    api.force_login(owner if "/me/" in route else auditor)

    def rows(**chosen):
        return api.get(route, chosen).json()["data"]

    reported, seen, of_portal = sorted(rows(), key=lambda row: (row["service"] is None, row["reported_at"] is None))
    assert reported["service"] == {"id": str(service.pk), "name": "Grafana", "short_name": "grafana"}
    assert reported["reported_at"] == "2026-11-30T14:05:02Z"
    assert (seen["service"], seen["reported_at"]) == (reported["service"], None)
    assert (of_portal["service"], of_portal["reported_at"]) == (None, None)
    assert {row["id"] for row in rows(service=str(service.pk))} == ids_of(entries[1:])
    assert {row["id"] for row in rows(service="portal")} == ids_of(entries[:1])
    head, line = api.get(f"{route}/export", {"service": "portal"}).getvalue().decode().splitlines()
    assert head.endswith(",service_id,service_name,service_short_name,reported_at")
    assert line.endswith(',,"",,')
    for wrong in ("", "grafana", "portal ", "\0", "x" * 500):
        answer = api.get(route, {"service": wrong})
        assert answer.status_code == 400, wrong
        assert "service" in str(answer.json().get("errors", "service")), answer.json()


@pytest.mark.each_database
def test_entry_of_a_service_that_is_gone_still_has_its_id(client, api, owner, service, entries):
    Token.objects.update(service=None)
    Service.objects.filter(pk=service.pk).delete()
    client.force_login(owner)
    api.force_login(owner)

    assert client.get(OWN).content.decode().count(f'data-service="{service.pk}"') == 2
    assert client.get(f"{OWN}{entries[1].request_id}/").status_code == 200
    listed = api.get("/api/v1/me/authentication-log", {"service": str(service.pk)}).json()["data"]
    assert listed[0]["service"] == {"id": str(service.pk), "name": None, "short_name": None}
    exported = api.get("/api/v1/me/authentication-log/export", {"format": "jsonl", "service": str(service.pk)})
    assert json.loads(exported.getvalue().splitlines()[0])["service"] == listed[0]["service"]


@pytest.mark.parametrize(
    ("filterset", "index"),
    [(OrganizationTokenUseFilter, "tokenuse_service_newest"), (TokenUseFilter, "tokenuse_owner_newest")],
)
@pytest.mark.each_database
def test_filter_by_service_reads_one_index(owner, auditor, service, filterset, index):
    own = filterset is TokenUseFilter
    rows = TokenUse.objects.of(owner) if own else TokenUse.objects.readable_org_entries(auditor)
    data = {"service": str(service.pk)}

    plan = filterset(data, rows).qs.order_by("-at", "-id")[:51].explain()

    # PostgreSQL chooses by its statistics.
    if connection.vendor == "sqlite":
        assert index in plan
        assert "TEMP B-TREE" not in plan
    assert (filterset.searched(data, rows) is None) is not own
    assert NEWEST_FIRST.page(filterset(data, rows).qs, cursor=None, size=5).rows == []


def test_macs_of_older_entries_are_as_before_the_columns_existed(owner, service):
    """A row of an older version had neither column."""
    values = [None if name in {"service_id", "reported_at"} else name for name in columns(TokenUse)]
    older = EntryMac(USES)
    older._columns = tuple(name for name in columns(TokenUse) if name not in {"service_id", "reported_at"})

    assert EntryMac(USES)(tuple(values)) == older(tuple(value for value in values if value))


def test_changed_service_of_a_sealed_use_is_noticed(owner, entries):
    """`test_seals` changes each column of a use of the portal; here, a service becomes the portal."""
    entry = TokenUse.objects.get(request_id=entries[2].request_id)
    seal()
    assert not findings()

    change(TokenUse, entry.pk, service_id=None, reported_at=None)

    assert [f"Entry {entry.pk} of" in found and "was changed" in found for found in findings()] == [True]
