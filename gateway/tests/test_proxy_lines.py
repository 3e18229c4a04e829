"""The lines for proxies that pass only chosen headers to the portal, and the module for Python. `test_proxies.py`
starts the others."""

import io
from types import SimpleNamespace

import jwt as pyjwt
import pytest
import yaml

from gateway.asked_requests import OVERRIDES
from gateway.models import Check
from gateway.recipes import RECIPES
from gateway.tests.factories import ServiceFactory
from tokens import jwt, services
from tokens.keys.ring import key_ring
from tokens.status_lists import assigning, signed
from tokens.tests.factories import TokenFactory


@pytest.mark.parametrize("name", ["envoy", "traefik"])
def test_portal_gets_the_headers_that_change_the_method(db, name):
    """It refuses them. Otherwise the service would do another method than the one that was checked."""
    lines = lines_of(name).lower()

    assert [header for header in OVERRIDES if as_sent(header) not in lines] == []


def test_envoy_says_who_the_caller_is(db):
    """By itself, it says only its own address: every caller would be in the networks of the proxy."""
    [check, *_] = yaml.safe_load(lines_of("envoy"))["http_filters"]
    asks = check["typed_config"]["http_service"]["authorization_request"]

    assert asks["headers_to_add"] == [
        {"key": "x-forwarded-for", "value": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"}
    ]


@pytest.fixture
def service(owner):
    return ServiceFactory(organization=owner.organization, slug="grafana", check_by=Check.STATUS_LIST)


@pytest.fixture
def token(owner, service):
    return TokenFactory(owner=owner, service=service, scope="service:grafana:read")


@pytest.fixture
def module(api, service, monkeypatch):
    """The module for Python, with the test's portal instead of a network. ``module.is_away``: nothing answers."""
    found = SimpleNamespace(is_away=False)

    def fetch(address, timeout):
        if found.is_away:
            raise ConnectionRefusedError
        signed.forget_answers()
        return io.BytesIO(api.get(address).content)

    names = {}
    exec(lines_of("python", service), names)
    public = key_ring().current.private_key.public_key()
    names["keys"] = SimpleNamespace(get_signing_key_from_jwt=lambda encoded: public)
    monkeypatch.setattr("urllib.request.urlopen", fetch)
    found.check, found.lists = names["check"], names["_lists"]
    return found


def later(module, seconds):
    for uri, (until, expires, bits) in module.lists.items():
        module.lists[uri] = (until - seconds, expires - seconds, bits)


def test_module_for_python_refuses_an_ended_token(module, owner, token):
    assigning.assign(token)
    encoded = jwt.encode(token)[0]
    assert module.check(encoded)["jti"] == str(token.pk)
    services.revoke_token(actor=owner, token=token)
    later(module, 11)

    with pytest.raises(pyjwt.PyJWTError):
        module.check(encoded)


def test_module_for_python_refuses_a_token_without_a_list(module, token):
    with pytest.raises(pyjwt.PyJWTError):
        module.check(jwt.encode(token)[0])


def test_module_for_python_works_without_the_portal_until_the_list_expires(module, token):
    assigning.assign(token)
    encoded = jwt.encode(token)[0]
    module.check(encoded)
    module.is_away = True
    later(module, 60)
    assert module.check(encoded)["jti"] == str(token.pk)
    later(module, 600)

    with pytest.raises(pyjwt.PyJWTError):
        module.check(encoded)


def lines_of(name, service=None):
    [recipe] = [recipe for recipe in RECIPES if recipe.id == name]
    return recipe.text(service or ServiceFactory())


def as_sent(header):
    return header.removeprefix("HTTP_").replace("_", "-").lower()
