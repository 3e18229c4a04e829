"""Tests HTTP calls without a database.

Replaces only getaddrinfo and, if no connection may be opened, the event loop's create_connection.
"""

import asyncio
import contextlib
import datetime
import gzip
import http.server
import ipaddress
import socket
import socketserver
import ssl
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from core.http import call_addresses, fenced_call
from pipelines import http_step
from pipelines.http_step import HttpStepError

LIMIT = http_step.BODY_LIMIT_BYTES
LOOPBACK = ipaddress.ip_network("127.0.0.0/8")


def call(url, *, method="GET", headers=None, body=""):
    return http_step.call(method=method, url=url, headers=headers or {}, body=body)


# Fakes and servers


class FakeNames:
    """Resolves known names and records queries. libc parses IP literals in any spelling."""

    def __init__(self):
        self.addresses = {}
        self.asked = []
        self.real = socket.getaddrinfo

    def getaddrinfo(self, host, port, *args, **kwargs):
        self.asked.append(host)
        if host not in self.addresses:
            return self.real(host, port, *args, flags=socket.AI_NUMERICHOST, **kwargs)
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, 0, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))
            for address in self.addresses[host]
        ]


@pytest.fixture
def names(monkeypatch):
    fake = FakeNames()
    monkeypatch.setattr(socket, "getaddrinfo", fake.getaddrinfo)
    return fake


@pytest.fixture
def connections(monkeypatch):
    """Refuses every connection and returns the addresses that the step tried."""
    attempts = []

    async def refuse(loop, protocol, host=None, port=None, **options):
        attempts.append((host, port))
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", refuse)
    return attempts


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        length = int(self.headers.get("Content-Length", 0))
        self.server.seen.append((self.command, self.path, self.headers, self.rfile.read(length)))
        status, headers, body = self.server.answers.get(self.path, (200, {}, b"done"))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            if self.command != "HEAD":
                self.wfile.write(body)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_GET  # noqa: N815

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.port = self.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.seen = []
        self.answers = {}

    def handle_error(self, request, client_address):
        """Ignores errors: in many tests the client disconnects early."""


