"""Opening a service in the browser: from its host to the portal and back, and what the session then opens."""

import ipaddress
from datetime import timedelta
from urllib.parse import parse_qsl, urlsplit

import pytest
import time_machine
from django.conf import settings
from django.test import Client
from django.utils import timezone

from accounts.security.sessions import end_sessions
from accounts.tests.factories import PASSWORD, UserFactory
from auditlog.models import Activity, TokenUse
from gateway import service_sessions
from gateway.models import Service, ServiceSession
from gateway.service_origins import path_on_service
from gateway.tests.factories import ServiceFactory
from gateway.tests.test_verify import DASHBOARD, original, refusal, token_for
from tokens.tests.factories import bearer

ORIGIN = "https://grafana.example.com"
COOKIE = "__Host-portal-service"
NONCE = "__Host-portal-start"
BROWSER = {"Accept": "text/html,*/*;q=0.8", "Sec-Fetch-Mode": "navigate"}
OWN_PAGE = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}


@pytest.fixture(autouse=True)
def _proxy_is_trusted(settings):
    """Tests ask as the proxy does, from loopback."""
    settings.TRUSTED_PROXIES = [ipaddress.ip_network("127.0.0.1")]


@pytest.fixture
def service(owner):
    return ServiceFactory(organization=owner.organization, slug="grafana", allows_sessions=True)


@pytest.fixture
def portal_browser(owner):
    """The cookies of the portal's host."""
    return signed_in(owner)


@pytest.fixture
def browser(db):
    """The same browser, with the cookies of the service's host."""
    return Client()


def signed_in(person):
    client = Client()
    client.post("/login/", {"login": person.email, "password": PASSWORD})
    return client


def of_service(service, rest):
    """What the service's proxy makes of /.portal/<rest>."""
    return f"/auth/service/{service.pk}/{rest}"


def query_of(address):
    return dict(parse_qsl(urlsplit(address).query))


def start(browser, service, then=DASHBOARD):
    return browser.get(of_service(service, "start"), {"then": then}).headers["Location"]


def press_open(portal_browser, service, **sent):
    answer = portal_browser.post(f"/services/{service.pk}/open/", sent)
    return answer.context["address"] if answer.status_code == 200 else answer


def finish(browser, service, address):
    return browser.get(of_service(service, "finish"), query_of(address))


def open_it(browser, portal_browser, service, then=DASHBOARD):
    sent = query_of(start(browser, service, then))
    return finish(browser, service, press_open(portal_browser, service, **sent))


def ask(browser, service, *, headers=None, **sent):
    cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in browser.cookies.items())
    asked = {**original(**sent), **(headers or {}), "Cookie": cookies}
    return Client().get(f"/auth/verify/{service.pk}", headers=asked)


# The way


@pytest.mark.each_database
def test_person_signs_in_and_comes_back(owner, service):
    browser, portal_browser = Client(), Client()
    refused = ask(browser, service, headers=BROWSER, uri=f"{DASHBOARD}?from=now-1h&to=now")
    assert refused.status_code == 401
    to_start = refused.headers["X-Portal-Sign-In"]
    assert to_start == "/.portal/start?then=/api/dashboards/7%3Ffrom%3Dnow-1h%26to%3Dnow"

    started = browser.get(of_service(service, to_start.removeprefix("/.portal/")))
    page = started.headers["Location"].removeprefix(settings.PORTAL_URL)
    assert page.startswith(f"/services/{service.pk}/open/?then=")
    cookie = browser.cookies[NONCE]
    assert (cookie["path"], cookie["samesite"], cookie["domain"]) == ("/", "Lax", "")
    assert cookie["secure"]
    assert cookie["httponly"]

    to_login = portal_browser.get(page).headers["Location"]
    comes_back_to = portal_browser.post(to_login, {"login": owner.email, "password": PASSWORD}).headers["Location"]
    assert comes_back_to == page
    assert b"Olga Owner" in portal_browser.get(page).content
    assert not ServiceSession.objects.exists(), "GET changes nothing"
    address = press_open(portal_browser, service, **query_of(page))
    assert address.startswith(f"{ORIGIN}/.portal/finish?code=")

    finished = finish(browser, service, address)
    assert finished.headers["Location"] == f"{ORIGIN}{DASHBOARD}?from=now-1h&to=now"
    cookie = browser.cookies[COOKIE]
    assert (cookie["path"], cookie["samesite"], cookie["domain"]) == ("/", "Lax", "")
    assert cookie["secure"]
    assert cookie["httponly"]
    assert cookie["max-age"] <= 12 * 60 * 60
    assert not browser.cookies[NONCE].value

    admitted = ask(browser, service)
    assert (admitted.status_code, admitted.content, list(admitted.cookies)) == (200, b"", [])
    assert admitted.headers["X-Auth-Request-User"] == str(owner.pk)
    assert admitted.headers["X-Auth-Request-Email"] == owner.email
    assert admitted.headers["X-Auth-Request-Scopes"] == "service:grafana:read service:grafana:write"
    assert admitted.headers["X-Auth-Request-Token"] == ""
    assert not TokenUse.objects.exists()
    entry = Activity.objects.get(action="service.opened")
    assert (entry.actor, entry.target_id, entry.type) == (owner, str(service.pk), "service")


