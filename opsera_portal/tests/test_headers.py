"""Answers have protective headers, GET changes nothing, and `next` never leads to another site."""

import hashlib
import re
from contextlib import nullcontext
from http.cookies import SimpleCookie

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.roles import SiteRole
from accounts.signin import urls
from accounts.tests.factories import PASSWORD, UserFactory
from opsera_portal.tests.test_access import PAGES, ROUTES, cells, fill, things_of
from opsera_portal.tests.worlds import check_row, unrendered
from pipelines.tests.factories import AccessRuleFactory, PipelineFactory, RunFactory, StepFactory
from tokens.tests.factories import TokenFactory, bearer

pytestmark = pytest.mark.django_db

ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}
# No browser opens these answers as a page.
BY_TOKEN = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


# Headers


def kinds_of_answer(client, api, administrator):
    """One of each kind of response."""
    token = bearer(TokenFactory(owner=administrator))
    yield "signed out", client.get("/login/")
    yield "redirection", client.get("/profile/")
    yield "nothing there", client.get("/nothing-here/")
    yield "a host that is not ours", client.get("/login/", headers={"Host": "evil.example"})
    yield "too large", client.post("/login/", b"x" * 300_000, content_type="text/plain")
    yield "a forged form", Client(enforce_csrf_checks=True).post("/login/", {"login": "x"})
    yield "health", client.get("/healthz")
    yield "public keys", client.get("/.well-known/jwks.json")
    yield "api without credentials", api.get("/api/v1/me")
    yield "api by token", api.get("/api/v1/me", headers=token)
    yield "api by token, nothing there", api.get("/api/v1/nothing", headers=token)
    yield "schema", client.get("/api/schema/")
    client.force_login(administrator)
    yield "page", client.get("/profile/tokens/")
    yield "api by session", client.get("/api/v1/me")
    yield "api reference", client.get("/api/docs/")
    yield "admin", client.get("/admin/")
    yield "export", client.get("/profile/authentication-log/export/")


def test_every_answer_is_protected(client, api, administrator):
    for kind, answer in kinds_of_answer(client, api, administrator):
        if kind.startswith("api by token"):
            continue
        assert {name: answer.headers.get(name) for name in ALWAYS} == ALWAYS, kind
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy, kind
        assert "frame-ancestors 'none'" in policy, kind
        assert "base-uri 'none'" in policy, kind
        assert not re.search(r"unsafe|\*|http:|https:|blob:", policy), kind
        assert "camera=()" in answer.headers["Permissions-Policy"], kind
        assert "publickey-credentials-get=(self)" in answer.headers["Permissions-Policy"], kind
        assert "Server" not in answer.headers, kind
        assert "X-Powered-By" not in answer.headers, kind


def test_only_answers_that_are_the_same_for_everyone_are_cached(client, api, administrator):
    kept = [
        kind
        for kind, answer in kinds_of_answer(client, api, administrator)
        if "no-store" not in answer.headers["Cache-Control"]
    ]

    assert kept == ["public keys"]


def test_answer_to_a_token_can_do_nothing_in_a_browser(api, administrator):
    token = bearer(TokenFactory(owner=administrator))
    answers = [
        api.get("/api/v1/me", headers=token),
        api.get("/api/v1/nothing", headers=token),
        api.get("/api/v1/me", headers=token | {"Host": "evil.example"}),
        api.get("/api/v1/me", headers={"Authorization": "Bearer nonsense"}),
        api.generic("POST", "/api/v1/pipeline/run", b"x" * 300_000, headers=token),
    ]

    assert [answer.status_code for answer in answers] == [200, 404, 400, 401, 413]
    for answer in answers:
        assert {name: answer.headers.get(name) for name in BY_TOKEN} == BY_TOKEN


def test_small_answer_to_a_token_is_not_mostly_headers(api, administrator):
    answer = api.get("/api/v1/me", headers=bearer(TokenFactory(owner=administrator)))

    # The server adds the status line and the date.
    assert sum(len(f"{name}: {value}\r\n") for name, value in answer.items()) < 600


def test_strict_transport_security_is_sent_over_tls_for_all_subdomains(client, settings):
    settings.SECURE_HSTS_SECONDS = 365 * 24 * 60 * 60
    settings.SECURE_HSTS_INCLUDE_SUBDOMAINS = settings.SECURE_HSTS_PRELOAD = True

    secure, plain = Client().get("/login/", secure=True), Client().get("/login/")

    assert secure.headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains; preload"
    by_token = Client().get("/api/v1/me", secure=True, headers={"Authorization": "Bearer x"})
    assert by_token.headers["Strict-Transport-Security"] == secure.headers["Strict-Transport-Security"]
    assert "Strict-Transport-Security" not in plain.headers


# security.txt


def test_security_txt_names_the_contact(client):
    with override_settings(SECURITY_CONTACT="mailto:security@example.com"):
        answer = client.get("/.well-known/security.txt")

    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    fields = dict(line.split(": ", 1) for line in answer.content.decode().splitlines())
    assert fields["Contact"] == "mailto:security@example.com"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", fields["Expires"])
    assert fields["Canonical"].endswith("/.well-known/security.txt")


def test_security_txt_is_missing_without_a_contact(client):
    assert client.get("/.well-known/security.txt").status_code == 404


# GET and HEAD change nothing

# Every request may write to these tables: sessions, cache and rate limits.
PRESENCE = {"django_session", "usersessions_usersession", "portal_cache", "core_ratecount"}