@contextlib.contextmanager
def serving(server):
    threading.Thread(target=server.serve_forever, args=[0.005], daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def server(settings):
    settings.HTTP_STEP_ALLOWED_NETWORKS = [LOOPBACK]
    with serving(Server()) as running:
        yield running


@pytest.fixture
def raw_server(settings):
    """Starts a server that calls the given function with each connection; returns its port."""
    settings.HTTP_STEP_ALLOWED_NETWORKS = [LOOPBACK]
    with contextlib.ExitStack() as stack:

        def start(behave):
            class RawHandler(socketserver.BaseRequestHandler):
                def handle(self):
                    with contextlib.suppress(OSError):
                        behave(self.request)

            raw = socketserver.ThreadingTCPServer(("127.0.0.1", 0), RawHandler)
            raw.daemon_threads = True
            stack.enter_context(serving(raw))
            return raw.server_address[1]

        yield start


@pytest.fixture
def short_deadline(monkeypatch):
    monkeypatch.setattr(fenced_call, "DEADLINE_SECONDS", 0.15)


# Requests and answers


def test_call_returns_status_and_body(server):
    server.answers["/job"] = (201, {}, "started ✓".encode())
    answer = call(f"{server.url}/job")
    assert (answer.status, answer.body, answer.is_truncated) == (201, "started ✓", False)
    assert 0 <= answer.duration_ms < 5000


def test_method_path_query_headers_and_body_arrive(server):
    call(
        f"{server.url}/job/build?delay=0#part",
        method="POST",
        headers={"Authorization": " Bearer abc ", "X-Name": "Zoë", "user-agent": "mine"},
        body="größe",
    )
    [(method, path, headers, body)] = server.seen
    assert (method, path, body.decode()) == ("POST", "/job/build?delay=0", "größe")
    assert headers["Authorization"] == "Bearer abc"
    assert headers["X-Name"].encode("latin-1") == "Zoë".encode("latin-1")
    assert headers.get_all("User-Agent") == ["mine"]
    assert headers["Content-Length"] == str(len(body))


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
def test_every_method_is_sent(server, method):
    assert call(server.url, method=method).status == 200
    assert server.seen[0][0] == method


@pytest.mark.parametrize("method", ["CONNECT", "connect", "GET /", "", "GÉT", "GET\r\n"])
def test_invalid_method_is_refused(server, method):
    with pytest.raises(HttpStepError, match="The method must be"):
        call(server.url, method=method)
    assert server.seen == []


def test_call_always_requests_an_uncompressed_response(server):
    call(server.url, headers={"accept-encoding": "gzip"})
    assert server.seen[0][2].get_all("Accept-Encoding") == ["identity"]


@pytest.mark.parametrize("location", ["/elsewhere", "http://169.254.169.254/", "http://a:b:c/"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_returned_and_not_followed(server, status, location):
    server.answers["/"] = (status, {"Location": location}, b"over there")
    answer = call(f"{server.url}/")
    assert (answer.status, answer.body) == (status, "over there")
    assert [path for _, path, *_ in server.seen] == ["/"]


def test_cookie_is_not_kept_for_the_next_call(server):
    server.answers["/"] = (200, {"Set-Cookie": "session=1"}, b"")
    call(f"{server.url}/")
    call(f"{server.url}/")
    assert "Cookie" not in server.seen[1][2]


def test_proxies_and_netrc_of_the_environment_are_ignored(server, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert call(server.url).status == 200
    assert "Authorization" not in server.seen[0][2]


@pytest.mark.parametrize(
    ("sent", "kept", "is_truncated"),
    [
        (LIMIT - 1, LIMIT - 1, False),
        (LIMIT, LIMIT, False),
        (LIMIT + 1, LIMIT, True),
        (LIMIT * 40, LIMIT, True),
    ],
)
def test_answer_is_kept_up_to_64_kib(server, sent, kept, is_truncated):
    server.answers["/"] = (200, {}, b"x" * sent)
    answer = call(f"{server.url}/")
    assert (len(answer.body), answer.is_truncated) == (kept, is_truncated)


def test_rest_of_an_endless_answer_is_not_read(raw_server):
    sent = []

    def pour(connection):
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * LIMIT)
            sent.append(LIMIT)

    answer = call(f"http://127.0.0.1:{raw_server(pour)}/")
    assert (len(answer.body), answer.is_truncated) == (LIMIT, True)
    assert sum(sent) < 20 * 1024 * 1024


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (b"caf\xe9", "caf\ufffd"),
        (b"\xff\xfeok\x00", "\ufffd\ufffdok"),
        (b"a\x00b", "ab"),
        (b"", ""),
    ],
)
def test_answer_that_is_not_utf_8_stays_readable(server, sent, body):
    server.answers["/"] = (200, {"Content-Type": "text/plain; charset=idna"}, sent)
    assert call(f"{server.url}/").body == body


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "gzip"])
def test_answer_that_cannot_be_decompressed_is_not_kept(server, encoding):
    server.answers["/"] = (200, {"Content-Encoding": encoding}, b"\x1f\x8b\x08 not even gzip")
    answer = call(f"{server.url}/")
    assert (answer.status, answer.body, answer.size) == (200, "", 17)
    assert answer.why_not_kept.startswith("It came compressed")


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("X-Gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda content: zlib.compress(content)[2:-4]),
    ],
    ids=["gzip", "x-gzip", "zlib", "raw deflate"],
)
def test_compressed_answer_is_decompressed_within_the_limit(server, encoding, compress):
    server.answers["/"] = (200, {"Content-Encoding": encoding}, compress("started ✓".encode()))
    server.answers["/bomb"] = (200, {"Content-Encoding": encoding}, compress(b"x" * 50_000_000))
    assert call(f"{server.url}/").body == "started ✓"
    bomb = call(f"{server.url}/bomb")
    assert (len(bomb.body), bomb.is_truncated) == (LIMIT, True)


# Refused addresses

