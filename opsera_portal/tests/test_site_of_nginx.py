"""Tests the answers that nginx itself gives with the supplied site, without a portal behind it."""

import base64
import datetime
import getpass
import grp
import hashlib
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
import uuid
from contextlib import ExitStack, closing, suppress

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.conf import settings

from core.api import problems
from opsera_portal.tests import portal as started

pytestmark = [pytest.mark.once, pytest.mark.integration]

SHIPPED = settings.BASE_DIR / "deploy" / "nginx"
PROGRAM = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


class Site:
    def __init__(self, root):
        self.port, self.certificate = started.free_port(), root / "certificate.pem"
        self.portal_port = started.free_port()
        self.access_log = root / "opsera-portal.access.log"
        self.context = ssl.create_default_context(cafile=self.certificate)

    def browser(self):
        return httpx.Client(base_url=f"https://localhost:{self.port}", verify=self.context)

    def connect(self, context=None):
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        return (context or self.context).wrap_socket(plain, server_hostname="localhost")

    def say(self, text):
        """Sends a request that no library would send, and returns the answer."""
        with self.connect() as connection:
            connection.sendall(text.replace("\n", "\r\n").encode())
            answer = b""
            while part := connection.recv(65536):
                answer += part
        return answer.decode()


def write_certificate(root):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (root / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (root / "key.pem").write_bytes(pem)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    if PROGRAM is None:
        pytest.skip("nginx is not installed: apt-get install nginx")
    root = tmp_path_factory.mktemp("nginx")
    write_certificate(root)
    made = Site(root)
    words = {
        "PORTAL_URL": f"https://localhost:{made.port}",
        "HOST": "localhost",
        "ADDRESS": "127.0.0.1",
        "HTTP_PORT": started.free_port(),
        "HTTPS_PORT": made.port,
        "PORTAL_PORT": made.portal_port,
        "CERTIFICATE": made.certificate,
        "CERTIFICATE_KEY": root / "key.pem",
        "SNIPPETS": root,
        "LOG_DIR": root,
    }
    text = (SHIPPED / "opsera-portal.conf").read_text()
    (root / "sites-enabled").mkdir()
    (root / "sites-enabled" / "opsera-portal").write_text(
        re.sub("@([A-Z_]+)@", lambda match: str(words[match[1]]), text)
    )
    shutil.copy(SHIPPED / "opsera-portal-proxy.conf", root)
    around = (SHIPPED / "rehearsal.conf").read_text()
    (root / "nginx.conf").write_text(around.replace("daemon on;", "daemon off;"))
    me = f"user {getpass.getuser()} {grp.getgrgid(os.getgid()).gr_name};"
    command = [PROGRAM, "-p", f"{root}/", "-c", "nginx.conf", "-e", "error.log", "-g", me]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not started.answers(made.port):
            assert time.monotonic() < deadline, (root / "error.log").read_text()
            assert process.poll() is None, (root / "error.log").read_text()
            time.sleep(0.02)
        yield made
    finally:
        process.terminate()
        process.wait(timeout=10)


def own_answers(site):
    with site.browser() as browser:
        yield 503, browser.get("/login/")
        yield 413, browser.post("/login/", content=b"x" * (600 * 1024))
        yield 400, browser.get("/login/", headers={"X-Long": "x" * 20_000})


def test_nginx_own_answers_have_security_headers(site):
    for status, answer in own_answers(site):
        assert answer.status_code == status
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains; preload"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; frame-ancestors 'none'")
        assert answer.headers["Cache-Control"] == "no-store"


CODES = {400: "invalid_request", 403: "forbidden", 413: "content_too_large", 429: "throttled", 503: "unavailable"}


def assert_own_problem(answer, status):
    problem = answer.json()
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert list(problem) == ["type", "title", "status", "detail", "code", "request_id"]
    assert (problem["type"], problem["status"], problem["code"]) == ("about:blank", status, CODES[status])
    assert problem["title"] == problems.TITLES[status]
    assert problem["request_id"] == str(uuid.UUID(problem["request_id"])) == answer.headers["X-Request-ID"]
    assert ("Retry-After" in answer.headers) is (status in {429, 503})
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=31536000")
    assert answer.headers["Cache-Control"] == "no-store"


def test_nginx_own_answers_under_api_are_problem_documents(site):
    with site.browser() as browser:
        assert_own_problem(browser.get("/api/v1/me"), 503)
        assert_own_problem(browser.post("/api/v1/pipeline/run", content=b"x" * (600 * 1024)), 413)
        assert_own_problem(browser.get("/api/v1/me", headers={"X-Long": "x" * 20_000}), 400)


