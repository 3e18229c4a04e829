"""Clients with slow connections do not delay other requests to a running portal."""

import socket
import time
import urllib.request
from contextlib import ExitStack, closing
from urllib.parse import urlsplit

import pytest
from django.conf import settings

from opsera_portal.tests.test_postman import Session

pytestmark = [pytest.mark.integration, pytest.mark.once]

if settings.DATABASES["default"]["ENGINE"].endswith("postgresql"):
    pytest.skip("about SQLite's one write lock", allow_module_level=True)


@pytest.fixture(scope="module")
def token(portal):
    return Session(portal, "user@demo.example").make_token("on a bad line", "api")


def begin_a_request(portal, authorization):
    """Sends the headers of a POST request and the first byte of its body, and then nothing."""
    address = urlsplit(portal.url)
    connection = socket.create_connection((address.hostname, address.port), timeout=5)
    connection.sendall(
        f"POST /api/v1/pipeline/run HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: {authorization}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{".encode()
    )
    return connection


@pytest.mark.parametrize("whose", ["mine", "a stranger's"])
def test_unfinished_body_does_not_delay_other_requests(portal, token, whose):
    authorization = f"Bearer {token}" if whose == "mine" else "Bearer a.b.c"
    with closing(begin_a_request(portal, authorization)):
        time.sleep(0.3)
        started = time.monotonic()
        request = urllib.request.Request(f"{portal.url}/api/v1/me", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200
        assert time.monotonic() - started < 2


def begin_a_form(portal):
    """Does the same with a form of someone signed out. Its headers give no reason to refuse it."""
    address = urlsplit(portal.url)
    connection = socket.create_connection((address.hostname, address.port), timeout=30)
    connection.sendall(
        f"POST /login/ HTTP/1.1\r\nHost: {address.netloc}\r\nCookie: csrftoken={'a' * 32}\r\n"
        f"Origin: {portal.url}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        "Content-Length: 100\r\n\r\na".encode()
    )
    return connection


def test_many_slow_bodies_do_not_delay_others_and_are_disconnected(portal, token):
    with ExitStack() as connections:
        slow = [connections.enter_context(closing(begin_a_form(portal))) for _ in range(40)]
        for path in ("/login/", "/api/v1/me"):
            started = time.monotonic()
            request = urllib.request.Request(f"{portal.url}{path}", headers={"Authorization": f"Bearer {token}"})
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert answer.status == 200
            assert time.monotonic() - started < 2

        # With so many slow connections, the portal soon closes them.
        assert [connection.recv(1) for connection in slow[:24]] == [b""] * 24