REFUSED = {
    "cloud metadata": [
        "169.254.169.254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "fd00:42::42",
        "fd00:c1::a9fe:a9fe",
        "fd00:a9fe:a9fe::1",
        "fd00:100::100:200",
        "::ffff:169.254.169.254",
        "::ffff:100.100.100.200",
        "64:ff9b::169.254.169.254",
        "2002:a9fe:a9fe::1",
        "2001:0:4136:e378:8000:63bf:5601:5601",  # Teredo to 169.254.169.254
        "2001:0:a9fe:a9fe:8000:63bf:3fff:fdd2",  # Teredo through 169.254.169.254
    ],
    "loopback": [
        "127.0.0.1",
        "127.255.255.254",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "2002:7f00:1::",
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
    ],
    "link-local": ["169.254.0.1", "169.254.170.2", "fe80::1", "fe80::1%eth0", "febf::1"],
    "unspecified": ["0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "reserved": [
        "192.0.0.8",
        "240.0.0.1",
        "255.255.255.255",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b:1::127.0.0.1",
        "100::1",
        "1fff::1",
        "4000::1",
        "bfff::1",
        "c000::1",
        "e000::1",
        "f000::1",
        "fbff::1",
        "fec0::1",
    ],
}
OPEN = [
    "10.0.0.5",
    "172.16.0.5",
    "192.168.1.5",
    "100.64.0.5",
    "8.8.8.8",
    "fc00::5",
    "fd12:3456::5",
    "2606:4700::1111",
    "3fff:ffff::1",
    "::ffff:10.0.0.5",
    "64:ff9b::10.0.0.5",
    "2002:a00:5::1",
    "2001:0:4136:e378:8000:63bf:f5ff:fffa",  # Teredo to 10.0.0.5
]


@pytest.mark.parametrize(("kind", "address"), [(kind, address) for kind in REFUSED for address in REFUSED[kind]])
def test_address_of_this_kind_is_refused(names, connections, settings, kind, address):
    settings.HTTP_STEP_ALLOWED_NETWORKS = []
    names.addresses["jenkins.example"] = [address]
    with pytest.raises(HttpStepError, match=rf"^jenkins\.example leads to .+, an? {kind} address"):
        call("http://jenkins.example/")
    assert connections == []


@pytest.mark.parametrize("address", OPEN)
def test_private_and_public_addresses_are_called(names, connections, settings, address):
    settings.HTTP_STEP_ALLOWED_NETWORKS = []
    names.addresses["jenkins.example"] = [address]
    with pytest.raises(HttpStepError, match="refused the connection"):
        call("http://jenkins.example:8080/")
    [(host, port)] = connections
    assert (ipaddress.ip_address(host), port) == (ipaddress.ip_address(address), 8080)


@pytest.mark.parametrize(
    ("address", "network", "is_allowed"),
    [
        ("127.0.0.1", "127.0.0.1/32", True),
        ("127.0.0.2", "127.0.0.1/32", False),
        ("169.254.169.254", "169.254.0.0/16", True),
        ("::1", "::1/128", True),
        ("::1", "127.0.0.0/8", False),
        ("::ffff:127.0.0.1", "127.0.0.0/8", True),
        ("::ffff:127.0.0.1", "::ffff:0:0/96", True),
        ("127.0.0.1", "::/0", False),
        # Both ends of a Teredo address count.
        ("2001:0:7f00:1:8000:63bf:5601:5601", "127.0.0.0/8", False),
    ],
)
def test_operator_can_allow_a_network(names, connections, settings, address, network, is_allowed):
    settings.HTTP_STEP_ALLOWED_NETWORKS = [ipaddress.ip_network(network)]
    names.addresses["jenkins.example"] = [address]
    message = "refused the connection" if is_allowed else "HTTP_STEP_ALLOWED_NETWORKS"
    with pytest.raises(HttpStepError, match=message):
        call("http://jenkins.example/")
    assert bool(connections) == is_allowed


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0x7f000001",
        "017700000001",
        "0177.0.0.1",
        "0",
        "127.0.0.1.",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:7f00:1]",
        "[::ffff:127.0.0.1]",
        "[fe80::1%25lo]",
        "[fe80::1%lo]",
        "127.0.0.1%00",
        "127%2e0.0.1",
        "①②⑦.0.0.1",
        "127。0。0。1",
        "example.com\\@127.0.0.1",
        "8.8.8.8@127.0.0.1",
        "127.0.0.1#@8.8.8.8",
    ],
)
def test_loopback_is_refused_in_every_spelling(names, connections, settings, host):
    settings.HTTP_STEP_ALLOWED_NETWORKS = []
    with pytest.raises(HttpStepError):
        call(f"http://{host}/")
    assert connections == []


