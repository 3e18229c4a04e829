import asyncio
import concurrent.futures
import contextlib
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network

import pytest
from django.db import connection

from opsera_portal.tests.kills import Killed
from pipelines import runner

# Timeout in seconds for what takes milliseconds. It is reached only if something is wrong.
PATIENCE = 30


class Handler(BaseHTTPRequestHandler):
    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.called.append(self.path)
        self.server.calls.put((self.command, self.path, dict(self.headers), body.decode()))
        if self.server.before_answer:
            self.server.before_answer()
            connection.close()
        if self.path == self.server.held_path:
            self.server.let_go.wait(PATIENCE)
        status, text = self.server.answers.get(self.path.partition("?")[0], (200, "done"))
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

    def log_message(self, *args):
        pass


class BuildServer(ThreadingHTTPServer):
    """The server on loopback that steps call. It answers 200 unless ``answers`` says otherwise.

    It answers ``held_path`` only once ``let_go`` is set, so that a test can check a running step. ``before_answer`` is
    called in the thread of the server before each answer.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.answers = {}
        self.called = []
        self.calls = queue.Queue()
        self.held_path = None
        self.before_answer = None
        self.let_go = threading.Event()

    def next_call(self):
        """Waits for the next call; returns its method, path, headers and body."""
        return self.calls.get(timeout=PATIENCE)

    def next_calls(self, *paths):
        """Waits until these paths were called, in this order."""
        assert [self.next_call()[1] for _ in paths] == list(paths)


@pytest.fixture
def build_server(settings):
    settings.HTTP_STEP_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8")]
    with BuildServer() as server:
        threading.Thread(target=server.serve_forever, args=[0.005], daemon=True).start()
        yield server
        server.let_go.set()
        server.shutdown()


@pytest.fixture(autouse=True)
def worker_of_this_test(monkeypatch):
    """Resets the name and the stop request of the worker after the test."""
    monkeypatch.setattr(runner, "_worker", runner._worker)
    monkeypatch.setattr(runner, "_stop_requested", threading.Event())


class Mortality:
    """Kills the worker during a call: the run stays in the database as after kill -9."""

    def __init__(self, monkeypatch):
        self._connect = asyncio.BaseEventLoop.create_connection
        self._calls_left = None
        mortality = self

        async def create_connection(loop, *args, **kwargs):
            if mortality._calls_left is not None:
                mortality._calls_left -= 1
                if mortality._calls_left == 0:
                    raise Killed
            return await mortality._connect(loop, *args, **kwargs)

        monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", create_connection)

    def execute(self, pipeline, *, dies_in_call):
        self._calls_left = dies_in_call
        try:
            runner.execute_queued(pipeline.pk)
        except BaseExceptionGroup as group:
            assert group.subgroup(Killed), "another error occurred"  # noqa: PT017
        else:
            raise AssertionError("The worker made fewer calls.")
        finally:
            self._calls_left = None


@pytest.fixture
def mortality(monkeypatch):
    return Mortality(monkeypatch)


@pytest.fixture
def in_thread():
    """Calls a function in a thread with its own database connection; returns a future."""
    with concurrent.futures.ThreadPoolExecutor(4) as pool:

        def start(function, *args, **kwargs):
            def call():
                try:
                    return function(*args, **kwargs)
                finally:
                    connection.close()

            return pool.submit(call)

        yield start
