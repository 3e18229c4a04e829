"""Callers on bad lines, and a database that is away for a while, against a started portal."""

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
    """Sends the headers of a change and the first byte of its body, and then nothing."""
    address = urlsplit(portal.url)
    line = socket.create_connection((address.hostname, address.port), timeout=5)
    line.sendall(
        f"POST /api/v1/pipeline/run HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: {authorization}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{".encode()
    )
    return line


@pytest.mark.parametrize("whose", ["mine", "a stranger's"])
def test_a_body_that_does_not_come_makes_nobody_wait(portal, token, whose):
    authorization = f"Bearer {token}" if whose == "mine" else "Bearer a.b.c"
    with closing(begin_a_request(portal, authorization)):
        time.sleep(0.3)
        started = time.monotonic()
        request = urllib.request.Request(f"{portal.url}/api/v1/me", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200
        assert time.monotonic() - started < 2


def begin_a_form(portal):
    """The same of a stranger's form, which has nothing that could be refused by its head."""
    address = urlsplit(portal.url)
    line = socket.create_connection((address.hostname, address.port), timeout=30)
    line.sendall(
        f"POST /login/ HTTP/1.1\r\nHost: {address.netloc}\r\nCookie: csrftoken={'a' * 32}\r\n"
        f"Origin: {portal.url}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        "Content-Length: 100\r\n\r\na".encode()
    )
    return line


def test_dozens_of_slow_bodies_leave_others_their_answers_and_are_hung_up_on(portal, token):
    with ExitStack() as lines:
        slow = [lines.enter_context(closing(begin_a_form(portal))) for _ in range(40)]
        for path in ("/login/", "/api/v1/me"):
            started = time.monotonic()
            request = urllib.request.Request(f"{portal.url}{path}", headers={"Authorization": f"Bearer {token}"})
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert answer.status == 200
            assert time.monotonic() - started < 2

        # So many are a crowd, in which nobody is waited for long.
        assert [line.recv(1) for line in slow[:24]] == [b""] * 24
