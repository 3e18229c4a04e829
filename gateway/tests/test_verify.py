"""Forward auth: which requests to a service its proxy may pass on, and what is logged."""

import ipaddress

import pytest

from accounts.tests.factories import GroupFactory, UserFactory
from auditlog.models import TokenUse
from gateway import admission
from gateway.models import Check, Service
from gateway.tests.factories import ServiceFactory, ServiceRuleFactory
from tokens import services
from tokens.tests.factories import TokenFactory, bearer

DASHBOARD = "/api/dashboards/7"


@pytest.fixture(autouse=True)
def _proxy_is_trusted(settings):
    """Tests ask as the proxy does, from loopback."""
    settings.TRUSTED_PROXIES = [ipaddress.ip_network("127.0.0.1")]


@pytest.fixture
def service(owner):
    return ServiceFactory(organization=owner.organization, slug="grafana")


@pytest.fixture
def token(owner, service):
    return token_for(service, owner)


def token_for(service, owner, *names, **values):
    chosen = " ".join(f"service:{service.slug}:{name}" for name in names or ("read",))
    return TokenFactory(owner=owner, service=service, scope=chosen, **values)


def original(method="GET", uri=DASHBOARD):
    return {"X-Original-Method": method, "X-Original-URI": uri}


def ask(api, service, token, **sent):
    return api.get(f"/auth/verify/{service.pk}", headers={**bearer(token), **(sent or original())})


def refusal(answer):
    return answer.status_code, answer.json()["code"]


def test_good_token_is_admitted_and_logged(api, owner, service, token):
    group = GroupFactory(organization=owner.organization, name="Ops, Zürich")
    group.members.add(owner)

    answer = api.get(
        f"/auth/verify/{service.pk}",
        headers={**bearer(token), **original(uri=f"{DASHBOARD}?secret=1"), "X-Forwarded-For": "203.0.113.9"},
    )

    assert (answer.status_code, answer.content) == (200, b"")
    assert {name: value for name, value in answer.headers.items() if name.startswith("X-Auth-")} == {
        "X-Auth-Request-User": str(owner.pk),
        "X-Auth-Request-Email": owner.email,
        "X-Auth-Request-Role": owner.site_role,
        "X-Auth-Request-Groups": "Ops%2C%20Z%C3%BCrich",
        "X-Auth-Request-Scopes": "service:grafana:read",
        "X-Auth-Request-Token": str(token.pk),
    }
    assert answer.headers["Cache-Control"] == "no-store"
    entry = TokenUse.objects.get()
    assert (entry.token, entry.service, entry.reported_at) == (token, service, None)
    assert (entry.method, entry.target, entry.status, entry.reason) == ("GET", DASHBOARD, 200, "ok")
    assert entry.ip == "203.0.113.9"


@pytest.mark.parametrize(
    ("method", "uri", "code"),
    [
        ("POST", DASHBOARD, "insufficient_scope"),
        ("DELETE", DASHBOARD, "path_not_allowed"),
        ("GET", "/api/other", "path_not_allowed"),
        ("GET", "/admin/users", "path_not_allowed"),
        ("GET", "/%61dmin", "path_not_allowed"),
        ("get", DASHBOARD, "ambiguous_path"),
        ("GET,POST", DASHBOARD, "ambiguous_path"),
        ("GET", "/public/../admin", "ambiguous_path"),
    ],
)
def test_request_that_no_rule_opens_is_refused_and_logged(api, service, token, method, uri, code):
    answer = ask(api, service, token, **original(method, uri))

    assert refusal(answer) == (403, code)
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    entry = TokenUse.objects.get()
    assert (entry.service, entry.method, entry.target, entry.reason) == (service, method, uri, code)


def test_missing_scope_is_named(api, service, token):
    answer = ask(api, service, token, **original("POST"))

    assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
    assert 'scope="service:grafana:write"' in answer.headers["WWW-Authenticate"]


def test_token_with_the_scope_may_write(api, owner, service):
    assert ask(api, service, token_for(service, owner, "read", "write"), **original("POST")).status_code == 200


def test_path_for_any_token_needs_no_scope(api, service, token):
    assert ask(api, service, token, **original("PUT", "/public/x")).status_code == 200


