"""`PORTAL_URL` defines the portal's address, whatever headers a proxy sends."""

import ast
import ipaddress
import re

import pytest
from django.conf import settings as portal_settings
from django.test import Client, RequestFactory

from accounts.tests.factories import PASSWORD
from auditlog.models import TokenUse
from core import server_log, setting_readers
from core.http import public_address
from core.tests.test_setting_readers import settings_with
from opsera_portal.tests.files import python_files_below
from pipelines.tests.factories import PipelineFactory
from tokens.tests.factories import TokenFactory, bearer

URL = "https://portal.example.com:8443"
STRIPPED = "portal.example.com"
THROUGH_PROXY = {"Host": STRIPPED, "X-Forwarded-Proto": "https"}


@pytest.fixture(autouse=True)
def nothing_told_yet(monkeypatch):
    monkeypatch.setattr(server_log, "_told", {})


@pytest.fixture
def behind_proxy(settings):
    """A portal on a non-default port, behind a proxy that strips the port from `Host`."""
    settings.PORTAL_URL = URL
    settings.ALLOWED_HOSTS = [STRIPPED]
    settings.CSRF_TRUSTED_ORIGINS = [URL]
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_SSL_HOST = "portal.example.com:8443"
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.TRUSTED_PROXIES = [ipaddress.ip_network("127.0.0.1")]


@pytest.fixture
def headers(owner):
    return bearer(TokenFactory(owner=owner))


# The port


@pytest.mark.django_db
def test_form_works_behind_proxy_that_strips_the_port(behind_proxy, owner):
    browser = Client(enforce_csrf_checks=True, headers=THROUGH_PROXY)
    page = browser.get("/login/")
    csrf = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.content.decode())[1]
    form = {"login": owner.email, "password": PASSWORD, "csrfmiddlewaretoken": csrf}

    for name, value, expected in (
        ("Origin", "https://portal.example.com:9", 403),
        ("Origin", "https://evil.example", 403),
        ("Referer", "https://evil.example/login/", 403),
        ("Origin", URL, 302),
    ):
        answer = browser.post("/login/", form, headers={**THROUGH_PROXY, name: value})
        assert answer.status_code == expected, (name, value)


@pytest.mark.django_db
def test_api_in_browser_session_works_behind_proxy_that_strips_the_port(behind_proxy, owner):
    browser = Client(enforce_csrf_checks=True, headers=THROUGH_PROXY)
    browser.force_login(owner)
    page = browser.get("/profile/tokens/create/")
    csrf = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.content.decode())[1]

    answers = [
        browser.post(
            "/api/v1/pipeline/run",
            {},
            content_type="application/json",
            headers={**THROUGH_PROXY, "X-CSRFToken": csrf, "Origin": origin},
        )
        for origin in (URL, "https://portal.example.com")
    ]

    assert [answer.json()["code"] for answer in answers] == ["invalid_request", "forbidden"]


@pytest.mark.parametrize("host", [STRIPPED, f"{STRIPPED}:8443", f"{STRIPPED}:9999", STRIPPED.upper(), f"{STRIPPED}."])
@pytest.mark.parametrize("path", ["/api/v1/pipelines?page_size=1", "/api/v1/tokens?page_size=1"])
def test_next_link_comes_from_portal_url_and_not_from_host(behind_proxy, api, owner, headers, host, path):
    PipelineFactory.create_batch(2, owner=owner)
    TokenFactory(owner=owner)
    sent = {**headers, **THROUGH_PROXY, "Host": host}

    following = api.get(path, headers=sent).json()["next"]

    assert following.startswith(f"{URL}/api/v1/")


@pytest.mark.django_db
def test_next_after_sign_in_can_only_lead_to_portal_url(behind_proxy, owner):
    def leads_to(address):
        form = {"login": owner.email, "password": PASSWORD, "next": address}
        return Client(headers=THROUGH_PROXY).post("/login/", form).url

    assert leads_to(f"{URL}/pipelines/") == f"{URL}/pipelines/"
    assert leads_to("/pipelines/") == "/pipelines/"
    assert leads_to(f"https://{STRIPPED}/pipelines/") == "/"
    assert leads_to("http://portal.example.com:8443/pipelines/") == "/"


@pytest.mark.parametrize(
    ("portal_url", "sent", "seen"),
    [
        (URL, STRIPPED, "portal.example.com:8443"),
        ("https://portal.example.com:443", "portal.example.com:443", "portal.example.com"),
        ("https://PORTAL.example.com", "portal.example.com", "portal.example.com"),
        # On loopback both names are used, and passkeys belong to "localhost".
        ("http://127.0.0.1:8000", "localhost:8000", "localhost:8000"),
        ("http://localhost:8000", "127.0.0.1:8000", "127.0.0.1:8000"),
        # Refused when the code reads the host.
        (URL, "evil.example", "evil.example"),
    ],
)
def test_host_of_a_request_is_that_of_portal_url(settings, portal_url, sent, seen):
    settings.PORTAL_URL = portal_url
    settings.ALLOWED_HOSTS = ["portal.example.com", "localhost", "127.0.0.1"]
    request = RequestFactory().get("/", headers={"Host": sent})

    public_address.take_host_from_portal_url(request)

    assert request.META["HTTP_HOST"] == seen


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://portal.example.com", "https://portal.example.com"),
        ("https://Portal.Example.com:443", "https://portal.example.com"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://portal.example.com:443", "http://portal.example.com:443"),
        ("https://[2001:DB8::1]:8443", "https://[2001:db8::1]:8443"),
    ],
)
def test_origin_is_written_as_browsers_write_it(url, origin):
    assert setting_readers.origin(url) == origin


