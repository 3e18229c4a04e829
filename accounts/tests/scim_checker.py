"""Runs scim2-tester, a public checker for SCIM servers.

Import it in the test: its libraries take as long to import as a quarter of all tests do to collect, in each process.
"""

import json
import logging
import uuid
from urllib.parse import urlencode, urlsplit

from scim2_client import BaseSyncSCIMClient
from scim2_tester import Status, check_server, filling

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


def findings(api, headers):
    """The results of all checks. As the checker makes up any text for a name, it is told to make up addresses."""
    made_up = filling.get_random_example_value
    filling.get_random_example_value = lambda path: address_for(path) or made_up(path)
    try:
        return check_server(Caller(api, headers))
    finally:
        filling.get_random_example_value = made_up


def address_for(path):
    return f"{uuid.uuid4()}@acme.example" if str(path).lower().endswith("username") else None


def failures(results):
    return [result.reason for result in results if result.status != Status.SUCCESS]
