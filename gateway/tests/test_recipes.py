"""The lines and samples of a service's page, as a service uses them: rendered for a portal that runs, and started.
`test_proxies.py` does the same with real proxies."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import jwt as pyjwt
import pytest
import yaml
from django.conf import settings
from django.test import RequestFactory

from gateway.recipes import RECIPES, values_of
from gateway.tests.factories import ServiceFactory
from gateway.tests.running_portal import expire

pytestmark = [pytest.mark.once, pytest.mark.integration]

CLIENTS = Path(settings.BASE_DIR) / "opsera_portal" / "tests" / "clients"
WRONG = ["", "nonsense", "mirror", "reads", "apache", "portal", "changed"]
SERVICES = {
    "whole": {},
    "without address and scopes": {"address": "", "scopes": [], "rules": ""},
    "with sessions and a port": {"allows_sessions": True, "address": "http://[2001:db8::1]:8080"},
    # YAML would read this as false.
    "with a word of YAML": {"slug": "no", "address": "https://no"},
}


@pytest.fixture(scope="module")
def samples(running, tmp_path_factory):
    """The modules of a service in Python, imported as it would."""
    folder = tmp_path_factory.mktemp("samples")
    for recipe, module in (("python", "portal_tokens"), ("django", "portal_django"), ("fastapi", "portal_fastapi")):
        (folder / f"{module}.py").write_text(running.recipes[recipe])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PORTAL_SECRET", running.secrets["registry"])
        yield importlib.import_module
    for module in ("portal_tokens", "portal_django", "portal_fastapi"):
        sys.modules.pop(module, None)


@pytest.fixture(scope="module")
def portal_tokens(samples):
    return samples("portal_tokens")


def sent(running, name):
    """The token with this name, or what else a caller could send."""
    if name == "changed":
        head, claims, signature = running.tokens["registry"].split(".")
        return f"{head}.{claims}.{signature[::-1]}"
    return running.tokens.get(name, name)


def eventually(is_so):
    """The portal answers with the same list for a second."""
    deadline = time.monotonic() + 5
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# Python


def test_python_accepts_a_token_of_the_service_and_gives_its_claims(portal_tokens, running):
    claims = portal_tokens.check(running.tokens["registry"])

    assert (claims["sub"], claims["scope"]) == (running.owner, "service:registry:read")


@pytest.mark.parametrize("name", WRONG)
def test_python_refuses_other_tokens(portal_tokens, running, name):
    with pytest.raises(pyjwt.PyJWTError):
        portal_tokens.check(sent(running, name))


def test_python_refuses_other_signed_answers_of_the_portal(portal_tokens, running):
    portal_tokens.check(running.tokens["registry"])
    [uri] = portal_tokens._lists
    with portal_tokens.urllib.request.urlopen(uri) as answer, pytest.raises(pyjwt.PyJWTError):
        portal_tokens.check(answer.read().decode())


def test_python_refuses_a_token_without_a_place_in_a_list(portal_tokens, running, monkeypatch):
    """Such as one that was created before the service read status lists."""
    unlisted = running.tokens["reads"]
    claims = pyjwt.decode(unlisted, options={"verify_signature": False})
    monkeypatch.setattr(portal_tokens, "AUDIENCE", claims["aud"])

    with pytest.raises(pyjwt.MissingRequiredClaimError):
        portal_tokens.check(unlisted)


def test_python_sees_the_early_end_when_it_reads_the_list_again(portal_tokens, running):
    token_id, token = running.ends["Python"]
    portal_tokens.check(token)
    expire(running, token_id)

    def is_refused():
        portal_tokens._lists.clear()
        try:
            portal_tokens.check(token)
        except pyjwt.InvalidTokenError as error:
            return str(error) == "The token was ended early."

    eventually(is_refused)
    portal_tokens.check(running.tokens["registry"])


def test_python_uses_the_old_list_until_it_expires_if_the_portal_is_away(portal_tokens, running, monkeypatch):
    portal_tokens.check(running.tokens["registry"])
    [(uri, (_, expires, bits))] = portal_tokens._lists.items()
    monkeypatch.setattr(portal_tokens.urllib.request, "urlopen", unreachable)

    portal_tokens._lists[uri] = (0.0, expires, bits)
    portal_tokens.check(running.tokens["registry"])
    portal_tokens._lists[uri] = (0.0, 0.0, bits)

    with pytest.raises(pyjwt.PyJWTError):
        portal_tokens.check(running.tokens["registry"])


def unreachable(*args, **options):
    raise OSError


def test_python_reports_a_use_that_is_in_the_log(portal_tokens, running):
    claims = portal_tokens.check(running.tokens["registry"])
    use = {
        "id": str(uuid.uuid4()),
        "token_id": claims["jti"],
        "at": datetime.now(UTC).isoformat(),
        "method": "GET",
        "path": "/v2/images?n=1",
        "status": 200,
        "ip": "203.0.113.7",
        "user_agent": "curl/8",
    }
    portal_tokens.report([use])
    portal_tokens.report([use])

    with closing(running.portal.connect()) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT request_id, target, ip, reason FROM auditlog_tokenuse WHERE reported_at IS NOT NULL")
        [(request_id, *others)] = cursor.fetchall()
    assert str(uuid.UUID(str(request_id))) == use["id"]
    assert [*map(str, others)] == ["/v2/images", "203.0.113.7", "ok"]


@pytest.mark.parametrize(
    ("scope", "header", "status"),
    [
        ("service:registry:read", "Bearer registry", 200),
        ("service:registry:read", "bearer registry", 200),
        ("service:registry:write", "Bearer registry", 403),
        ("service:registry:read", "Bearer mirror", 401),
        ("service:registry:read", "Basic registry", 401),
        ("service:registry:read", "registry", 401),
        ("service:registry:read", "", 401),
    ],
)
@pytest.mark.parametrize("framework", ["django", "fastapi"])
def test_python_frameworks_let_good_tokens_with_the_scope_through(samples, running, framework, scope, header, status):
    scheme, _, name = header.rpartition(" ")
    headers = {"Authorization": f"{scheme} {running.tokens[name]}".strip()} if header else {}

    answer = ASK[framework](samples, scope, headers)

    assert answer.status_code == status
    assert status == 200 or answer.headers["WWW-Authenticate"].startswith("Bearer")


def ask_django(samples, scope, headers):
    module = samples("portal_django")
    view = module.needs(scope)(lambda request: module.HttpResponse())
    return view(RequestFactory().get("/", headers=headers))


def ask_fastapi(samples, scope, headers):
    client = pytest.importorskip("fastapi.testclient", reason="FastAPI is not installed: pip install fastapi")
    module = samples("portal_fastapi")
    module.app.add_api_route("/", lambda: "", dependencies=[module.needs(scope)])
    answer = client.TestClient(module.app).get("/", headers=headers)
    module.app.router.routes.pop()
    return answer


ASK = {"django": ask_django, "fastapi": ask_fastapi}


def test_fastapi_compiles(running):
    """Also where FastAPI is not installed."""
    compile(running.recipes["fastapi"], "fastapi", "exec")


# JavaScript

ASK_EXPRESS = """
import { readFileSync } from "node:fs";
import { needs } from "./portal.mjs";