def test_token_of_the_portal_is_refused(api, owner, service):
    answer = ask(api, service, TokenFactory(owner=owner))

    assert refusal(answer) == (401, "wrong_audience")
    entry = TokenUse.objects.get()
    assert (entry.service, entry.reason, entry.target) == (None, "wrong_audience", f"/auth/verify/{service.pk}")


def test_token_of_another_service_is_refused(api, owner, service):
    other = ServiceFactory(organization=owner.organization)

    assert refusal(ask(api, service, token_for(other, owner))) == (401, "wrong_audience")


def test_token_of_a_service_opens_nothing_of_the_portal(api, token):
    answer = api.get("/api/v1/me", headers=bearer(token))

    assert refusal(answer) == (401, "wrong_audience")
    assert TokenUse.objects.get().reason == "wrong_audience"


@pytest.mark.parametrize("pk", ["9992a620-eda4-41f1-b7c2-02fc00000001", "stranger"])
def test_unknown_service_and_one_of_strangers_get_the_same(api, token, stranger, pk):
    if pk == "stranger":
        pk = ServiceFactory(organization=stranger.organization).pk
    answer = api.get(f"/auth/verify/{pk}", headers={**bearer(token), **original()})

    assert refusal(answer) == (401, "wrong_audience")
    assert TokenUse.objects.get().service_id is None


def test_expired_token_is_refused_at_once(api, owner, service, token):
    assert ask(api, service, token).status_code == 200
    services.revoke_token(actor=owner, token=token)

    answer = ask(api, service, token)

    assert refusal(answer) == (401, "revoked")
    assert TokenUse.objects.order_by("-id").first().service == service


def test_token_that_is_not_genuine_is_refused_and_not_logged(api, service):
    answer = api.get(f"/auth/verify/{service.pk}", headers={"Authorization": "Bearer a.b.c", **original()})

    assert refusal(answer) == (401, "invalid_token")
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    assert not TokenUse.objects.exists()


def test_request_without_credentials_gets_a_challenge(api, service):
    answer = api.get(f"/auth/verify/{service.pk}", headers=original())

    assert refusal(answer) == (401, "not_authenticated")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert "error" not in answer.headers["WWW-Authenticate"]
    assert answer.headers["Cache-Control"] == "no-store"


def test_service_that_is_switched_off_admits_nobody(api, service, token):
    Service.objects.update(is_enabled=False)

    assert refusal(ask(api, service, token)) == (403, "service_disabled")


@pytest.mark.parametrize("check", [Check.INTROSPECTION, Check.STATUS_LIST])
def test_service_that_is_checked_otherwise_admits_nobody(api, service, token, check):
    Service.objects.update(check_by=check)

    assert refusal(ask(api, service, token)) == (403, "forbidden")


def test_only_trusted_proxies_can_ask(api, service, token, settings):
    settings.TRUSTED_PROXIES = []

    assert refusal(ask(api, service, token)) == (403, "forbidden")


def test_owner_who_lost_access_is_refused(api, service, token):
    Service.objects.update(site_roles="guest")

    assert refusal(ask(api, service, token)) == (403, "forbidden")


@pytest.mark.parametrize("way", ["role", "person", "group", "nobody", "other group"])
def test_statement_and_queryset_admit_the_same_people(owner, way):
    service = ServiceFactory(organization=owner.organization, site_roles="user" if way == "role" else "power_user")
    owner.site_role = "user"
    owner.save()
    group = GroupFactory(organization=owner.organization)
    if way == "group":
        group.members.add(owner)
    if way == "person":
        ServiceRuleFactory(service=service, user=owner)
    if "group" in way:
        ServiceRuleFactory(service=service, group=group)

    is_open = admission.find(service.pk, owner.pk).is_open_to(owner)

    assert is_open is Service.objects.usable_by(owner).filter(pk=service.pk).exists()
    assert is_open is (way in ("role", "person", "group"))


def test_nobody_of_another_organization_is_admitted(service):
    stranger = UserFactory(site_role="administrator")
    ServiceRuleFactory(service=service, user=stranger)

    assert not admission.find(service.pk, stranger.pk).is_open_to(stranger)
    assert not Service.objects.usable_by(stranger).exists()


