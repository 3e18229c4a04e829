"""The page and the API operation that list the addresses that HTTP steps can't call."""

from ipaddress import ip_network

import pytest

from accounts.roles import SiteRole
from accounts.tests.factories import UserFactory


def test_page_and_api_list_refused_networks(client, owner, settings):
    settings.HTTP_STEP_REFUSED_NETWORKS = [ip_network("10.0.0.0/8")]
    settings.HTTP_STEP_ALLOWED_NETWORKS = [ip_network("10.1.2.3/32")]
    client.force_login(owner)
    page = client.get("/organization/http-steps/").content.decode()
    body = client.get("/api/v1/organization/http-steps").json()

    kinds = {row["kind"]: row["networks"] for row in body["refused"]}
    assert kinds["a loopback address"] == ["127.0.0.0/8", "::1/128"]
    assert kinds["an address of the portal's own machine"] == []
    assert kinds["an address in a network that the operator has closed to steps"] == ["10.0.0.0/8"]
    assert (body["allowed"], body["uses_proxy"]) == (["10.1.2.3/32"], False)
    for text in ("127.0.0.0/8, ::1/128", "10.0.0.0/8", "10.1.2.3/32", "without a proxy"):
        assert text in page


def test_page_says_that_a_proxy_is_used_without_naming_it(client, owner, settings):
    settings.HTTP_STEP_PROXIES = {"https": "http://someone:hunter2@proxy.example.com", "no": ""}
    client.force_login(owner)
    page = client.get("/organization/http-steps/").content.decode()

    assert "through the operator's proxy" in page.replace("&#x27;", "'")
    assert "proxy.example.com" not in page
    assert client.get("/api/v1/organization/http-steps").json()["uses_proxy"] is True


@pytest.mark.django_db
def test_page_belongs_to_the_organization_section(client):
    client.force_login(UserFactory(site_role=SiteRole.ADMINISTRATOR))
    page = client.get("/organization/http-steps/").content.decode()

    assert 'aria-current="true">Organization</a>' in page
    assert 'aria-current="true">Pipelines</a>' not in page
