"""Who meets what: every page and every route of the API, for each role, a stranger, someone signed out, and tokens.

The tables are the specification; read them row by row. What is asked for belongs to an ordinary User of Acme
("owner"): a token, a pipeline with a step and a run. `user` to `auditor` are other people of Acme, one of each role.
`stranger` is the Administrator of another organization, `operator` a superuser.
"""

import json

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import get_resolver
from django.utils import timezone

from accounts.roles import SiteRole
from accounts.tests.factories import OperatorFactory, UserFactory
from opsera_portal.api.operations import routes
from pipelines.tests.factories import PipelineFactory, RunFactory, StepFactory
from tokens.tests.factories import TokenFactory, bearer

# ok: 200. gone: 404, as if it did not exist. no: 403. in: sent to sign in. admin: sent to Django admin. to: redirected
# after the thing was done. post: the address answers POST only.
PAGES = """
page                                 owner  user   guest  power  admin  security auditor stranger operator signed_out
GET  /                               ok     ok     ok     ok     ok     ok       ok      ok       admin    in
GET  /profile/                       ok     ok     ok     ok     ok     ok       ok      ok       admin    in
GET  /profile/tokens/                ok     ok     ok     ok     ok     ok       ok      ok       admin    in
GET  /profile/tokens/{token}/        ok     gone   gone   gone   ok     ok       ok      gone     admin    in
GET  /profile/tokens/{token}/reveal/ ok     gone   gone   gone   ok     ok       ok      gone     admin    in
GET  /profile/tokens/{token}/expire/ ok     gone   gone   gone   ok     ok       gone    gone     admin    in
POST /profile/tokens/{token}/expire/ to     gone   gone   gone   to     to       gone    gone     admin    in
GET  /profile/authentication-log/    ok     ok     ok     ok     ok     ok       ok      ok       admin    in
GET  /organization/tokens/           no     no     no     no     ok     ok       ok      ok       admin    in
GET  /organization/authentication-log/ no   no     no     ok     ok     ok       ok      ok       admin    in
GET  /organization/activity-log/     no     no     no     ok     ok     ok       ok      ok       admin    in
GET  /pipelines/                     ok     ok     ok     ok     ok     ok       ok      ok       admin    in
GET  /pipelines/{pipeline}/          ok     ok     ok     ok     ok     ok       ok      gone     admin    in
GET  /pipelines/{pipeline}/run/      post   post   post   post   post   post     post    post     admin    in
POST /pipelines/{pipeline}/run/      to     to     no     to     to     no       no      gone     admin    in
GET  /pipelines/{pipeline}/runs/1/   ok     ok     ok     ok     ok     ok       ok      gone     admin    in
GET  /pipelines/{pipeline}/runs/1/progress/ ok ok  ok     ok     ok     ok       ok      gone     admin    in
GET  /admin/                         no     no     no     no     ok     no       no      ok       ok       in
GET  /login/                         home   home   home   home   home   home     home    home     admin    ok
GET  /logout/                        ok     ok     ok     ok     ok     ok       ok      ok       ok       in
GET  /login/inactive/                ok     ok     ok     ok     ok     ok       ok      ok       ok       ok
GET  /api/docs/                      ok     ok     ok     ok     ok     ok       ok      ok       ok       ok
GET  /api/schema/                    ok     ok     ok     ok     ok     ok       ok      ok       ok       ok
GET  /.well-known/jwks.json          ok     ok     ok     ok     ok     ok       ok      ok       ok       ok
GET  /healthz                        ok     ok     ok     ok     ok     ok       ok      ok       ok       ok
GET  /readyz                         ok     ok     ok     ok     ok     ok       ok      ok       ok       ok
"""

