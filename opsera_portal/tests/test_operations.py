"""Runs the blocks of docs/operations.md as a rehearsal, behind Debian's nginx with TLS.

Runs once for all databases of the suite. The installation uses its own PostgreSQL database and
Redis if they answer on their default ports, and SQLite otherwise. test_backups.py tests the
differences on SQLite.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tarfile
import time
from http.cookiejar import Cookie
from pathlib import Path

import httpx
import pytest
from django.conf import settings
from django.core.management import get_commands

from opsera_portal.tests import observatory
from opsera_portal.tests import portal as started

pytestmark = [pytest.mark.once, pytest.mark.integration]

DOCUMENT = settings.BASE_DIR / "docs" / "operations.md"
STOP = 16
# Not copied: files that the guide creates, and files that no installation needs.
LEFT_OUT = shutil.ignore_patterns(".*", "var", "site", "staticfiles", "node_modules", "benchmarks")
PATH = f"{os.environ['PATH']}:/usr/sbin"


# The document


def blocks():
    """Yields (chapter, kind, text) of each shell block; kind is "machine", "rehearsal" or "both"."""
    chapter = 0
    for match in re.finditer(r"^## (\d+)|^```sh\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL):
        number, text = match.groups()
        if number:
            chapter = int(number)
            continue
        first = text.partition("\n")[0].removeprefix("# ").lower()
        yield chapter, first if first in {"machine", "rehearsal"} else "both", text


class Shell:
    """One bash process for all blocks, which keeps variables. A failed command ends it."""

    END = "--- that was the block ---"

    def __init__(self, directory, environment):
        self.typed = directory / "typed.sh"
        self.process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=directory,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self("set -eu -o pipefail")

    def __call__(self, block):
        self.typed.write_text(block)
        self.process.stdin.write(f". '{self.typed}' < /dev/null\nprintf '\\n%s\\n' '{self.END}'\n")
        self.process.stdin.flush()
        said = []
        for line in self.process.stdout:
            if line.rstrip("\n") == self.END:
                return "".join(said).strip()
            said.append(line)
        raise AssertionError(f"This block failed:\n{block}\nOutput:\n{''.join(said)}")

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=20)


class Installation:
    def __init__(self, root, environment):
        self.root = root
        self.is_sqlite = "DATABASE_URL" not in environment
        self.shell = Shell(root, environment)
        self.done = 0
        self.said = {}

    def follow(self, chapter):
        """Runs all blocks up to the end of ``chapter`` that have not run yet. Returns the output of the last one."""
        for number, kind, text in blocks():
            if self.done < number <= chapter and kind != "machine":
                self.said.setdefault(number, []).append(self.shell(text))
        self.done = max(self.done, chapter)
        return self.said[chapter][-1]

    def __getitem__(self, variable):
        return self.shell(f'echo "${variable}"')

    @property
    def data(self):
        return self.root / "var/lib/opsera-portal"

    def browser(self):
        return httpx.Client(
            base_url=self["PORTAL_URL"], verify=ssl.create_default_context(cafile=self["CERTIFICATE"]), timeout=20
        )

    def call(self, options, *, token=False):
        """Calls curl with `options`, as on a command line, and returns the status."""
        command = "with_token" if token else "call"
        return self.shell(f"{command} --output /dev/null --write-out '\\n%{{http_code}}' {options} || true").split()[-1]

    def end(self):
        """Stops the processes that were started here, even after an error."""
        for name in ("web.pid", "worker.pid", "etc/nginx/nginx.pid"):
            with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
                os.kill(int((self.root / name).read_text()), signal.SIGTERM)
        self.shell.close()


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    for program in ("nginx", "openssl", "curl"):
        if shutil.which(program, path=PATH) is None:
            pytest.skip(f"{program} is not installed: apt-get install {program}")
    root = tmp_path_factory.mktemp("operations")
    code = root / "opt/opsera-portal"
    shutil.copytree(settings.BASE_DIR, code, ignore=LEFT_OUT)
    (code / ".venv").symlink_to(sys.prefix)
    server = started.postgresql_of_this_machine()
    database_url = started.make_database(root.name, server=server)
    made = Installation(root, environment_of_a_person(root, database_url))
    try:
        made.follow(7)
        yield made
    finally:
        made.end()
        started.drop_database(database_url)


def environment_of_a_person(root, database_url):
    environment = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    environment |= {"PATH": PATH, "ROOT": str(root), "SOURCE": str(settings.BASE_DIR)}
    for variable in ("HTTP_PORT", "HTTPS_PORT", "PORTAL_PORT"):
        environment[variable] = str(started.free_port())
    if database_url:
        environment["DATABASE_URL"] = database_url
        if started.answers(6379):
            environment["REDIS_URL"] = "redis://127.0.0.1:6379/10"
    return environment


# The guide works


@pytest.mark.parametrize("block", [pytest.param(text, id=f"{n}") for n, kind, text in blocks() if kind == "machine"])
def test_machine_only_block_is_valid_bash(block):
    assert subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True).stderr == ""


@pytest.mark.parametrize("unit", ["web", "worker"])
def test_systemd_unit_starts_an_existing_command(unit):
    text = (settings.BASE_DIR / f"deploy/systemd/opsera-portal-{unit}.service").read_text()

    assert f"ExecStart=/opt/opsera-portal/.venv/bin/python manage.py {unit}\n" in text
    assert unit in get_commands()


def test_site_has_no_placeholders_left(installation):
    site = (installation.root / "etc/nginx/sites-available/opsera-portal").read_text()

    assert "@opsera_portal_line" in site
    assert re.findall(r"@[A-Z_]+@", site) == []


def test_http_redirects_to_https(installation):
    health, sent, strict = installation.said[7][1].splitlines()

    assert health == "ok"
    assert sent == f"301 {installation['PORTAL_URL']}/login/"
    assert strict.lower() == "strict-transport-security: max-age=31536000; includesubdomains; preload"


def test_request_through_nginx_is_logged_with_the_real_address_of_the_caller(installation):
    uses = json.loads(installation.said[7][-1])["data"]

    assert [(use["target"], use["ip"]) for use in uses] == [
        ("/api/v1/pipelines", "127.0.0.9"),
        ("/api/v1/me", "127.0.0.9"),
    ]


def test_token_sent_without_tls_is_refused_and_logged(installation):
    plain = f"http://localhost:{installation['HTTP_PORT']}/api/v1/me"

    assert installation.call(plain, token=True) == "403"
    uses = installation.shell('with_token "$PORTAL_URL/api/v1/logs/user/tokens?count=1"')
    assert json.loads(uses)["data"][0]["outcome"] == "refused"


def test_only_the_installation_can_read_its_data_and_settings(installation):
    private = [installation.data, installation.root / "etc/opsera-portal", *installation.data.rglob("*")]
    private.append(installation.root / "etc/opsera-portal/portal.env")

    assert {path.name: oct(path.stat().st_mode & 0o077) for path in private if path.stat().st_mode & 0o077} == {}


# The Observatory's rules


@pytest.fixture(scope="module")
def browser(installation):
    """Signed in as the Administrator."""
    with installation.browser() as client:
        client.get("/login/")
        answer = client.post(
            "/login/",
            data={
                "csrfmiddlewaretoken": cookie_of(client, "csrftoken").value,
                "login": installation["ADMINISTRATOR"],
                "password": installation["ADMINISTRATOR_PASSWORD"],
            },
            headers={"Referer": f"{client.base_url}/login/"},
        )
        assert answer.status_code == 302
        yield client


def cookie_of(client, name) -> Cookie:
    return next(cookie for cookie in client.cookies.jar if name in cookie.name)


@pytest.mark.parametrize("path", ["/login/", "/", "/profile/tokens/", "/admin/", "/api/docs/", "/api/v1/me"])
def test_observatory_grade_is_a_plus(installation, browser, path):
    answer = ask(installation, browser, path)

    found = observatory.findings(answer)

    points = observatory.score(found)
    report = "\n".join(f"{value:+4d} {name}" for name, value in found.items())
    assert observatory.grade(points) == "A+", f"{points} points:\n{report}"
    assert not [name for name, value in found.items() if value < 0], report


def ask(installation, browser, path):
    if path == "/login/":
        with installation.browser() as stranger:
            return answer_of(installation, stranger, path)
    if path.startswith("/api/v1/"):
        with installation.browser() as script:
            script.headers["Authorization"] = f"Bearer {installation['TOKEN']}"
            return answer_of(installation, script, path)
    return answer_of(installation, browser, path)


def answer_of(installation, client, path):
    answer = client.get(path, headers={"Origin": "https://elsewhere.example"})
    assert answer.status_code == 200
    # The Observatory requests the home page without TLS first.
    plain = httpx.get(f"http://localhost:{installation['HTTP_PORT']}/")
    return observatory.Answer(
        url=str(answer.url),
        headers=dict(answer.headers),
        body=answer.text,
        cookies=list(client.cookies.jar),
        redirected_to=plain.headers.get("Location"),
    )


GOOD = {
    "content-security-policy": "default-src 'none'; script-src 'self'; frame-ancestors 'none'",
    "content-type": "text/html",
    "strict-transport-security": "max-age=31536000",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@pytest.mark.parametrize(
    ("worse", "points"),
    [
        ({}, 130),
        ({"content-security-policy": "default-src 'self'; frame-ancestors 'none'"}, 125),
        ({"content-security-policy": "script-src 'self' 'unsafe-inline'"}, 60),
        ({"content-security-policy": ""}, 55),
        ({"strict-transport-security": ""}, 80),
        ({"strict-transport-security": "max-age=60"}, 120),
        ({"referrer-policy": "unsafe-url"}, 120),
        ({"x-content-type-options": "x"}, 125),
        ({"access-control-allow-origin": "https://e", "access-control-allow-credentials": "true"}, 50),
    ],
)
def test_observatory_score_drops_for_missing_headers(worse, points):
    answer = observatory.Answer("https://a.example/", GOOD | worse, redirected_to="https://a.example/")

    assert observatory.score(observatory.findings(answer)) == points


# Cookies and nginx


def test_every_cookie_is_bound_to_the_host(browser):
    cookies = list(browser.cookies.jar)

    assert {"__Host-sessionid", "__Host-csrftoken"} <= {cookie.name for cookie in cookies}
    for cookie in cookies:
        assert cookie.name.startswith("__Host-")
        assert (cookie.secure, cookie.path, cookie.domain_specified) == (True, "/", False)
        assert cookie.has_nonstandard_attr("HttpOnly")
        assert cookie.get_nonstandard_attr("SameSite") == "Lax"


def test_no_answer_reveals_a_version(installation, browser):
    for answer in (
        browser.get("/"),
        browser.get(sheet_of(browser.get("/"))),
        httpx.get(f"http://localhost:{installation['HTTP_PORT']}/"),
    ):
        assert answer.status_code in {200, 301}
        assert answer.headers["Server"] == "nginx"
        assert "X-Powered-By" not in answer.headers
        assert "Via" not in answer.headers


def sheet_of(page):
    """The address of the style sheet, with the digest of its content."""
    return re.search(r'href="(/static/css/portal\.[^"]+)"', page.text)[1]


def test_pages_are_compressed_and_static_files_are_cached_forever(browser):
    page = browser.get("/profile/tokens/", headers={"Accept-Encoding": "gzip, br"})
    sheet = sheet_of(page)

    assert page.headers["Content-Encoding"] == "gzip"
    assert page.headers["Cache-Control"] == "no-store"
    for accepted, encoding in (("gzip", "gzip"), ("gzip, deflate, br", "br")):
        headers = browser.get(sheet, headers={"Accept-Encoding": accepted}).headers
        assert headers["Content-Encoding"] == encoding
        assert headers["Cache-Control"] == "max-age=315360000, public, immutable"


def test_nginx_log_contains_no_query_header_token_or_sign_in_link(installation):
    for path in (
        "/login/?next=/secret-in-the-query/",
        "/invitation/MQ/secret-of-an-invitation/",
        "/password/reset/1-secret-of-a-reset/",
        "/eyJhbGciOiJFUzI1NiJ9.secret-token",
    ):
        installation.call(
            f"--referer https://e/secret-referer --user-agent secret-agent '{installation['PORTAL_URL']}{path}'"
        )

    log = installation_log_has(installation, "/password/reset/...")
    assert '"GET /login/" 200' in log
    assert '"GET /invitation/..." ' in log
    assert '"GET [token]" 404' in log
    assert "secret" not in log
    assert installation["TOKEN"].split(".")[2] not in log


def installation_log_has(installation, text):
    """Waits for the text, because nginx writes its line after it has answered."""
    log = installation.root / "var/log/nginx/opsera-portal.access.log"
    deadline = time.monotonic() + 2
    while text not in (content := log.read_text()):
        assert time.monotonic() < deadline, content
        time.sleep(0.02)
    return content


def test_other_host_name_gets_no_certificate(installation):
    context = ssl.create_default_context(cafile=installation["CERTIFICATE"])
    with (
        socket.create_connection(("127.0.0.1", int(installation["HTTPS_PORT"]))) as connection,
        pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"),
    ):
        context.wrap_socket(connection, server_hostname="evil.example")


def test_slow_bodies_block_no_thread(installation, browser):
    """Sends headers and one byte of the body in more requests than the web server has threads."""
    context = ssl.create_default_context(cafile=installation["CERTIFICATE"])
    head = b"POST /login/ HTTP/1.1\r\nHost: localhost:%s\r\nContent-Length: 1000\r\n\r\nx"
    with contextlib.ExitStack() as slow:
        for _ in range(40):
            plain = socket.create_connection(("127.0.0.1", int(installation["HTTPS_PORT"])))
            connection = slow.enter_context(context.wrap_socket(plain, server_hostname="localhost"))
            connection.sendall(head % installation["HTTPS_PORT"].encode())

        assert browser.get("/profile/", timeout=5).status_code == 200


def test_large_body_is_refused_by_the_portal_and_a_huge_one_by_nginx(installation, browser):
    too_much = browser.post("/api/v1/tokens/report", content=b"x" * (300 * 1024))
    far_too_much = browser.post("/api/v1/tokens/report", content=b"x" * (600 * 1024))

    for answer in (too_much, far_too_much):
        assert (answer.status_code, answer.headers["Content-Type"]) == (413, "application/problem+json")
        assert answer.json()["detail"] == "The body is larger than 256 KiB."
    # Only an answer of the portal itself has the headers of its middleware.
    assert ["Permissions-Policy" in answer.headers for answer in (too_much, far_too_much)] == [True, False]


# Backup, restore, secrets, stop


@pytest.fixture(scope="module")
def backup(installation):
    installation.follow(8)
    return installation.root / "var/backups"


def test_database_backup_contains_no_keys(installation, backup):
    (copy,) = (backup / "opsera-portal").glob("*.database")
    content = copy.read_bytes() if installation.is_sqlite else dump_of(copy)
    keys = {path.name: path.read_text() for path in installation.data.rglob("*") if path.is_file() and is_key(path)}
    assert "secret-key" in keys
    assert [name for name in keys if name.endswith(".pem")]

    assert b"ada@example.com" in content
    for name, key in keys.items():
        secret = next(line for line in key.splitlines() if not line.startswith("-----"))
        assert secret.encode() not in content, name
    assert oct(copy.stat().st_mode & 0o777) == "0o600"


def is_key(path):
    return not path.name.startswith(("portal.sqlite3", "worker.lock", "log-seal-head"))


def dump_of(copy):
    return subprocess.run(["pg_restore", "--file=-", str(copy)], capture_output=True, check=True).stdout


def test_keys_and_settings_have_a_separate_backup(backup):
    (copy,) = (backup / "opsera-portal-keys").glob("*.tar.gz")
    with tarfile.open(copy) as archive:
        names = {Path(member.name).name for member in archive if member.isfile()}

    assert {"secret-key", "portal.env"} <= names
    assert [name for name in names if name.endswith(".pem")]
    assert not [name for name in names if "sqlite" in name]
    assert oct(copy.stat().st_mode & 0o777) == "0o600"


def test_restore_brings_back_the_data(installation, backup):
    assert installation.call('--request POST "$PORTAL_URL/api/v1/tokens/current/expire"', token=True) == "200"
    assert installation.call('"$PORTAL_URL/api/v1/me"', token=True) == "401"

    installation.follow(9)

    assert installation.call('"$PORTAL_URL/api/v1/me"', token=True) == "200"


def test_tokens_stay_valid_after_secrets_are_changed(installation):
    before = (installation.data / "secret-key").read_text()

    said = installation.follow(11)

    assert said.count('"ada@example.com"') == 2
    assert " signs " in said
    assert " verifies " in said
    assert (installation.data / "secret-key").read_text() != before


def test_keys_moved_to_variables_stay_the_same_and_logs_verify(installation):
    """Verifies the logs only here, after the restore and all changes of keys."""
    said = installation.follow(14)

    assert said.startswith("The keys come from TOKEN_SIGNING_KEYS, in this order:\n")
    assert keys_in(said) == keys_in(installation.said[11][-1])
    assert len(keys_in(said)) == 2
    assert installation.shell("opsera-portal verify_logs --quiet") == ""


def keys_in(listing):
    return re.findall(r"^  (\S+)  ES256  (signs|verifies) ", listing, re.MULTILINE)


def test_stopped_portal_leaves_no_process(installation):
    pids = [int((installation.root / name).read_text()) for name in ("web.pid", "worker.pid")]

    installation.follow(STOP)

    assert not started.answers(int(installation["PORTAL_PORT"]))
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