def test_no_digest_of_the_row_is_a_secret_that_a_browser_sends(browser, portal_browser, service):
    open_it(browser, portal_browser, service)
    row = ServiceSession.objects.get()
    cookie = browser.cookies[COOKIE].value

    assert len(cookie) == 43
    assert cookie not in {row.nonce_digest, row.code_digest, row.cookie_digest}
    browser.cookies[COOKIE] = row.cookie_digest
    assert ask(browser, service).status_code == 401


def test_page_without_a_start_leads_to_the_service(portal_browser, service):
    answer = portal_browser.get(f"/services/{service.pk}/open/")

    assert answer.headers["Location"] == f"{ORIGIN}/.portal/start?then=/"


def test_two_tabs_that_start_at_once_share_the_nonce(browser, service):
    assert query_of(start(browser, service))["start"] == query_of(start(browser, service, "/other"))["start"]


@pytest.mark.parametrize("address", ["http://localhost:3000", "http://127.0.0.3:3000", "http://[::1]:3000"])
def test_service_on_loopback_needs_no_https(browser, portal_browser, service, address):
    Service.objects.update(address=address)

    answer = open_it(browser, portal_browser, service)

    assert answer.headers["Location"] == f"{address}{DASHBOARD}"
    assert not browser.cookies["portal-service"]["secure"]
    assert ask(browser, service).status_code == 200


@pytest.mark.parametrize("address", ["http://grafana.example.com", "http://127.0.0.3.example.com", "", "https://"])
def test_service_without_https_is_not_opened(portal_browser, service, address):
    Service.objects.update(address=address)

    assert portal_browser.get(f"/services/{service.pk}/open/").status_code == 403


# The code


def test_code_works_once(browser, portal_browser, service):
    sent = query_of(start(browser, service))
    address = press_open(portal_browser, service, **sent)
    nonce = browser.cookies[NONCE].value
    finish(browser, service, address)
    browser.cookies.clear()
    browser.cookies[NONCE] = nonce

    again = finish(browser, service, address)

    assert again.headers["Location"] == f"{ORIGIN}/.portal/start?then={DASHBOARD}"
    assert COOKIE not in again.cookies


@pytest.mark.each_database
def test_code_that_is_sent_twice_at_once_gives_one_cookie(browser, portal_browser, service, monkeypatch):
    sent = query_of(press_open(portal_browser, service, **query_of(start(browser, service))))
    nonce = browser.cookies[NONCE].value
    new_secret, meanwhile = service_sessions.new_secret, []

    def let_the_other_finish():
        monkeypatch.setattr(service_sessions, "new_secret", new_secret)
        meanwhile.append(service_sessions.finish(service, code=sent["code"], nonce=nonce))
        return new_secret()

    monkeypatch.setattr(service_sessions, "new_secret", let_the_other_finish)

    assert service_sessions.finish(service, code=sent["code"], nonce=nonce) is None
    assert meanwhile[0] is not None


def test_code_of_another_browser_is_refused(browser, portal_browser, service):
    """Nobody can be made to work as somebody else."""
    address = press_open(portal_browser, service, **query_of(start(browser, service)))
    other = Client()
    start(other, service)

    for victim in (other, Client()):
        assert COOKIE not in finish(victim, service, address).cookies