@pytest.mark.parametrize(
    "addresses", [["10.0.0.5", "127.0.0.1"], ["127.0.0.1", "10.0.0.5"], [*(f"10.0.0.{n}" for n in range(9)), "::1"]]
)
def test_name_with_one_refused_address_is_refused(names, connections, settings, addresses):
    settings.HTTP_STEP_ALLOWED_NETWORKS = []
    names.addresses["jenkins.example"] = addresses
    with pytest.raises(HttpStepError, match="a loopback address"):
        call("http://jenkins.example/")
    assert connections == []


def test_name_is_resolved_once_and_the_checked_address_is_used(names, server):
    names.addresses["jenkins.example"] = ["127.0.0.1"]
    assert call(f"http://jenkins.example:{server.port}/").status == 200
    assert names.asked == ["jenkins.example"]


def test_next_address_is_tried_if_the_first_cannot_be_reached(names, server):
    names.addresses["jenkins.example"] = ["127.0.0.2", "127.0.0.1"]
    assert call(f"http://jenkins.example:{server.port}/", method="POST").status == 200
    assert len(server.seen) == 1


def test_call_is_not_repeated_at_the_next_address_once_connected(names, raw_server):
    calls = []

    def hang_up(connection):
        calls.append(connection.recv(4096))

    names.addresses["jenkins.example"] = ["127.0.0.1", "127.0.0.1", "127.0.0.2"]
    with pytest.raises(HttpStepError, match="gave no complete HTTP answer"):
        call(f"http://jenkins.example:{raw_server(hang_up)}/", method="POST")
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("url", "host", "connected_to"),
    [
        ("http://jenkins.example/", "jenkins.example", ("10.0.0.5", 80)),
        ("http://jenkins.example:80/", "jenkins.example", ("10.0.0.5", 80)),
        ("HTTP://JENKINS.example/", "jenkins.example", ("10.0.0.5", 80)),
        ("http://jenkins.example:443/", "jenkins.example:443", ("10.0.0.5", 443)),
        ("http://jenkins.example:8080/", "jenkins.example:8080", ("10.0.0.5", 8080)),
        ("http://[fd00::5]:8080/", "[fd00::5]:8080", ("fd00::5", 8080)),
        ("http://bücher.example/", "xn--bcher-kva.example", ("10.0.0.6", 80)),
    ],
)
def test_host_header_keeps_the_name(names, server, monkeypatch, url, host, connected_to):
    names.addresses |= {"jenkins.example": ["10.0.0.5"], "xn--bcher-kva.example": ["10.0.0.6"]}
    real = asyncio.BaseEventLoop.create_connection
    attempts = []

    async def to_server(loop, protocol, host=None, port=None, **options):
        attempts.append((host, port))
        return await real(loop, protocol, "127.0.0.1", server.port, **options)

    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", to_server)
    call(url)
    assert server.seen[0][2].get_all("Host") == [host]
    assert attempts == [connected_to]


# The deadline


def drip(head, drop):
    def behave(connection):
        connection.recv(4096)
        connection.sendall(head)
        while True:
            connection.sendall(drop)
            time.sleep(0.01)

    return behave


def flood_with_interim_answers(connection):
    connection.recv(4096)
    while True:
        connection.sendall(b"HTTP/1.1 102 Processing\r\n\r\n" * 500)


def never_answer(connection):
    connection.recv(4096)
    time.sleep(5)


def never_read(connection):
    time.sleep(5)