def digest_of_the_database():
    digests = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            if table in PRESENCE:
                continue
            cursor.execute(f'SELECT * FROM "{table}"')
            digests[table] = hashlib.sha256(repr(sorted(map(repr, cursor.fetchall()))).encode()).hexdigest()
    return digests


@pytest.fixture
def things(administrator):
    # Another person's token: its owner would change it by opening the reveal page.
    token = TokenFactory(owner=UserFactory(organization=administrator.organization), revealed_at=None)
    return own_things(administrator) | {"token": token}


def own_things(person):
    pipeline = PipelineFactory(owner=person)
    StepFactory(pipeline=pipeline)
    RunFactory(pipeline=pipeline, number=1)
    ruled = PipelineFactory(owner=person)
    rule = AccessRuleFactory(pipeline=ruled, user=person)
    return things_of(person, pipeline) | {"ruled": ruled, "rule": rule}


def admin_addresses():
    yield reverse("admin:index")
    for model in admin.site._registry:
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        row = model.objects.first()
        yield reverse(f"admin:{name}_changelist")
        yield reverse(f"admin:{name}_add")
        for page in ("change", "delete", "history") if row else ():
            yield reverse(f"admin:{name}_{page}", args=[row.pk])


def every_address(things):
    yield from {fill(path, things) for _, path, _, _ in cells(PAGES)} - {"/logout/"}
    yield from {"/api/v1" + fill(path, things) for _, path, _, _ in cells(ROUTES)}
    yield from admin_addresses()
    yield "/logout/"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_get_and_head_of_every_address_change_nothing(client, administrator, things, method):
    client.force_login(administrator)
    before = digest_of_the_database()

    with nullcontext() if method == "GET" else unrendered():
        looked_at = {address: client.generic(method, address).status_code for address in every_address(things)}

    assert len(looked_at) > 100
    assert [address for address, status in looked_at.items() if status >= 500] == []
    after = digest_of_the_database()
    assert [table for table in before if before[table] != after[table]] == []
    assert client.get("/profile/").status_code == 200, "GET of the sign-out page signs nobody out"


@pytest.mark.parametrize("role", [pytest.param(SiteRole.ADMINISTRATOR, marks=pytest.mark.each_database), SiteRole.USER])
def test_every_page_makes_few_queries(client, organization, role):
    person = UserFactory(organization=organization, site_role=role)
    things, made = own_things(person), {}
    client.force_login(person)
    for path in sorted({fill(path, things) for _, path, _, _ in cells(PAGES)} - {"/logout/"}):
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(path)
        if answer.status_code == 200 and "text/html" in answer.headers["Content-Type"]:
            made[path] = len([query for query in queries if not query["sql"].startswith(("SAVEPOINT", "RELEASE"))])

    assert len(made) > 30
    # allauth checks several times whether the person has a passkey.
    assert made.pop("/login/passkey/again/") <= 13
    assert {path: count for path, count in made.items() if count > 12} == {}


def test_every_table_is_in_the_digest_or_ignored():
    tables = digest_of_the_database()

    assert {model._meta.db_table for model in apps.get_models() if model._meta.managed} <= set(tables) | PRESENCE


# `next`

ELSEWHERE = [
    "https://evil.example/",
    "//evil.example/",
    "///evil.example/",
    "/\\evil.example/",
    "\\\\evil.example",
    "http:evil.example",
    "javascript:alert(1)",
    " //evil.example",
    "\t//evil.example",
    "https://testserver@evil.example/",
    "https://testserver.evil.example/",
]


def leads_elsewhere(answer):
    return "evil.example" in answer.headers.get("Location", "").partition("?")[
        0
    ] or "javascript:" in answer.headers.get("Location", "")


@pytest.mark.parametrize("name", ["next", "redirect_to", "url"])
@pytest.mark.parametrize("elsewhere", ELSEWHERE)
def test_sign_in_redirects_to_no_other_site(client, owner, elsewhere, name):
    answer = client.post(
        "/login/", {"login": owner.email, "password": PASSWORD, name: elsewhere}, query_params={name: elsewhere}
    )

    assert answer.status_code == 302
    assert not leads_elsewhere(answer)


# The sign-in pages redirect people to the page that they wanted.
SENDS_ON = [*("/" + str(each.pattern) for each in urls.urlpatterns if not re.search("[<(]", str(each.pattern)))]
SENDS_ON += ["/admin/login/", "/admin/logout/"]


@pytest.mark.parametrize("elsewhere", ELSEWHERE)
def test_no_sign_in_page_redirects_to_another_site(client, owner, elsewhere):
    assert len(SENDS_ON) > 15
    client.force_login(owner)
    cookies = {name: morsel.value for name, morsel in client.cookies.items()}

    def attempt(path):
        # The previous address may have signed the person out.
        client.cookies = SimpleCookie(cookies)
        seen = client.get(path, {"next": elsewhere})
        sent = client.post(path, {"next": elsewhere, "password": PASSWORD}, query_params={"next": elsewhere})
        if leads_elsewhere(seen) or leads_elsewhere(sent):
            return "leads elsewhere"
        linked = re.search(r'(href|action)="[^"?]*evil\.example', seen.content.decode())
        return f"links to {linked[0]}" if linked else "leads nowhere else"

    check_row(elsewhere, dict.fromkeys(SENDS_ON, "leads nowhere else"), attempt)


def test_next_can_be_a_page_of_the_portal(client, owner):
    answer = client.post(
        "/login/?next=/pipelines/", {"login": owner.email, "password": PASSWORD, "next": "/pipelines/"}
    )

    assert answer.headers["Location"] == "/pipelines/"
