"""A provider of single sign-on for tests."""

import json
import os
import threading
from contextlib import contextmanager
from io import BytesIO
from urllib.parse import urlencode, urlsplit

import oidc_provider_mock
import pytest
import requests
from authlib._joserfc_helpers import import_any_key
from authlib.oidc.core.grants import code
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

CLIENT_ID = "portal"
SUBJECT = "subject-1"


class Silent(WSGIRequestHandler):
    def log(self, type, message, *args):  # noqa: A002
        pass


class Provider:
    """`oidc_provider_mock` with changed answers: ``lies`` maps a path to a function that changes its answer."""

    def __init__(self):
        self.app = oidc_provider_mock.app()
        self.server = make_server("localhost", 0, self, threaded=True, request_handler=Silent)
        self.issuer = f"http://localhost:{self.server.server_port}"
        self.lies = {}
        self.asked = []

    def __call__(self, environ, start_response):
        request = Request(environ)
        self.asked.append((request.path, dict(request.form)))
        environ["wsgi.input"].seek(0) if environ["wsgi.input"].seekable() else None
        answer = Response.from_app(self.app, self._again(environ, request))
        if request.path in self.lies:
            answer = self.lies[request.path](answer)
        return answer(environ, start_response)

    def _again(self, environ, request):
        """Returns the environ of the same request, with an unread body."""
        if request.form:
            body = urlencode(list(request.form.items(multi=True))).encode()
            environ = {**environ, "wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
            environ.pop("werkzeug.request", None)
        return environ

    def knows(self, subject=SUBJECT, **claims):
        tell(self.issuer, subject, **claims)

    @property
    def variables(self):
        """The environment variables of a portal that uses it."""
        return {
            "OIDC_ISSUER": self.issuer,
            "OIDC_CLIENT_ID": CLIENT_ID,
            "OIDC_CLIENT_SECRET": "a secret",
            "OIDC_NAME": "Acme ID",
        }


def tell(issuer, subject, **claims):
    """Tells the running provider about a person."""
    requests.put(f"{issuer}/users/{subject}", json=claims, timeout=5).raise_for_status()


@contextmanager
def running_provider():
    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
    provider = Provider()
    thread = threading.Thread(target=provider.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield provider
    finally:
        provider.server.shutdown()
        thread.join()
        provider.server.server_close()
        del os.environ["AUTHLIB_INSECURE_TRANSPORT"]


def changed(edit):
    """Changes the JSON of one answer."""

    def lie(answer):
        body = answer.get_json()
        edit(body)
        return Response(json.dumps(body), content_type="application/json")

    return lie


def consent(address, subject=SUBJECT):
    """Signs in at the provider, and returns the callback address."""
    answer = requests.post(address, data={"sub": subject}, allow_redirects=False, timeout=5)
    parts = urlsplit(answer.headers["Location"])
    return f"{parts.path}?{parts.query}"


@pytest.fixture(scope="module")
def keys_read_once():
    """Caches the provider's private key: OpenSSL would check it again for each token."""
    keys = {}

    def read(key):
        text = json.dumps(key, sort_keys=True)
        if text not in keys:
            keys[text] = import_any_key(key)
        return keys[text]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(code, "import_any_key", read)
        yield


@pytest.fixture(scope="module")
def running(keys_read_once):
    with running_provider() as provider:
        yield provider