@pytest.mark.parametrize(
    ("scheme", "behave"),
    [
        ("http", never_answer),
        ("http", never_read),
        ("https", never_answer),
        ("http", drip(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x")),
        ("http", drip(b"HTTP/1.1 200 OK\r\n\r\n", b"x")),
        ("http", drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n")),
        ("http", flood_with_interim_answers),
    ],
    ids=["silence", "unread", "tls", "headers", "body", "chunks", "interim"],
)
def test_call_ends_at_the_deadline(raw_server, short_deadline, scheme, behave):
    port = raw_server(behave)
    started = time.monotonic()
    with pytest.raises(HttpStepError, match=r"no complete answer within 0\.15 seconds"):
        call(f"{scheme}://127.0.0.1:{port}/", method="POST", body="x" * 20_000_000)
    assert time.monotonic() - started < 3


def test_connection_is_closed_at_a_deadline_during_its_tls_handshake(raw_server, monkeypatch):
    closed = threading.Event()

    def wait_for_the_end(connection):
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(4096):
                pass
        closed.set()

    monkeypatch.setattr(fenced_call, "DEADLINE_SECONDS", 0.4)
    port = raw_server(wait_for_the_end)
    with pytest.raises(HttpStepError, match="no complete answer"):
        call(f"https://127.0.0.1:{port}/")
    assert closed.wait(3)


def test_call_ends_at_the_deadline_if_the_name_service_hangs(short_deadline, monkeypatch, caplog):
    answers = threading.Event()
    complaints = []

    def hang(*args, **kwargs):
        answers.wait(5)
        raise socket.gaierror

    monkeypatch.setattr(threading, "excepthook", complaints.append)
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    started = time.monotonic()
    with pytest.raises(HttpStepError, match=r"no complete answer within 0\.15 seconds"):
        call("http://jenkins.example/")
    assert time.monotonic() - started < 3

    # The late answer causes no error and no log line.
    [thread] = [thread for thread in threading.enumerate() if thread.name == "call-dns"]
    answers.set()
    thread.join(3)
    assert complaints == []
    assert caplog.records == []


def test_addresses_share_the_time_to_connect(names, monkeypatch):
    attempts = []

    async def hang_then_refuse(loop, protocol, host=None, port=None, **options):
        attempts.append(host)
        if len(attempts) == 1:
            await asyncio.sleep(5)
        raise ConnectionRefusedError

    monkeypatch.setattr(fenced_call, "DEADLINE_SECONDS", 0.6)
    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", hang_then_refuse)
    names.addresses["jenkins.example"] = ["fd00::5", "10.0.0.5"]
    with pytest.raises(HttpStepError, match="refused the connection"):
        call("http://jenkins.example/")
    assert attempts == ["fd00::5", "10.0.0.5"]


# TLS


def certificate(subject, *, issuer=None, names=()):
    """Creates a key and its certificate, signed by the issuer, or self-signed as an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    signing_key, issuer_name = (issuer[0], issuer[1].subject) if issuer else (key, name)
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return key, builder.sign(signing_key, hashes.SHA256())


def write_pem(path, key, cert):
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + cert.public_bytes(serialization.Encoding.PEM)
    )


@pytest.fixture(scope="module")
def pems(tmp_path_factory):
    """Creates an authority and its server certificate for jenkins.example and 127.0.0.1."""
    directory = tmp_path_factory.mktemp("tls")
    authority = certificate("Test authority")
    alternatives = [
        x509.DNSName("jenkins.example"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    (directory / "authority.pem").write_bytes(authority[1].public_bytes(serialization.Encoding.PEM))
    write_pem(
        directory / "server.pem",
        *certificate("jenkins.example", issuer=authority, names=alternatives),
    )
    return directory


@pytest.fixture
def tls_server(server, pems):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pems / "server.pem")
    context.sni_callback = lambda sock, name, context: server.server_names.append(name)
    server.server_names = []
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    return server


@pytest.mark.parametrize(
    ("host", "server_name"),
    [
        ("jenkins.example", "jenkins.example"),
        ("jenkins.example.", "jenkins.example"),
        ("127.0.0.1", None),
    ],
)
def test_certificate_for_the_name_in_the_url_is_accepted(names, tls_server, pems, monkeypatch, host, server_name):
    monkeypatch.setenv("SSL_CERT_FILE", str(pems / "authority.pem"))
    names.addresses |= {"jenkins.example": ["127.0.0.1"], "jenkins.example.": ["127.0.0.1"]}
    assert call(f"https://{host}:{tls_server.port}/").status == 200
    assert tls_server.server_names == [server_name]


def test_certificate_for_another_name_is_refused(names, tls_server, pems, monkeypatch):
    """It is refused even if it is valid for the address of the connection."""
    monkeypatch.setenv("SSL_CERT_FILE", str(pems / "authority.pem"))
    names.addresses["gitlab.example"] = ["127.0.0.1"]
    message = r"certificate of gitlab\.example:\d+ was not accepted \(Hostname mismatch"
    with pytest.raises(HttpStepError, match=message):
        call(f"https://gitlab.example:{tls_server.port}/")
    assert tls_server.seen == []


def test_certificate_of_an_unknown_authority_is_refused(names, tls_server):
    names.addresses["jenkins.example"] = ["127.0.0.1"]
    with pytest.raises(HttpStepError, match=r"was not accepted \(.*certificate"):
        call(f"https://jenkins.example:{tls_server.port}/")
    assert tls_server.seen == []


def test_https_call_to_an_http_port_is_explained(server):
    with pytest.raises(HttpStepError, match="did not accept a TLS connection"):
        call(f"https://127.0.0.1:{server.port}/")


# Error messages


def say(text):
    def behave(connection):
        connection.recv(4096)
        connection.sendall(text)

    return behave


@pytest.mark.parametrize(
    ("behave", "message"),
    [
        (say(b""), "gave no complete HTTP answer"),
        (say(b"SSH-2.0-OpenSSH_9.6\r\n"), "gave no complete HTTP answer"),
        (say(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), "gave no complete HTTP answer"),
        (say(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000), "gave no complete HTTP answer"),
    ],
    ids=["nothing", "ssh", "half", "huge header"],
)
def test_broken_answer_is_explained(raw_server, behave, message):
    port = raw_server(behave)
    with pytest.raises(HttpStepError, match=rf"^127\.0\.0\.1:{port} {message}"):
        call(f"http://127.0.0.1:{port}/")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_refused_connection_is_explained(settings):
    settings.HTTP_STEP_ALLOWED_NETWORKS = [LOOPBACK]
    port = free_port()
    with pytest.raises(HttpStepError, match=rf"^127\.0\.0\.1:{port} refused the connection\. Check"):
        call(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("host", ["nowhere.example", "a..b", ".", "x" * 64 + ".example"])
def test_name_without_address_is_explained(names, host):
    with pytest.raises(HttpStepError, match=r"has no address\. Check the host"):
        call(f"http://{host}/")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{closed}/?key=SECRET",
        "http://127.0.0.1:{silent}/?key=SECRET",
        "https://127.0.0.1:{open}/?key=SECRET",
        "http://nowhere.example/?key=SECRET",
        "http://[::1]/?key=SECRET",
        "http://user:SECRET@127.0.0.1/",
        "http://SECRET:x/",
        "http://127.0.0.1:0/?key=SECRET",
    ],
)
def test_message_contains_no_secret(names, server, raw_server, short_deadline, url):
    url = url.format(closed=free_port(), silent=raw_server(never_answer), open=server.port)
    with pytest.raises(HttpStepError) as caught:
        call(url, headers={"Authorization": "SECRET"}, body="SECRET")
    assert "SECRET" not in str(caught.value)
    # A logged traceback must not contain it either.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@pytest.mark.parametrize("headers", [{"X-Key": "SECRET\r\nX: y"}, {"X-Key": "SECRET✓"}, {"X-Key: SECRET": ""}])
def test_message_about_headers_contains_no_value(headers):
    with pytest.raises(HttpStepError) as caught:
        call("http://jenkins.example/", headers=headers)
    assert "SECRET" not in str(caught.value)


# Checks of URL and headers


@pytest.mark.parametrize(
    "url",
    [
        "http://jenkins.example",
        "https://jenkins.example:8443/job/a%20b/build?token=1&x=[y]#z",
        "http://jenkins_1:8080/",
        "http://10.0.0.5/",
        "http://[fd00::5]:8080/",
        "http://bücher.example/ä?ö",
        "http://jenkins.example/" + "x" * (2048 - 23),
    ],
)
def test_url_is_accepted(url):
    fenced_call.check_url(url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://jenkins.example/" + "x" * (2049 - 23), "at most 2048 characters"),
        ("http://jenkins.example/\nx", "control characters"),
        ("http://jenkins.example/\x00", "control characters"),
        ("http://jenkins.example/\x85", "control characters"),
        ("http://jenkins.example/\u2028", "control characters"),
        ("http://jenkins.example/\ud800", "control characters"),
        ("", "must start with http"),
        ("jenkins.example", "must start with http"),
        ("//jenkins.example/", "must start with http"),
        ("ftp://jenkins.example/", "must start with http"),
        ("file:///etc/passwd", "must start with http"),
        ("javascript:alert(1)", "must start with http"),
        ("http://user@jenkins.example/", "user name or password"),
        ("http://user:word@jenkins.example/", "user name or password"),
        ("http:///path", "must name a host"),
        ("http://:80/", "must name a host"),
        ("http:jenkins.example", "must name a host"),
        ("http://jenkins.example%00/", "must name a host"),
        ("http://jenkins example/", "must name a host"),
        ("http://jen\\kins/", "must name a host"),
        ("http://[fe80::1%25eth0]/", "must name a host"),
        ("http://jenkins.example:0/", "from 1 to 65535"),
        ("http://jenkins.example:65536/", "from 1 to 65535"),
        ("http://jenkins.example:-1/", "from 1 to 65535"),
        ("http://jenkins.example:http/", "malformed"),
        ("http://1.2.3.256/", "malformed"),
        ("http://[::g]/", "malformed"),
        ("http://bü..cher/", "malformed"),
    ],
)
def test_url_is_refused(url, message):
    with pytest.raises(ValueError, match=message):
        fenced_call.check_url(url)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer abc", "X-Empty": "", "x!#$%&'*+.^_`|~-1": "Zoë"},
        {f"X-{number}": "" for number in range(50)},
        {"X": "x" * (8 * 1024 - 1)},
    ],
)
def test_headers_are_accepted(headers):
    http_step.check_headers(headers)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"": "x"}, "name of header 1"),
        ({"X": "x", "X Y": "x"}, "name of header 2"),
        ({"X:": "x"}, "name of header 1"),
        ({"X\n": "x"}, "name of header 1"),
        ({"Größe": "x"}, "name of header 1"),
        ({"X": "a\r\nY: b"}, "X must not contain control"),
        ({"X": "a\n"}, "X must not contain control"),
        ({"X": "a\x00"}, "X must not contain control"),
        ({"X": "a\tb"}, "X must not contain control"),
        ({"X": "a\x7f"}, "X must not contain control"),
        ({"X": "a\x85"}, "X must not contain control"),
        ({"X": "✓"}, "X must consist of Latin-1"),
        ({"X": "\ud800"}, "X must consist of Latin-1"),
        ({"Host": "x"}, "Host is set by the portal"),
        ({"content-length": "1"}, "content-length is set by the portal"),
        ({"Transfer-Encoding": "chunked"}, "Transfer-Encoding is set by the portal"),
        ({"CONNECTION": "close"}, "CONNECTION is set by the portal"),
        ({f"X-{number}": "" for number in range(51)}, "at most 50 headers"),
        ({"X": "x" * 8 * 1024}, "Header 1 must have at most 8192 bytes"),
    ],
)
def test_headers_are_refused(headers, message):
    with pytest.raises(ValueError, match=message):
        http_step.check_headers(headers)


# The portal's own machine, closed networks, proxies


def own_addresses():
    """Addresses of this machine that are neither loopback nor link-local."""
    found = []
    for family, target in ((socket.AF_INET, "8.8.8.8"), (socket.AF_INET6, "2606:4700::1111")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
            probe.connect((target, 9))
            found.append(probe.getsockname()[0])
    return found


def test_own_address_of_the_machine_is_refused(names, connections, settings):
    settings.HTTP_STEP_ALLOWED_NETWORKS = []
    for address in own_addresses():
        names.addresses["jenkins.example"] = [address]
        with pytest.raises(HttpStepError, match="an address of the portal's own machine"):
            call("http://jenkins.example/")
        settings.HTTP_STEP_ALLOWED_NETWORKS = [ipaddress.ip_network(address)]
        with pytest.raises(HttpStepError, match="refused the connection"):
            call("http://jenkins.example/")
        settings.HTTP_STEP_ALLOWED_NETWORKS = []
    assert len(connections) == len(own_addresses())


def test_own_address_is_refused_in_an_allowed_network(names, connections, settings):
    for address in own_addresses():
        settings.HTTP_STEP_ALLOWED_NETWORKS = [ipaddress.ip_network(f"{address}/24", strict=False)]
        names.addresses["jenkins.example"] = [address]
        with pytest.raises(HttpStepError, match="an address of the portal's own machine"):
            call("http://jenkins.example/")
    assert not connections


def test_own_address_is_found_even_if_every_address_can_be_bound(monkeypatch):
    monkeypatch.setattr(call_addresses, "_can_bind", lambda family, address: True)

    assert not call_addresses.is_own(ipaddress.ip_address("8.8.8.8"))
    for address in own_addresses():
        assert call_addresses.is_own(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("address", "refused", "allowed", "is_refused"),
    [
        ("10.1.2.3", "10.0.0.0/8", "", True),
        ("::ffff:10.1.2.3", "10.0.0.0/8", "", True),
        ("64:ff9b::10.1.2.3", "10.0.0.0/8", "", True),
        ("2002:a01:203::1", "10.0.0.0/8", "", True),
        ("::ffff:10.1.2.3", "10.0.0.0/8", "::ffff:0:0/96", True),
        ("11.1.2.3", "10.0.0.0/8", "", False),
        ("fd12::5", "fc00::/7", "", True),
        ("10.1.2.3", "10.0.0.0/8", "10.1.2.3", False),
        ("10.1.2.4", "10.0.0.0/8", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", "10.1.2.3", True),
        ("8.8.8.8", "0.0.0.0/0", "", True),
    ],
)
def test_operator_can_close_networks(names, connections, settings, address, refused, allowed, is_refused):
    settings.HTTP_STEP_REFUSED_NETWORKS = [ipaddress.ip_network(refused)]
    settings.HTTP_STEP_ALLOWED_NETWORKS = [ipaddress.ip_network(allowed)] if allowed else []
    names.addresses["jenkins.example"] = [address]
    with pytest.raises(HttpStepError, match="that the operator has closed" if is_refused else "refused the connection"):
        call("http://jenkins.example/")
    assert bool(connections) != is_refused


class Proxy(http.server.BaseHTTPRequestHandler):
    def answer(self):
        self.server.asked.append((self.command, self.path, self.headers["Host"]))
        self.send_response(403 if self.command == "CONNECT" else 200)
        self.end_headers()
        if self.command != "CONNECT":
            self.wfile.write(b"from the proxy")

    do_GET = do_CONNECT = answer  # noqa: N815

    def log_message(self, *args):
        pass


@pytest.fixture
def proxy():
    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        server.asked = []
        server.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, args=[0.005], daemon=True).start()
        yield server
        server.shutdown()


def test_proxies_of_the_environment_are_not_used_by_default(monkeypatch, server, proxy):
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)

    assert call(f"{server.url}/").body == "done"
    assert proxy.asked == []


def test_proxy_gets_the_host_name_after_its_addresses_are_checked(names, settings, proxy):
    settings.HTTP_STEP_PROXIES = {"http": proxy.url, "https": proxy.url, "no": ""}
    settings.HTTP_STEP_ALLOWED_NETWORKS = []
    names.addresses |= {"jenkins.example": ["8.8.8.8"], "inside.example": ["8.8.8.8", "127.0.0.1"]}

    assert call("http://jenkins.example:8080/a").body == "from the proxy"
    with pytest.raises(HttpStepError, match="loopback address"):
        call("http://inside.example/")
    with pytest.raises(HttpStepError, match="the proxy refused"):
        call("https://jenkins.example/?key=SECRET")
    with pytest.raises(HttpStepError, match="has no address"):
        call("http://nowhere.example/")
    assert [asked[:2] for asked in proxy.asked] == [
        ("GET", "http://jenkins.example:8080/a"),
        ("CONNECT", "jenkins.example:443"),
    ]


def test_host_without_proxy_is_called_directly(settings, server, proxy):
    settings.HTTP_STEP_PROXIES = {"http": proxy.url, "no": "127.0.0.1"}

    assert call(f"{server.url}/").body == "done"
    assert proxy.asked == []