def test_code_of_another_service_is_refused(browser, portal_browser, owner, service):
    other = ServiceFactory(organization=owner.organization, allows_sessions=True)
    address = press_open(portal_browser, service, **query_of(start(browser, service)))

    assert COOKIE not in finish(browser, other, address).cookies


def test_code_ends_after_a_minute(browser, portal_browser, service):
    address = press_open(portal_browser, service, **query_of(start(browser, service)))

    with time_machine.travel(timezone.now() + timedelta(seconds=61)):
        assert COOKIE not in finish(browser, service, address).cookies


def test_code_of_a_session_that_ended_is_refused(browser, portal_browser, service, owner):
    address = press_open(portal_browser, service, **query_of(start(browser, service)))
    end_sessions(owner)

    assert COOKIE not in finish(browser, service, address).cookies


@pytest.mark.parametrize("sent", [{}, {"code": ""}, {"code": "\0"}, {"code": "x" * 1000}, {"code": "ä"}])
def test_nonsense_starts_again(browser, service, sent):
    answer = browser.get(of_service(service, "finish"), sent | {"then": "/x"})

    assert answer.headers["Location"] == f"{ORIGIN}/.portal/start?then=/x"


# Where it leads


@pytest.mark.parametrize(
    "then",
    [
        "//evil.example",
        "/\\evil.example",
        "/a\\..\\evil.example",
        "\\\\evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "@evil.example",
        ".evil.example",
        "/x\r\nSet-Cookie: a=b",
        "/\tx",
        "/ä",
        "/x\0",
        " /x",
        "",
        "/.portal/start?then=/",
        "/" + "x" * 1200,
        "/" + "%20" * 500,
    ],
)
def test_no_address_leads_elsewhere(browser, portal_browser, service, then):
    assert path_on_service(then) == "/"
    page = start(browser, service, then)
    assert query_of(page)["then"] == "/"
    address = press_open(portal_browser, service, then=then, start=query_of(page)["start"])
    assert query_of(address)["then"] == "/"
    answer = browser.get(of_service(service, "finish"), query_of(address) | {"then": then})

    assert answer.headers["Location"] == f"{ORIGIN}/"


@pytest.mark.parametrize("sent", [{}, {"start": "x"}, {"start": "A" * 64}, {"start": "\0"}])
def test_form_without_a_start_starts_again(portal_browser, service, sent):
    answer = press_open(portal_browser, service, **sent)

    assert answer.headers["Location"].startswith(f"{ORIGIN}/.portal/start?")
    assert not ServiceSession.objects.exists()


def test_host_of_the_request_is_never_used(browser, service):
    forged = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}

    answer = browser.get(of_service(service, "start"), headers=forged)

    assert answer.headers["Location"].startswith(f"{settings.PORTAL_URL}/services/")
    assert browser.get(of_service(service, "start"), headers={"Host": "evil.example"}).status_code == 400
    told = {"X-Forwarded-Host": "grafana.example.com", **original()}
    assert browser.get(f"/auth/verify/{service.pk}", headers=told).status_code == 401


def test_cookies_of_the_service_are_left_alone(browser, service):
    """A service can have a cookie of the portal's name."""
    browser.cookies["sessionid"] = "of the service"

    assert list(browser.get(of_service(service, "start")).cookies) == [NONCE]
    assert not ask(browser, service).cookies


def test_portal_does_not_force_https_on_the_host_of_a_service(browser, service, settings):
    settings.SECURE_HSTS_SECONDS = 1000
    answer = browser.get(of_service(service, "start"), secure=True)

    assert answer.status_code == 302
    assert "Strict-Transport-Security" not in answer.headers


# What ends a session


def no_access(owner):
    Service.objects.update(site_roles="guest")


def deactivated(owner):
    type(owner).objects.filter(pk=owner.pk).update(is_active=False)


def switched_off(owner):
    Service.objects.update(is_enabled=False)


def only_for_tokens(owner):
    Service.objects.update(allows_sessions=False)


def other_check(owner):
    Service.objects.update(check_by="introspection")


