"""A small service, and real proxies in front of it with the lines of the portal's pages."""

import base64
import getpass
import grp
import hashlib
import json
import os
import shutil
import socket
import subprocess
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import yaml

from opsera_portal.tests import portal as started
from opsera_portal.tests.test_site_of_nginx import write_certificate

OPENIDC = Path("/usr/lib/apache2/modules/mod_auth_openidc.so")
# Another address than that of the proxies.
CALLER = "127.0.0.9"
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


class Echo(BaseHTTPRequestHandler):
    """Answers with what reached the service, and speaks just enough WebSocket."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        if self.headers.get("Upgrade") == "websocket":
            self._upgrade()
            return
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        said = {"method": self.command, "path": self.path, "headers": self.headers.items()}
        text = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else text)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = answer  # noqa: N815

    def _upgrade(self):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode(), usedforsecurity=False).digest()).decode()
        head = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        self.wfile.write("\r\n".join([*head, f"Sec-WebSocket-Accept: {accept}", "", "hello"]).encode())
        self.close_connection = True

    def log_message(self, *args):
        pass


class SmallService:
    def __init__(self):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
        self.port = self._server.server_port
        Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


class Proxy:
    """A proxy that runs. ``say`` sends what no library would send."""

    def __init__(self, name, port, process, log):
        self.name, self.port, self.process, self.log = name, port, process, log

    def say(self, text):
        address = ("127.0.0.1", self.port)
        with closing(socket.create_connection(address, timeout=15, source_address=(CALLER, 0))) as connection:
            connection.sendall(text if isinstance(text, bytes) else text.encode())
            answer = b""
            while part := self._part(connection):
                answer += part
                if _is_whole(answer):
                    break
        return Answer(answer)

    def _part(self, connection):
        try:
            return connection.recv(65536)
        except (TimeoutError, ConnectionResetError):
            return b""

    def ask(self, method, target, token="", *lines, body=b"", version="1.1", host=""):
        """Sends one request. ``target`` and ``lines`` are sent as they are."""
        head = [f"{method} {target} HTTP/{version}", f"Host: {host or f'127.0.0.1:{self.port}'}", "Connection: close"]
        head += [f"Authorization: Bearer {token}"] if token else []
        head += [f"Content-Length: {len(body)}"] if body else []
        return self.say("\r\n".join([*head, *lines, "", ""]).encode() + body)

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=15)


def _is_whole(answer):
    """Whether the announced body has arrived. Without this, a test waits until the server closes the connection."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    if head.startswith(b"HTTP/1.1 101"):
        return body == b"hello"
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    return bool(lengths) and len(body) >= int(lengths[0])


class Answer:
    def __init__(self, raw):
        head, _, self.body = raw.partition(b"\r\n\r\n")
        self.head = head.decode("latin-1")
        self.status = int(self.head.split(" ")[1]) if self.head else 0

    @property
    def reached(self):
        """What the service got; ``None`` if the request didn't reach it."""
        start = self.body.find(b"{")
        if self.status != 200 or start < 0:
            return None
        return json.loads(self.body[start : self.body.rfind(b"}") + 1])

    @property
    def headers(self):
        """Those that the service got, by lower-case name, with the underscore read as a hyphen as many servers do."""
        found = {}
        for name, value in self.reached["headers"]:
            found.setdefault(name.lower().replace("_", "-"), []).append(value)
        return found


def wait_for(process, port, log):
    deadline = time.monotonic() + 15
    while not started.answers(port):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


def program(name):
    return shutil.which(name, path=PATH)


