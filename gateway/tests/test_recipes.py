"""The lines for proxies that pass only chosen headers to the portal. `test_proxies.py` starts the others."""

import pytest
import yaml

from gateway.asked_requests import OVERRIDES
from gateway.recipes import RECIPES
from gateway.tests.factories import ServiceFactory


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


def lines_of(name):
    [recipe] = [recipe for recipe in RECIPES if recipe.id == name]
    return recipe.text(ServiceFactory())


def as_sent(header):
    return header.removeprefix("HTTP_").replace("_", "-").lower()
