"""The public checker for SCIM servers, scim2-tester, finds nothing wrong with `/scim/v2/`."""

import json
import logging
import uuid
from urllib.parse import urlencode, urlsplit

import pytest
from scim2_client import BaseSyncSCIMClient
from scim2_tester import Status, check_server, filling

from core.api.scopes import SCOPES, as_string
from tokens.tests.factories import TokenFactory, bearer

# A library of the checker writes to the console, and nothing else in the portal does.
logging.getLogger("lark").handlers.clear()


class Caller(BaseSyncSCIMClient):
    """Sends the checker's requests with Django's test client."""

    def __init__(self, api, headers):
        super().__init__()
        self.api, self.headers = api, headers

    def _stays_under_base_url(self, endpoint):
        return True

    def _parse_json(self, response):
        return response.json()

    def request(self, method, url, *, params=None, json=None, content=None, headers=None):
        address = urlsplit(url)
        path = address.path if address.scheme else f"/scim/v2/{address.path.lstrip('/')}"
        query = "&".join(filter(None, [address.query, urlencode(params or {})]))
        return self.api.generic(
            method,
            f"{path}?{query}" if query else path,
            content or as_json(json),
            content_type="application/scim+json",
            headers=self.headers | dict(headers or {}),
        )


def as_json(body):
    return "" if body is None else json.dumps(body)


@pytest.mark.django_db
def test_checker_finds_nothing_wrong(api, administrator, monkeypatch):
    # The checker makes up any text for a name. In the portal it is an address.
    made_up = filling.get_random_example_value
    monkeypatch.setattr(
        filling,
        "get_random_example_value",
        lambda path: f"{uuid.uuid4()}@acme.example" if str(path).lower().endswith("username") else made_up(path),
    )
    administrator.organization.allowed_scopes = as_string(SCOPES)
    administrator.organization.save()

    results = check_server(Caller(api, bearer(TokenFactory(owner=administrator, scope="scim"))))

    assert len(results) > 40
    assert [result.reason for result in results if result.status != Status.SUCCESS] == []