def start_nginx(root, recipe, service_port, portal_port):
    port, log = started.free_port(), root / "nginx.log"
    server, _, around = recipe.partition("# Outside of the server block, once.")
    (root / "nginx.conf").write_text(
        f"worker_processes 1; pid {root}/nginx.pid; error_log {log}; daemon off;\n"
        f"user {getpass.getuser()} {grp.getgrgid(os.getgid()).gr_name};\n"
        "events { worker_connections 64; }\n"
        f"http {{ access_log off; client_body_temp_path {root}/b; proxy_temp_path {root}/p;\n"
        f"fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;\n"
        f"{around}\nserver {{ listen 127.0.0.1:{port};\n{server}\n}}\n}}\n".replace(
            "127.0.0.1:3000", f"127.0.0.1:{service_port}"
        )
    )
    command = [program("nginx"), "-p", f"{root}/", "-c", "nginx.conf", "-e", str(log)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_for(process, port, log)
    return Proxy("nginx", port, process, log)


def start_caddy(root, recipe, service_port, portal_port):
    port, log = started.free_port(), root / "caddy.log"
    first, _, rest = recipe.partition("\n")
    site = first.removesuffix(" {")
    text = f"{{\nadmin off\nauto_https off\n}}\nhttp://:{port} {{\nbind 127.0.0.1\n{rest}"
    assert site.startswith("http")
    (root / "Caddyfile").write_text(text.replace("127.0.0.1:3000", f"127.0.0.1:{service_port}"))
    command = [program("caddy"), "run", "--config", str(root / "Caddyfile"), "--adapter", "caddyfile"]
    environment = {"PATH": PATH, "HOME": str(root), "XDG_DATA_HOME": str(root), "XDG_CONFIG_HOME": str(root)}
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    wait_for(process, port, log)
    return Proxy("Caddy", port, process, log)


EXTENSIONS = "type.googleapis.com/envoy.extensions.filters"


def start_envoy(root, recipe, service_port, portal_port):
    """The lines are a part of its connection manager. Without certificates, it speaks HTTP with the portal."""
    port, log = started.free_port(), root / "envoy.log"
    manager = {
        "@type": f"{EXTENSIONS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "services",
        "http_protocol_options": {"accept_http_10": True},
        **yaml.safe_load(recipe),
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "service"}}],
                }
            ]
        },
    }
    manager["http_filters"].append(
        {
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": f"{EXTENSIONS}.http.router.v3.Router"},
        }
    )
    listener = {
        "name": "services",
        "address": _address(port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    clusters = [_cluster("service", service_port), _cluster("opsera_portal", portal_port)]
    configuration = {"static_resources": {"listeners": [listener], "clusters": clusters}}
    (root / "envoy.yaml").write_text(yaml.safe_dump(configuration))
    command = [program("envoy"), "-c", root / "envoy.yaml", "--concurrency", "1", "--disable-hot-restart", "-l", "warn"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    wait_for(process, port, log)
    return Proxy("Envoy", port, process, log)


def _cluster(name, port):
    endpoint = {"endpoint": {"address": _address(port)}}
    return {"name": name, "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}}


def _address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


MODULES = "mpm_event authn_core authz_core authz_user headers proxy proxy_http auth_openidc"


def start_apache(root, recipe, service_port):
    """Its module asks only over https, so nginx speaks TLS in front of the portal."""
    port, log = started.free_port(), root / "apache.log"
    modules = "\n".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in MODULES.split())
    # Apache refuses to serve as root.
    own = "User nobody\nGroup nogroup" if os.getuid() == 0 else ""
    (root / "apache.conf").write_text(
        f"ServerRoot {root}\nServerName localhost\nPidFile {root}/apache.pid\nErrorLog {log}\n"
        f"Listen 127.0.0.1:{port}\n{own}\n"
        f"{modules}\nDefaultRuntimeDir {root}\nOIDCOAuthSSLValidateServer Off\n"
        + recipe.replace("127.0.0.1:3000", f"127.0.0.1:{service_port}")
    )
    command = [program("apache2"), "-DFOREGROUND", "-f", str(root / "apache.conf")]
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    wait_for(process, port, log)
    return Proxy("Apache", port, process, log)


def start_tls(root, portal_port):
    """nginx with a certificate, in front of the portal. Returns the process and its port."""
    port, log = started.free_port(), root / "tls.log"
    write_certificate(root)
    (root / "tls.conf").write_text(
        f"worker_processes 1; pid {root}/tls.pid; error_log {log}; daemon off;\n"
        f"user {getpass.getuser()} {grp.getgrgid(os.getgid()).gr_name};\nevents {{ worker_connections 64; }}\n"
        f"http {{ access_log off; client_body_temp_path {root}/tb; proxy_temp_path {root}/tp;\n"
        f"fastcgi_temp_path {root}/tf; uwsgi_temp_path {root}/tu; scgi_temp_path {root}/ts;\n"
        f"server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {root}/certificate.pem;\n"
        f"ssl_certificate_key {root}/key.pem; location / {{ proxy_pass http://127.0.0.1:{portal_port}; }} }} }}\n"
    )
    process = subprocess.Popen(
        [program("nginx"), "-p", f"{root}/", "-c", "tls.conf", "-e", str(log)], stderr=subprocess.DEVNULL
    )
    wait_for(process, port, log)
    return process, port