CADDY = {"X-Forwarded-Method": "GET", "X-Forwarded-Uri": DASHBOARD, "X-Forwarded-Host": "grafana.example.com"}
INGRESS = {"X-Original-Method": "GET", "X-Original-URL": f"https://grafana.example.com{DASHBOARD}"}


@pytest.mark.parametrize("sent", [original(), CADDY, INGRESS])
def test_each_kind_of_proxy_is_understood(api, service, token, sent):
    assert ask(api, service, token, **sent).status_code == 200
    assert TokenUse.objects.get().target == DASHBOARD


def test_envoy_repeats_method_and_path(api, service, token):
    for method, path, code in (("get", DASHBOARD, 200), ("head", DASHBOARD, 200), ("post", DASHBOARD, 403)):
        answer = getattr(api, method)(f"/auth/verify/{service.pk}{path}", headers=bearer(token))
        assert answer.status_code == code
    assert refusal(api.get(f"/auth/verify/{service.pk}/", headers=bearer(token))) == (403, "path_not_allowed")


@pytest.mark.parametrize("path", ["//admin", "/public/../admin", "/%2561dmin", "/public%2f..%2fadmin", "/a;b", "/a,b"])
def test_ambiguous_paths_of_envoy_are_refused(api, service, token, path):
    answer = api.get(f"/auth/verify/{service.pk}{path}", headers=bearer(token))

    assert refusal(answer) == (403, "ambiguous_path")


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"X-Original-URI": DASHBOARD},
        {"X-Original-Method": "GET"},
        {"X-Forwarded-Uri": DASHBOARD},
        {"X-Forwarded-Method": "GET"},
        {**original(), "X-Original-URL": f"https://grafana.example.com{DASHBOARD}"},
        {**original(), "X-Forwarded-Uri": DASHBOARD, "X-Forwarded-Method": "GET"},
        {**original(), "X-Forwarded-Uri": DASHBOARD},
        {**original(), "X-HTTP-Method-Override": "DELETE"},
        {**original(), "X-HTTP-Method": "DELETE"},
        {**original(), "X-Method-Override": "DELETE"},
        {**CADDY, "X-Forwarded-Host": "other.example.com"},
        {"X-Original-Method": "GET", "X-Original-URL": f"https://other.example.com{DASHBOARD}"},
        {"X-Original-Method": "GET", "X-Original-URL": DASHBOARD},
        {"X-Original-Method": "GET", "X-Original-URL": "https://[/"},
        original(uri=f"/public?x,{DASHBOARD}"),
    ],
)
def test_request_that_proxies_could_read_differently_is_refused(api, service, token, sent):
    answer = api.get(f"/auth/verify/{service.pk}", headers={**bearer(token), **sent})

    assert refusal(answer) == (403, "ambiguous_path")
    assert 'error="invalid_request"' in answer.headers["WWW-Authenticate"]


def test_path_behind_the_address_and_headers_together_are_refused(api, service, token):
    answer = api.get(f"/auth/verify/{service.pk}{DASHBOARD}", headers={**bearer(token), **original()})

    assert refusal(answer) == (403, "ambiguous_path")


def test_token_in_the_path_is_not_logged(api, service, token):
    pasted = bearer(token)["Authorization"].removeprefix("Bearer ")
    ask(api, service, token, **original(uri=f"/public/{pasted}"))

    assert TokenUse.objects.get().target == "/public/[token]"


def test_token_with_counted_uses_ends_with_its_last_one(api, owner, service):
    token = token_for(service, owner, max_uses=1)

    assert ask(api, service, token).status_code == 200
    assert refusal(ask(api, service, token)) == (401, "used_up")


def test_check_makes_three_queries(api, service, token, django_assert_num_queries):
    ask(api, service, token)
    with django_assert_num_queries(3):
        ask(api, service, token)


def test_host_of_the_service_is_no_mistake(api, service, token, settings):
    settings.ALLOWED_HOSTS = ["localhost"]

    answer = api.get(
        f"/auth/verify/{service.pk}", headers={**bearer(token), **original(), "Host": "grafana.example.com"}
    )

    assert answer.status_code == 200
