import contextlib
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network

import pytest

# Seconds, for what takes milliseconds: it is spent only where something is wrong.
PATIENCE = 30


class Handler(BaseHTTPRequestHandler):
    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.called.append(self.path)
        self.server.calls.put((self.command, self.path, dict(self.headers), body.decode()))
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
    """What steps call, on loopback: 200 unless ``answers`` says otherwise.

    ``held_path`` is answered when ``let_go`` is set, so that a test can look at a step in its middle.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.answers = {}
        self.called = []
        self.calls = queue.Queue()
        self.held_path = None
        self.let_go = threading.Event()

    def next_call(self):
        """The next call as method, path, headers and body; waits for it."""
        return self.calls.get(timeout=PATIENCE)

    def next_calls(self, *paths):
        """Waits until these were called, in this order."""
        assert [self.next_call()[1] for _ in paths] == list(paths)


@pytest.fixture
def build_server(settings):
    settings.HTTP_STEP_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8")]
    with BuildServer() as server:
        threading.Thread(target=server.serve_forever, args=[0.005], daemon=True).start()
        yield server
        server.let_go.set()
        server.shutdown()