# By session and by a token with scope `api` alike: the answer is the same, except where `session` stands: done in a
# session (201), closed to tokens. 2xx: ok. 403: no. 401: who?
ROUTES = """
route                              owner  user   guest  power  admin  security auditor stranger operator signed_out
GET  /me                           ok     ok     ok     ok     ok     ok       ok      ok       no       who?
GET  /tokens                       ok     ok     ok     ok     ok     ok       ok      ok       no       who?
POST /tokens                       session session session session session session session session no    who?
GET  /tokens/current               token  token  token  token  token  token    token   token    no       who?
POST /tokens/current/expire        token  token  token  token  token  token    token   token    no       who?
GET  /tokens/{token}               ok     no     no     no     no     no       no      no       no       who?
GET  /tokens/{token}/activity      ok     no     no     no     no     no       no      no       no       who?
POST /tokens/{token}/expire        ok     no     no     no     ok     ok       no      no       no       who?
GET  /organization/tokens          no     no     no     no     ok     ok       ok      ok       no       who?
GET  /logs/user/tokens             no     no     no     ok     ok     ok       ok      ok       no       who?
GET  /logs/user/actions            no     no     no     ok     ok     ok       ok      ok       no       who?
GET  /pipelines                    ok     ok     ok     ok     ok     ok       ok      ok       no       who?
POST /pipeline/run                 ok     ok     no     ok     ok     no       no      no       no       who?
POST /pipeline/status              ok     ok     ok     ok     ok     ok       ok      no       no       who?
POST /pipeline/summary             ok     ok     ok     ok     ok     ok       ok      no       no       who?
POST /pipeline/logs                ok     ok     ok     ok     ok     ok       ok      no       no       who?
"""

# What each scope opens to an Administrator, who may do everything: the scope alone decides.
SCOPES = """
route                              api    api-readonly pipeline pipeline-readonly security-logs
GET  /me                           ok     ok           ok       ok                ok
GET  /tokens                       ok     ok           no       no                no
POST /tokens                       no     no           no       no                no
GET  /tokens/current               ok     ok           ok       ok                ok
POST /tokens/current/expire        ok     ok           ok       ok                ok
GET  /tokens/{token}               ok     ok           no       no                no
GET  /tokens/{token}/activity      ok     ok           no       no                no
POST /tokens/{token}/expire        ok     no           no       no                no
GET  /organization/tokens          ok     ok           no       no                no
GET  /logs/user/tokens             ok     ok           no       no                ok
GET  /logs/user/actions            ok     ok           no       no                ok
GET  /pipelines                    ok     ok           ok       ok                no
POST /pipeline/run                 ok     no           ok       no                no
POST /pipeline/status              ok     ok           ok       ok                no
POST /pipeline/summary             ok     ok           ok       ok                no
POST /pipeline/logs                ok     ok           ok       ok                no
"""

ROLES = {
    "user": SiteRole.USER,
    "guest": SiteRole.GUEST,
    "power": SiteRole.POWER_USER,
    "admin": SiteRole.ADMINISTRATOR,
    "security": SiteRole.SECURITY_MANAGER,
    "auditor": SiteRole.AUDITOR,
}


def cells(table):
    """(method, path, column, expected) for each cell."""
    head, *rows = [line.split() for line in table.strip().splitlines()]
    for method, path, *expected in rows:
        assert len(expected) == len(head) - 1, path
        for column, value in zip(head[1:], expected, strict=True):
            yield method, path, column, value


def cases(table, *, without=()):
    return [pytest.param(*cell, id=f"{cell[2]} {cell[0]} {cell[1]}") for cell in cells(table) if cell[2] not in without]


@pytest.fixture
def person(organization, owner, stranger):
    def find(column):
        if column == "owner":
            return owner
        if column == "stranger":
            return stranger
        if column == "operator":
            return OperatorFactory()
        return UserFactory(organization=organization, site_role=ROLES[column])

    return find


@pytest.fixture
def things(owner):
    pipeline = PipelineFactory(owner=owner)
    StepFactory(pipeline=pipeline)
    RunFactory(pipeline=pipeline, number=1)
    pipeline.run_count = 1
    pipeline.save()
    return {"token": TokenFactory(owner=owner), "pipeline": pipeline}


def fill(path, things):
    return path.format(**{name: thing.pk for name, thing in things.items()})


def body_for(path, things):
    if "/pipeline/" in path:
        return {"pipelineId": str(things["pipeline"].pk)}
    return {"name": "made by the table", "scopes": ["api"]} if path == "/tokens" else {}


