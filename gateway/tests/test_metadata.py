"""What programs find out about the portal and its services without credentials."""

import json
import uuid

import pytest

from core.api.audiences import audience_of
from gateway.models import Service
from gateway.tests.factories import ServiceFactory

pytestmark = pytest.mark.django_db

SERVER = "/.well-known/oauth-authorization-server"
RESOURCE = "/.well-known/oauth-protected-resource"


def test_addresses_of_the_server_exist(client, settings):
    answer = client.get(SERVER)

    about = answer.json()
    portal = settings.PORTAL_URL
    assert about["issuer"] == settings.TOKEN_ISSUER == portal
    assert about["introspection_endpoint"] == f"{portal}/oauth/introspect"
    assert about["grant_types_supported"] == ["urn:ietf:params:oauth:grant-type:token-exchange"]
    assert about["introspection_signing_alg_values_supported"] == ["ES256"]
    assert about["introspection_endpoint_auth_methods_supported"] == ["client_secret_basic", "client_secret_post"]
    assert client.get(about["jwks_uri"].removeprefix(portal)).json()["keys"]
    for name in ("introspection_endpoint", "revocation_endpoint", "token_endpoint"):
        refused = client.post(about[name].removeprefix(portal), "", content_type="application/x-www-form-urlencoded")
        assert refused.json()["error"] in ("invalid_client", "invalid_request"), name


@pytest.mark.parametrize("address", [RESOURCE, f"{RESOURCE}/api/v1"])
def test_api_of_the_portal_is_described(client, settings, address):
    about = client.get(address).json()

    assert about["resource"] == settings.TOKEN_AUDIENCE
    assert about["authorization_servers"] == [settings.TOKEN_ISSUER]
    assert about["bearer_methods_supported"] == ["header"]
    assert "api-readonly" in about["scopes_supported"]


def test_service_is_described_without_its_name(client, settings):
    service = ServiceFactory(name="Secret project", slug="grafana")
    answer = client.get(f"{RESOURCE}/services/{service.pk}")

    assert answer.json() == {
        "resource": audience_of(service.pk),
        "authorization_servers": [settings.TOKEN_ISSUER],
        "bearer_methods_supported": ["header"],
        "scopes_supported": ["service:grafana:read", "service:grafana:write"],
    }
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Cache-Control"] == "public, max-age=300"
    assert not answer.cookies


def test_service_that_is_switched_off_is_like_an_unknown_one(client):
    service = ServiceFactory()
    Service.objects.update(is_enabled=False)
    answers = [client.get(f"{RESOURCE}/services/{pk}") for pk in (service.pk, uuid.uuid4())]

    assert [(answer.status_code, answer.json()) for answer in answers] == [(404, {"error": "not_found"})] * 2


def test_challenges_lead_to_the_metadata(api, settings):
    service = ServiceFactory()
    for address, pk in (("/api/v1/me", None), (f"/auth/verify/{service.pk}", service.pk)):
        challenge = api.get(address).headers["WWW-Authenticate"]
        _, _, rest = challenge.partition('resource_metadata="')
        url = rest.partition('"')[0]
        assert url.startswith(f"{settings.PORTAL_URL}{RESOURCE}/")
        about = json.loads(api.get(url.removeprefix(settings.PORTAL_URL)).content)
        assert about["resource"] == audience_of(pk)
