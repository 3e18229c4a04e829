"""TLS: the portal trusts a company's certificate authority for the provider, HTTP steps and mail.

The tests for mail are in test_mail.py.
"""

import http.server
import json
import threading

import pytest
from django.core.exceptions import ImproperlyConfigured

from core import setting_readers
from core.setting_readers import OpenIDProvider
from opsera_portal.tests.certificates import authority, server_context
from pipelines import http_step


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers everything with the discovery document of a provider."""

    def do_GET(self):
        issuer = f"https://localhost:{self.server.server_address[1]}"
        names = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri")
        body = json.dumps({"issuer": issuer, **{name: f"{issuer}/{name}" for name in names}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """Ignores errors: clients that do not trust the server close the connection."""


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def port(ca):
    server = Server(("127.0.0.1", 0), Handler)
    server.socket = server_context(ca).wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture
def trusted(ca, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(ca.file))


@pytest.fixture
def provider(port, settings, db):
    settings.OPENID_PROVIDER = OpenIDProvider(f"https://localhost:{port}", "portal", "a secret", "Acme ID")


def step(port, settings):
    settings.HTTP_STEP_ALLOWED_NETWORKS = setting_readers.networks("SETTING", "127.0.0.0/8,::1")
    return http_step.call(method="GET", url=f"https://localhost:{port}/", headers={}, body="")


def test_provider_can_have_a_certificate_of_the_company(client, provider, trusted, port):
    page = client.post("/login/single-sign-on/").content.decode()

    assert f"https://localhost:{port}/authorization_endpoint" in page


def test_untrusted_provider_is_logged_with_the_reason(client, provider, caplog):
    page = client.post("/login/single-sign-on/").content.decode()

    assert "TLS: unable to get local issuer certificate" in caplog.text
    assert "SSL_CERT_FILE" in caplog.text
    assert "Trying again does not help" in page


def test_step_can_call_a_server_of_the_company(port, settings, trusted):
    assert step(port, settings).status == 200


def test_step_does_not_call_an_untrusted_server(port, settings):
    with pytest.raises(http_step.HttpStepError, match="certificate"):
        step(port, settings)


def test_public_authorities_stay_trusted(trusted):
    from core.http import tls

    assert len(tls.client_context().get_ca_certs()) > 50


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file or directory"),
        (b"", "it holds no authority|it is not in PEM format"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "it is not in PEM format"),
        (b"\xff\x00 nothing", "it is not in PEM format"),
    ],
)
def test_unusable_authority_prevents_startup(tmp_path, content, why):
    file = tmp_path / "authority.pem"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ImproperlyConfigured, match=rf"^SSL_CERT_FILE: .*({why})\.$") as error:
        setting_readers.authorities("SSL_CERT_FILE", str(file))
    assert "\n" not in str(error.value)


def test_directory_is_refused_as_a_file_of_authorities(tmp_path):
    with pytest.raises(ImproperlyConfigured, match="SSL_CERT_FILE"):
        setting_readers.authorities("SSL_CERT_FILE", str(tmp_path))


def test_file_of_authorities_is_used(ca):
    assert setting_readers.authorities("SSL_CERT_FILE", str(ca.file)) == str(ca.file)