def outside(owner):
    owner.organization.sign_in_networks = "198.51.100.0/24"
    owner.organization.sign_in_network_roles = "user"
    owner.organization.save()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (no_access, "forbidden"),
        (deactivated, "forbidden"),
        (switched_off, "service_disabled"),
        (only_for_tokens, "forbidden"),
        (other_check, "forbidden"),
        (outside, "forbidden"),
    ],
)
def test_change_counts_at_the_next_request(browser, portal_browser, owner, service, change, code):
    open_it(browser, portal_browser, service)
    assert ask(browser, service).status_code == 200
    change(owner)

    assert refusal(ask(browser, service)) == (403, code)


def test_session_ends_with_that_of_the_portal(browser, portal_browser, service):
    open_it(browser, portal_browser, service)
    portal_browser.post("/logout/")

    assert refusal(ask(browser, service)) == (401, "not_authenticated")


def test_session_ends_when_the_person_is_signed_out_everywhere(browser, portal_browser, owner, service):
    open_it(browser, portal_browser, service)
    end_sessions(owner)

    assert ask(browser, service).status_code == 401


def test_new_proof_of_identity_keeps_the_session(browser, portal_browser, service):
    open_it(browser, portal_browser, service)
    assert portal_browser.post("/login/again/?next=/profile/", {"password": PASSWORD}).status_code == 302

    assert ask(browser, service).status_code == 200


def test_session_lasts_while_it_is_used_and_twelve_hours_at_most(browser, portal_browser, service):
    open_it(browser, portal_browser, service)
    now = timezone.now()
    for hours in range(1, 12):
        with time_machine.travel(now + timedelta(hours=hours)):
            assert ask(browser, service).status_code == 200
    with time_machine.travel(now + timedelta(hours=12)):
        assert ask(browser, service).status_code == 401


def test_unused_session_ends_and_is_removed(browser, portal_browser, service):
    open_it(browser, portal_browser, service)

    with time_machine.travel(timezone.now() + timedelta(hours=2, minutes=1)):
        assert ask(browser, service).status_code == 401
        service_sessions.forget_past(None)
    assert not ServiceSession.objects.exists()


def test_session_without_a_second_factor_ends_once_it_is_required(browser, portal_browser, owner, service):
    open_it(browser, portal_browser, service)
    owner.organization.two_factor_roles = "user"
    owner.organization.save()

    assert ask(browser, service).status_code == 401


def test_other_services_do_not_take_the_cookie(browser, portal_browser, owner, service):
    other = ServiceFactory(organization=owner.organization, allows_sessions=True)
    open_it(browser, portal_browser, service)

    assert ask(browser, other).status_code == 401


def test_cookie_needs_the_prefix_of_its_host(browser, portal_browser, service):
    """Another host of the domain could plant a cookie without the prefix."""
    open_it(browser, portal_browser, service)
    cookie = browser.cookies.pop(COOKIE).value
    browser.cookies["portal-service"] = cookie

    assert ask(browser, service).status_code == 401


def test_only_trusted_proxies_can_ask(browser, portal_browser, service, settings):
    open_it(browser, portal_browser, service)
    settings.TRUSTED_PROXIES = []

    assert refusal(ask(browser, service)) == (403, "forbidden")


# What it opens


@pytest.mark.parametrize(
    ("method", "uri", "status"),
    [
        ("POST", DASHBOARD, 200),
        ("GET", "/public/x", 200),
        ("GET", "/admin/users", 403),
        ("GET", "/other", 403),
        ("GET", "/public/../admin", 403),
    ],
)
def test_session_has_all_scopes_and_no_more(browser, portal_browser, service, method, uri, status):
    open_it(browser, portal_browser, service)

    assert ask(browser, service, headers=OWN_PAGE, method=method, uri=uri).status_code == status


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": ORIGIN}, 200),
        # A page with `Referrer-Policy: no-referrer`.
        ({"Origin": "null", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "https://wiki.example.com"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": ORIGIN}, 403),
        ({}, 403),
    ],
)
def test_only_own_pages_can_change_something(browser, portal_browser, service, sent, status):
    open_it(browser, portal_browser, service)

    assert ask(browser, service, headers=sent, method="POST").status_code == status
    assert ask(browser, service, headers=sent).status_code == 200
    assert ask(browser, service, headers=sent | {"Sec-WebSocket-Key": "x"}).status_code == status


