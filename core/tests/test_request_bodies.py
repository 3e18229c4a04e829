"""The server waits for request bodies within limits. An incomplete body is a client error."""

import io
import socket
import threading
import time
from contextlib import closing, contextmanager

import pytest

from auditlog.models import TokenUse
from core.api import problems
from core.http import request_bodies
from opsera_portal.management.commands.web import web_command
from tokens.tests.factories import TokenFactory, bearer


class Server:
    """Like granian's `wsgi.input`: a few bytes at a time, and an incomplete body if the caller disconnects."""

    def __init__(self, *parts):
        self.parts = list(parts)
        self.reads = 0

    def read(self, size):
        self.reads += 1
        part = self.parts.pop(0) if self.parts else b""
        if isinstance(part, Exception):
            raise part
        return part


def collected(length, server):
    environ = {"CONTENT_LENGTH": length, "wsgi.input": server}
    request_bodies.collect_body(environ)
    return environ["wsgi.input"]


def test_body_is_read_completely_before_the_request_is_handled():
    assert collected("6", Server(b"ab", b"c", b"def")).read() == b"abcdef"


@pytest.mark.parametrize("zeros", [1, 20, 5000])
def test_leading_zeros_of_the_length_change_nothing(zeros):
    server = Server(b"ab", b"c")
    environ = {"CONTENT_LENGTH": "0" * zeros + "3", "wsgi.input": server}

    request_bodies.collect_body(environ)

    assert environ["wsgi.input"].read() == b"abc"
    assert environ["CONTENT_LENGTH"] == "3"


@pytest.mark.parametrize("parts", [[], [b"ab"], [b"ab", OSError()], [ConnectionResetError()]])
def test_incomplete_body_cannot_be_read(parts):
    body = collected("6", Server(*parts))

    with pytest.raises(OSError):
        body.read(1)
    with pytest.raises(request_bodies.BodyIncomplete):
        body.readline()


@pytest.mark.parametrize("length", ["", "0", "-1", "x", "²", "262145", "9" * 5000, "0" * 5000, "0" * 20 + "262145"])
def test_body_without_a_length_or_too_large_is_not_read(length):
    server = Server(b"abc")

    assert collected(length, server) is server
    assert server.reads == 0


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/login/", "application/x-www-form-urlencoded"),
        ("/login/", "multipart/form-data; boundary=b"),
        ("/password/reset/", "application/x-www-form-urlencoded"),
    ],
)
def test_incomplete_form_is_400_without_a_traceback(client, db, caplog, path, content_type):
    answer = client.generic("POST", path, b"x" * 10, content_type, **{"wsgi.input": request_bodies.IncompleteBody()})

    assert answer.status_code == 400
    assert "did not arrive completely" in answer.content.decode()
    assert not [record for record in caplog.records if record.exc_info]


def test_incomplete_api_body_gets_a_problem_document_and_is_logged_for_the_token(api, owner):
    answer = api.generic(
        "POST",
        "/api/v1/pipeline/run",
        b"x" * 10,
        "application/json",
        headers=bearer(TokenFactory(owner=owner)),
        **{"wsgi.input": request_bodies.IncompleteBody()},
    )

    assert (answer.status_code, answer.json()["detail"]) == (400, problems.BODY_INCOMPLETE)
    assert TokenUse.objects.get().status == 400


def test_web_server_has_extra_threads_for_waiting(settings):
    settings.WEB_THREADS, settings.WEB_WAITING_THREADS = 16, 32
    command = " ".join(web_command())

    assert "--blocking-threads 48 " in command
    assert "--http1-header-read-timeout 10000 " in command


@contextmanager
def connection(*, received=b"", answered=b"", then=b""):
    """The port of a server, and a caller that sent data, got an answer, and sent more."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        with closing(socket.create_connection(("127.0.0.1", port))) as caller, closing(listener.accept()[0]) as server:
            for sender, receiver, data in (
                (caller, server, received),
                (server, caller, answered),
                (caller, server, then),
            ):
                if data:
                    sender.sendall(data)
                    assert receiver.recv(100) == data
                    time.sleep(0.02)
            caller.settimeout(0.2)
            yield port, caller


def is_ended(caller):
    try:
        return caller.recv(1) == b""
    except TimeoutError:
        return False


@pytest.mark.parametrize(
    ("sent", "is_slow"),
    [
        ({"received": b"POST"}, True),
        ({"received": b"GET", "answered": b"200", "then": b"POST"}, True),
        # Idle between two requests, and before the first.
        ({"received": b"GET", "answered": b"200"}, False),
        ({}, False),
    ],
)
@pytest.mark.slow
def test_slow_connection_is_closed_at_the_limit(sent, is_slow):
    with connection(**sent) as (port, caller):
        seen = request_bodies.end_slow_connections(port, {}, limit=20, now=100)
        seen = request_bodies.end_slow_connections(port, seen, limit=20, now=119)
        assert not is_ended(caller)
        request_bodies.end_slow_connections(port, seen, limit=20, now=120)
        assert is_ended(caller) is is_slow


def test_time_of_a_connection_restarts_with_each_answer():
    with connection(received=b"POST") as (port, caller):
        (peer,) = request_bodies.end_slow_connections(port, {}, limit=20, now=100)

        seen = request_bodies.end_slow_connections(port, {peer: (999, 100)}, limit=20, now=130)

        assert seen[peer][1] == 130
        assert not is_ended(caller)


def test_connections_to_other_ports_are_not_closed():
    with connection(received=b"POST") as (port, caller):
        assert request_bodies.end_slow_connections(port + 1, {}, limit=0, now=1) == {}
        assert not is_ended(caller)


def test_watch_runs_only_while_a_body_is_awaited(monkeypatch):
    monkeypatch.setattr(request_bodies, "LOOK_EVERY", 0.01)
    looked = threading.Event()
    monkeypatch.setattr(request_bodies, "end_slow_connections", lambda *_, **__: looked.set() or {})
    watch = request_bodies.Watch(1)

    with watch.waiting():
        assert looked.wait(5)
    deadline = time.monotonic() + 5
    while watch._is_running:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_parts_of_a_body_are_joined_in_one_stream():
    assert isinstance(collected("3", Server(b"abc")), io.BytesIO)