async function status(scope, header) {
  const response = { set: () => response, sendStatus: (code) => { response.code = code; } };
  const request = { get: () => header };
  await needs(scope)(request, response, () => { response.code = request.token.sub; });
  return response.code;
}
const asked = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(await Promise.all(asked.map(([scope, header]) => status(scope, header)))));
"""


@pytest.fixture(scope="module")
def express(running, tmp_path_factory):
    """Asks the middleware in a new process, without Express: it needs only the request and the response."""
    if shutil.which("node") is None or not (CLIENTS / "node_modules" / "jose").exists():
        pytest.skip("jose needs node and npm; make test installs it where they are")
    folder = tmp_path_factory.mktemp("express")
    (folder / "node_modules").symlink_to(CLIENTS / "node_modules")
    (folder / "portal.mjs").write_text(running.recipes["express"].replace('import express from "express";\n', ""))
    (folder / "ask.mjs").write_text(ASK_EXPRESS)

    def ask(*asked):
        done = subprocess.run(
            ["node", folder / "ask.mjs"], input=json.dumps(asked), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return ask


def test_express_lets_good_tokens_with_the_scope_through(express, running):
    good, read = running.tokens["registry"], "service:registry:read"
    refused = [[read, f"Bearer {sent(running, name)}"] for name in WRONG]

    answers = express(
        [read, f"Bearer {good}"],
        [read, f"bearer {good}"],
        ["service:registry:write", f"Bearer {good}"],
        [read, f"Basic {good}"],
        [read, good],
        [read, None],
        *refused,
    )

    assert answers == [running.owner, running.owner, 403, 401, 401, 401, *[401] * len(refused)]


def test_express_sees_the_early_end_in_the_list(express, running):
    token_id, token = running.ends["Express"]
    asked = ["service:registry:read", f"Bearer {token}"]
    assert express(asked) == [running.owner]
    expire(running, token_id)

    eventually(lambda: express(asked) == [401])


# Programs


def test_curl_learns_whose_token_it_is(running):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    good = {"PORTAL_SECRET": running.secrets["apache"], "TOKEN": running.tokens["apache"]}

    assert curl(running, good)["username"] == "user@demo.example"
    assert curl(running, good | {"TOKEN": running.tokens["reads"]}) == {"active": False}
    assert curl(running, good | {"PORTAL_SECRET": "wrong"})["error"] == "invalid_client"


def curl(running, variables):
    environment = os.environ | variables
    done = subprocess.run(
        ["sh", "-c", running.recipes["curl"]], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_go_compiles(running, tmp_path):
    if shutil.which("go") is None:
        pytest.skip("Go is not installed")
    (tmp_path / "main.go").write_text(running.recipes["go"])
    (tmp_path / "go.mod").write_text("module service\n\ngo 1.22\n")
    done = subprocess.run(["go", "vet", "./..."], cwd=tmp_path, capture_output=True, text=True, timeout=300)

    assert done.returncode == 0, done.stderr


# All of them


@pytest.fixture(params=SERVICES)
def service(request):
    return ServiceFactory.build(**SERVICES[request.param])


def test_recipes_have_the_values_of_the_service(service):
    texts = {recipe.id: recipe.text(service) for recipe in RECIPES}

    assert [name for name, text in texts.items() if re.search(r"\{\{|\{%|&(amp|quot|lt|gt|#\w+);", text)] == []
    # These two use the module `python`.
    assert [name for name, text in texts.items() if str(service.pk) not in text] == ["fastapi", "django"]


def test_yaml_has_the_addresses_of_this_installation(service):
    values = values_of(service)
    address, hostname, slug = f"{settings.PORTAL_URL}/auth/verify/{service.pk}", values["hostname"], service.slug
    ingress, traefik, envoy, spring = (read(name, service) for name in ("ingress", "traefik", "envoy", "spring"))

    assert ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/auth-url"] == address
    [rule] = ingress["spec"]["rules"]
    assert (rule["host"], ingress["metadata"]["name"]) == (hostname, slug)
    assert rule["http"]["paths"][0]["backend"]["service"]["name"] == slug
    http = traefik["http"]
    assert http["middlewares"]["opsera-portal"]["forwardAuth"]["address"] == address
    assert http["routers"][slug]["rule"] == f"Host(`{hostname}`)"
    assert http["routers"][slug]["service"] in http["services"]
    assert {*http["routers"][slug]["middlewares"]} == {*http["middlewares"]}
    check = envoy["http_filters"][0]["typed_config"]["http_service"]
    assert check["server_uri"]["uri"] + check["path_prefix"] == address
    assert (
        spring["spring"]["security"]["oauth2"]["resourceserver"]["opaquetoken"]["introspection-uri"]
        == values["introspection_url"]
    )


def read(name, service):
    [recipe] = [recipe for recipe in RECIPES if recipe.id == name]
    return yaml.safe_load(recipe.text(service))