@pytest.mark.parametrize(("method", "path", "who", "expected"), cases(PAGES))
def test_pages(client, person, things, method, path, who, expected):
    if who != "signed_out":
        client.force_login(person(who))

    answer = client.generic(method, fill(path, things))
    if answer.status_code == 302 and answer.url.startswith("/admin/login/"):
        answer = client.get(answer.url)

    match expected:
        case "ok" | "no" | "gone" | "post":
            assert answer.status_code == {"ok": 200, "no": 403, "gone": 404, "post": 405}[expected]
        case "in":
            assert answer.status_code == 302
            assert answer.url.startswith("/login/")
        case "admin":
            assert (answer.status_code, answer.url) == (302, "/admin/")
        case "home":
            assert (answer.status_code, answer.url) == (302, "/")
        case "to":
            assert answer.status_code == 302
            assert not answer.url.startswith(("/login/", "/admin/"))
        case _:
            raise AssertionError(expected)


STATUSES = {"ok": {200}, "no": {403}, "who?": {401}}


@pytest.mark.parametrize(("method", "path", "who", "expected"), cases(ROUTES))
def test_routes_by_session(api, person, things, method, path, who, expected):
    if who != "signed_out":
        api.force_login(person(who))

    answer = api.generic(
        method,
        "/api/v1" + fill(path, things),
        data=json.dumps(body_for(path, things)) if method == "POST" else "",
        content_type="application/json",
    )

    assert answer.status_code in STATUSES.get(expected, {201} if expected == "session" else {403})


@pytest.mark.parametrize(("method", "path", "who", "expected"), cases(ROUTES, without={"signed_out", "operator"}))
def test_routes_by_token(api, person, things, method, path, who, expected):
    headers = bearer(TokenFactory(owner=person(who), scope="api"))

    answer = send(api, method, path, things, headers)

    assert answer.status_code in STATUSES.get(expected, {200} if expected == "token" else {403})


@pytest.mark.parametrize(("method", "path", "scope", "expected"), cases(SCOPES))
def test_scopes(api, administrator, method, path, scope, expected):
    pipeline = PipelineFactory(owner=administrator)
    StepFactory(pipeline=pipeline)
    things = {"token": TokenFactory(owner=administrator), "pipeline": pipeline}
    headers = bearer(TokenFactory(owner=administrator, scope=scope))

    assert send(api, method, path, things, headers).status_code in STATUSES[expected]


def send(api, method, path, things, headers):
    address = "/api/v1" + fill(path, things)
    if method == "GET":
        return api.get(address, headers=headers)
    return api.post(address, body_for(path, things), headers=headers)


def as_template(path):
    for converter, name in (("<uuid:pk>", "{id}"), ("<int:number>", "1")):
        path = path.replace(converter, name)
    return path


def asked(table):
    """Addresses in a table, with one name for all ids."""
    return {
        (method, path.replace("{token}", "{id}").replace("{pipeline}", "{id}")) for method, path, _, _ in cells(table)
    }


def test_no_route_of_the_api_is_missing_here():
    known = {(route.method, as_template(route.path.removeprefix("/api/v1"))) for route in routes()}

    assert asked(ROUTES) == known
    assert asked(SCOPES) == known


def test_no_page_is_missing_here():
    pages = set()

    def walk(patterns, prefix=""):
        for pattern in patterns:
            path = prefix + str(pattern.pattern)
            if path.startswith(("api/v1", "admin/")):
                continue
            if hasattr(pattern, "url_patterns"):
                walk(pattern.url_patterns, path)
            else:
                pages.add("/" + as_template(path))

    walk(get_resolver().url_patterns)
    assert pages - {"/favicon.ico", "/robots.txt"} == {path for _, path in asked(PAGES)} - {"/admin/"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param(route.method, route.path.removeprefix("/api/v1").replace("<uuid:pk>", "{token}"), id=route.path)
        for route in routes()
        if route.operation.only_reads
    ],
)
def test_what_is_said_to_read_only_reads(api, administrator, method, path):
    """On this word depends that a change and its entry in the log share a transaction."""
    pipeline = PipelineFactory(owner=administrator)
    StepFactory(pipeline=pipeline)
    RunFactory(pipeline=pipeline, number=1)
    token = TokenFactory(owner=administrator, last_used_at=timezone.now(), last_used_ip="127.0.0.1")
    things = {"token": token, "pipeline": pipeline}

    with CaptureQueriesContext(connection) as captured:
        assert send(api, method, path, things, bearer(token)).status_code == 200

    writes = [query["sql"] for query in captured if not query["sql"].startswith("SELECT")]
    assert len(writes) == 1
    assert writes[0].startswith('INSERT INTO "auditlog_tokenuse"')