def test_with_a_token_and_a_cookie_the_token_decides(browser, portal_browser, owner, service):
    open_it(browser, portal_browser, service)
    token = token_for(service, owner)

    assert ask(browser, service, headers=bearer(token)).headers["X-Auth-Request-Token"] == str(token.pk)
    assert ask(browser, service, headers=bearer(token) | OWN_PAGE, method="POST").status_code == 403
    assert ask(browser, service, headers={"Authorization": "Bearer x"}).status_code == 401


@pytest.mark.parametrize("sent", [{"Accept": "*/*"}, {"Accept": "text/html", "Sec-Fetch-Mode": "cors"}, {}])
def test_programs_are_not_sent_to_sign_in(browser, service, sent):
    answer = ask(browser, service, headers=sent)

    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert "X-Portal-Sign-In" not in answer.headers


def test_form_is_not_sent_again_after_signing_in(browser, service):
    answer = ask(browser, service, headers=BROWSER, method="POST")

    assert answer.headers["X-Portal-Sign-In"] == "/.portal/start?then=/"


def test_check_makes_two_queries(browser, portal_browser, service, django_assert_num_queries):
    open_it(browser, portal_browser, service)
    with django_assert_num_queries(2):
        ask(browser, service)


# Who can open it


@pytest.mark.parametrize("change", [only_for_tokens, switched_off, other_check])
def test_service_that_is_not_for_browsers_is_not_opened(portal_browser, owner, service, change):
    change(owner)

    assert portal_browser.get(f"/services/{service.pk}/open/").status_code == 403
    assert press_open(portal_browser, service, start="0" * 64).status_code == 403
    assert not ServiceSession.objects.exists()


def test_people_without_access_cannot_open_it(administrator, stranger, portal_browser, owner, service):
    no_access(owner)
    path = f"/services/{service.pk}/open/"

    assert portal_browser.get(path).status_code == 404
    assert signed_in(administrator).post(path, {"start": "0" * 64}).status_code == 403
    assert signed_in(stranger).post(path, {"start": "0" * 64}).status_code == 404
    assert b"Grafana" not in signed_in(stranger).get(path).content
    assert not ServiceSession.objects.exists()


def test_start_says_the_same_about_every_id(browser, service):
    known, unknown = (Client().get(f"/auth/service/{pk}/start") for pk in (service.pk, UserFactory().pk))

    assert known.status_code == unknown.status_code == 302
    assert set(known.cookies) == set(unknown.cookies)
    assert {*known.headers} == {*unknown.headers}


# Signing out


def test_form_of_the_service_signs_out(browser, portal_browser, service):
    open_it(browser, portal_browser, service)
    path = of_service(service, "sign-out")

    assert browser.post(path, headers={"Origin": "https://evil.example"}).status_code == 403
    assert ask(browser, service).status_code == 200
    answer = browser.post(path, headers={"Origin": ORIGIN})

    assert answer.headers["Location"] == f"{settings.PORTAL_URL}/services/"
    assert not browser.cookies[COOKIE].value
    assert not ServiceSession.objects.exists()


def test_link_to_sign_out_asks_first(browser, portal_browser, service, member):
    open_it(browser, portal_browser, service)
    page = browser.get(of_service(service, "sign-out")).headers["Location"].removeprefix(settings.PORTAL_URL)
    assert b"Sign out of Grafana" in portal_browser.get(page).content

    signed_in(member).post(page)
    assert ask(browser, service).status_code == 200
    portal_browser.post(page)
    assert ask(browser, service).status_code == 401


# The list


def test_list_has_only_services_that_the_person_may_use(portal_browser, owner, service, stranger):
    closed = ServiceFactory(organization=owner.organization, name="Closed one", site_roles="")
    strange = ServiceFactory(organization=stranger.organization, name="Strange one")
    by_token = ServiceFactory(organization=owner.organization, name="Registry", slug="registry")

    page = portal_browser.get("/services/").content.decode()

    assert f"/services/{service.pk}/open/" in page
    assert f"/services/{by_token.pk}/open/" not in page
    assert "/profile/tokens/?service=registry" in page
    assert closed.name not in page
    assert strange.name not in page