@pytest.mark.parametrize(
    ("url", "hosts", "origins"),
    [
        ("https://Portal.example.com:8443", ["portal.example.com"], ["https://portal.example.com:8443"]),
        ("https://[2001:db8::1]", ["[2001:db8::1]"], ["https://[2001:db8::1]"]),
        (
            "http://localhost:8000",
            ["127.0.0.1", "localhost", "[::1]"],
            ["http://127.0.0.1:8000", "http://localhost:8000", "http://[::1]:8000"],
        ),
    ],
)
def test_hosts_and_origins_follow_from_portal_url(tmp_path, url, hosts, origins):
    read = settings_with(tmp_path, PORTAL_URL=url, TRUSTED_PROXIES="127.0.0.1")

    assert (read["ALLOWED_HOSTS"], read["CSRF_TRUSTED_ORIGINS"]) == (hosts, origins)


@pytest.mark.slow
def test_no_code_builds_an_address_from_the_request():
    """`request.get_host()` is safe behind the middleware; add new uses to this list after a review."""
    allowed = {
        ("accounts/signin/adapter.py", "get_host"),
        ("accounts/security/passkeys.py", "get_host"),
        ("core/api/fast_path.py", "get_host"),
        ("core/pages/addresses.py", "get_host"),
        ("core/http/public_address.py", "get_host"),
    }
    found = set()
    for path in python_files_below(*portal_settings.BASE_DIR.glob("[a-z]*/")):
        parts = path.relative_to(portal_settings.BASE_DIR).parts
        # While texts are collected for translation, there are copies of templates that end in ".html.py".
        if parts[0] in {"benchmarks", "templates"} or "tests" in parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in {"build_absolute_uri", "get_host", "get_current_site"}:
                found.add(("/".join(parts), node.attr))

    assert found <= allowed


# The scheme


@pytest.mark.parametrize("sent", [{}, {"X-Forwarded-Proto": ""}, {"X-Forwarded-Proto": "HTTPS"}])
def test_proxy_without_a_scheme_is_logged_once_and_causes_no_redirect_loop(behind_proxy, client, db, caplog, sent):
    for _ in range(3):
        answer = client.get("/login/", headers={"Host": STRIPPED, **sent})
        assert (answer.status_code, answer["Retry-After"]) == (503, "5")
        assert "X-Forwarded-Proto" in answer.content.decode()

    (line,) = caplog.messages
    assert "sends no X-Forwarded-Proto" in line
    assert URL in line


def test_api_answers_503_if_the_proxy_sends_no_scheme(behind_proxy, api, headers, caplog):
    answer = api.get("/api/v1/me", headers={**headers, "Host": STRIPPED})

    assert (answer.status_code, answer.json()["code"], answer["Retry-After"]) == (503, "unavailable", "5")
    assert "X-Forwarded-Proto" in answer.json()["detail"]
    assert "clear" not in answer.json()["detail"]
    assert TokenUse.objects.get().status == 503
    assert len(caplog.messages) == 1


def test_request_without_https_is_refused_and_page_is_redirected(behind_proxy, client, api, headers, caplog):
    in_clear = {"Host": STRIPPED, "X-Forwarded-Proto": "http"}

    assert client.get("/login/?next=/", headers=in_clear).url == f"{URL}/login/?next=/"
    assert "Use https" in api.get("/api/v1/me", headers={**headers, **in_clear}).json()["detail"]
    assert caplog.messages == []


def test_request_that_bypasses_the_proxy_is_redirected_to_portal_url(behind_proxy, client):
    answer = client.get("/login/", headers={"Host": "127.0.0.1:8000"}, REMOTE_ADDR="192.0.2.1")

    assert (answer.status_code, answer.url) == (301, f"{URL}/login/")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_probes_need_no_scheme(behind_proxy, client, db, path):
    assert client.get(path, headers={"Host": "10.0.0.1"}).status_code == 200


# The name


def test_wrong_host_is_logged_in_one_line_with_both_names(behind_proxy, client, api, headers, db, caplog):
    sent = {"Host": "wrong.example:8443", "X-Forwarded-Proto": "https"}
    for _ in range(3):
        page = client.get("/login/", headers=sent)
        answer = api.get("/api/v1/me", headers={**headers, **sent})

    assert (page.status_code, answer.status_code) == (400, 400)
    assert "Host header" in page.content.decode()
    assert answer.json()["detail"] == public_address.WRONG_HOST
    (line,) = caplog.messages
    assert "'wrong.example:8443'" in line
    assert "'portal.example.com:8443'" in line


def test_many_wrong_hosts_are_logged_in_ten_lines(client, db, caplog):
    for number in range(30):
        assert client.get("/login/", headers={"Host": f"wrong-{number}.example"}).status_code == 400

    assert len(caplog.messages) == 10


@pytest.mark.parametrize("host", ["x" * 5000, "a\tb", "héllo.example", "a b", "", "[", "1.2.3.4:99999999", "a@b"])
def test_answer_to_any_wrong_host_is_a_clear_400(client, api, headers, db, host):
    assert client.get("/login/", headers={"Host": host}).status_code == 400
    assert api.get("/api/v1/me", headers={**headers, "Host": host}).json()["detail"] == public_address.WRONG_HOST