def test_only_listed_proxies_ask_about_requests_to_services(site):
    with site.browser() as browser:
        refused = browser.get("/auth/verify/6f1e4ad0-0000-4000-8000-000000000000", headers={"X-Original-URI": "/"})

    assert refused.status_code == 403
    assert "only for the proxies of services" in refused.text


BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def assert_own_page(answer, status, in_german):
    (style,) = re.findall("<style>(.*?)</style>", answer.text)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert f"style-src 'sha256-{digest}'; frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert "<script" not in answer.text
    assert f"<title>{status} · Opsera Portal</title>" in answer.text
    assert in_german in answer.text
    assert ("Retry-After" in answer.headers) is (status in {429, 503})
    assert uuid.UUID(answer.headers["X-Request-ID"])
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=31536000")
    assert answer.headers["Cache-Control"] == "no-store"


def test_nginx_own_answers_are_pages_for_browsers_but_not_under_api(site):
    with site.browser() as browser:
        assert_own_page(browser.get("/login/", headers=BROWSER), 503, "nicht erreichbar")
        too_large = browser.post("/login/", content=b"x" * (600 * 1024), headers=BROWSER)
        assert_own_page(too_large, 413, "mehr als 256 KiB")
        assert_own_problem(browser.get("/api/v1/me", headers=BROWSER), 503)


def test_id_of_nginx_own_answer_is_in_its_access_log(site):
    with site.browser() as browser:
        request_id = browser.get("/api/v1/me").json()["request_id"]

    # nginx writes the line after it has sent the answer.
    deadline = time.monotonic() + 5
    while request_id not in site.access_log.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert request_id in site.access_log.read_text()


def test_requests_over_the_limit_of_nginx_get_a_problem_document_with_retry_after(site):
    with ExitStack() as stack:
        # A portal that accepts requests and answers none of them.
        stack.enter_context(closing(socket.create_server(("127.0.0.1", site.portal_port), backlog=200)))
        is_refused = False
        for number in range(150):
            under_way = stack.enter_context(site.connect())
            under_way.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            if number >= 100:
                under_way.settimeout(0.5)
                with suppress(TimeoutError):
                    is_refused = under_way.recv(12) == b"HTTP/1.1 429"
            if is_refused:
                break
        browser = stack.enter_context(site.browser())
        page = browser.get("/login/")

        assert_own_problem(browser.get("/api/v1/me"), 429)
        assert page.headers["Retry-After"] == "5"
        assert page.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert "too many requests" in page.text
        assert_own_page(browser.get("/login/", headers=BROWSER), 429, "zu viele Anfragen")


def test_answer_that_the_portal_cuts_is_cut_by_nginx(site):
    begun = b"HTTP/1.1 200 OK\r\nX-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n"

    def begin_an_answer(listening):
        with listening.accept()[0] as connection:
            connection.recv(65536)
            connection.sendall(begun)

    with closing(socket.create_server(("127.0.0.1", site.portal_port))) as listening, site.browser() as browser:
        threading.Thread(target=begin_an_answer, args=[listening], daemon=True).start()
        with browser.stream("GET", "/organization/activity-log/export/") as answer:
            assert answer.status_code == 200
            with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
                answer.read()


def test_answer_for_an_unavailable_portal_names_its_encoding(site):
    with site.browser() as browser:
        assert browser.get("/").headers["Content-Type"] == "text/plain; charset=utf-8"


def test_newest_tls_version_is_used(site):
    with site.connect() as connection:
        assert connection.version() == "TLSv1.3"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls_versions_before_1_2_are_refused(site):
    old = ssl.create_default_context(cafile=site.certificate)
    # Otherwise the client would refuse the connection, not nginx.
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1

    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        site.connect(old)


@pytest.mark.parametrize("ciphers", ["ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA"])
def test_ciphers_without_authentication_are_refused(site, ciphers):
    weak = ssl.create_default_context(cafile=site.certificate)
    weak.maximum_version = ssl.TLSVersion.TLSv1_2
    weak.set_ciphers(ciphers)

    with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
        site.connect(weak)


def test_request_with_two_lengths_is_refused(site):
    answer = site.say(
        "POST /login/ HTTP/1.1\nHost: localhost\nContent-Length: 6\nTransfer-Encoding: chunked\n\n0\n\nGET /admin/"
    )

    assert answer.startswith("HTTP/1.1 400 ")
    assert answer.count("HTTP/1.1 ") == 1


def test_trace_is_refused(site):
    answer = site.say("TRACE / HTTP/1.1\nHost: localhost\nX-Marker: repeated\nConnection: close\n\n")

    assert answer.startswith("HTTP/1.1 405 ")
    assert "repeated" not in answer
