"""Limits the cost of a request with a token, so that the API does not become slower unnoticed.

Counts calls of Python functions and queries, because these do not depend on the machine.
"""

import sys

import pytest
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, connection
from django.test.utils import CaptureQueriesContext

from benchmarks.portal import environ
from core.setting_readers import rate
from opsera_portal.wsgi import application
from tokens.tests.factories import TokenFactory, bearer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.http]

# A tenth more than measured. Raise a bound only together with new figures in docs/performance.md.
MOST_CALLS = {"sqlite": 645, "postgresql": 775}
WARM_UP = 5


@pytest.fixture(autouse=True)
def limits_and_one_connection(settings):
    settings.API_LIMIT_TOKEN = settings.API_LIMIT_USER = rate("API_LIMIT_TOKEN", "1000000/m")
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def ask(owner):
    """Sends requests to `/api/v1/me` without a server, after a warm-up."""
    authorization = bearer(TokenFactory(owner=owner))["Authorization"]

    def ask():
        statuses = []
        answer = application(environ(authorization), lambda status, headers: statuses.append(status))
        b"".join(answer)
        answer.close()
        assert statuses == ["200 OK"]

    for _ in range(WARM_UP):
        ask()
    return ask


def calls_of(function):
    counted = 0

    def note(frame, event, argument):
        nonlocal counted
        counted += event == "call"

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(before)
    return counted


def test_request_with_a_token_calls_few_functions(ask):
    calls = min(calls_of(ask) for _ in range(3))

    most = MOST_CALLS[connection.vendor]
    # With far fewer calls, the bound would no longer detect a slowdown.
    assert most * 0.75 < calls <= most


def test_request_with_a_token_makes_one_query_and_writes_one_row(ask):
    with CaptureQueriesContext(connection) as queries:
        ask()

    assert [query["sql"].split()[0] for query in queries] == ["SELECT", "INSERT"]
