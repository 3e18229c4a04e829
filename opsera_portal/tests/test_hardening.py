"""Proves statements of docs/security.md about code, templates, dependencies and settings that no other test proves."""

import ast
import base64
import logging
import re

import pytest
from django.apps import apps
from django.conf import settings
from django.test import Client
from django.test.utils import override_settings

from accounts.allauth_internals import generate_totp_secret
from accounts.models import User
from accounts.security import recovery_codes
from accounts.security.session_store import SessionStore
from accounts.tests.factories import PASSWORD, UserFactory
from opsera_portal import settings as portal_settings
from opsera_portal.tests.files import python_files_below
from opsera_portal.tests.test_headers import kinds_of_answer
from tokens.tests.factories import TokenFactory, bearer

APPS = ("accounts", "auditlog", "core", "opsera_portal", "pipelines", "tokens")


# What the code does not do

# They run text as code, create objects from bytes, use a shell or parse XML. Also broken hashes.
NEVER = {
    *("eval", "exec", "compile", "__import__"),
    *("pickle", "cPickle", "marshal", "shelve", "yaml", "os.system", "os.popen"),
    *("xml", "lxml", "ldap", "ldap3", "django.template.Template"),
    *("hashlib.md5", "hashlib.sha1", "md5", "sha1"),
}


def names_used(tree):
    """Yields names that are called, imported, or used through a module, as written."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name)) | ast.Attribute(value=ast.Name(), attr=name):
                yield name if isinstance(node, ast.Call) else f"{node.value.id}.{name}"
            case ast.Import(names=imported):
                yield from (alias.name.partition(".")[0] for alias in imported)
            case ast.ImportFrom(module=str(module), names=imported):
                yield module.partition(".")[0]
                yield from (f"{module}.{alias.name}" for alias in imported)
            case ast.keyword(arg="shell"):
                yield "shell="


def code():
    for path in python_files_below(*(settings.BASE_DIR / app for app in APPS)):
        if not {"tests", "migrations"} & set(path.parts):
            yield path


def test_code_uses_no_eval_pickle_shell_xml_or_broken_hash():
    found = {
        (str(path.relative_to(settings.BASE_DIR)), name)
        for path in code()
        for name in names_used(ast.parse(path.read_text()))
        if name in NEVER | {"shell="}
    }

    assert found == set()


@pytest.mark.parametrize(
    "text",
    [
        *("eval(x)", "import pickle", "from xml.etree import ElementTree", "os.system(x)", "hashlib.md5(x)"),
        "run(shell=True)",
    ],
)
def test_forbidden_code_would_be_found(text):
    assert set(names_used(ast.parse(text))) & (NEVER | {"shell="})


# The QR code for an authenticator app, which the portal draws from a quoted address.
UNESCAPED = {"templates/mfa/totp/activate_form.html": ["totp_svg|safe"]}


def test_only_one_template_switches_escaping_off():
    found = {}
    for path in sorted((settings.BASE_DIR / "templates").rglob("*.*")):
        if path.suffix == ".html" and (hits := re.findall(r"\w+\|safe\b|autoescape off", path.read_text())):
            found[str(path.relative_to(settings.BASE_DIR))] = hits
    assert found == UNESCAPED


def test_no_code_marks_text_as_safe():
    assert [str(path) for path in code() if re.search(r"\bmark_safe\b|\.safe\b", path.read_text())] == []


@pytest.mark.parametrize(
    "word",
    [
        *("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"),
        *("localStorage", "sessionStorage", "indexedDB", "document.cookie", "postMessage", "__proto__"),
    ],
)
def test_no_script_writes_html_stores_data_or_receives_messages(word):
    scripts = sorted([*settings.BASE_DIR.glob("static/js/*.js"), *settings.BASE_DIR.glob("assets/js/*.js")])

    assert len(scripts) > 5
    assert [script.name for script in scripts if word in script.read_text()] == []


# Dependencies, and what is installed


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_dependency_has_a_pinned_version_and_digests(name):
    text = (settings.BASE_DIR / name).read_text().replace("\\\n", " ")
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    packages = [line for line in lines if line]

    assert len(packages) > 50
    assert [line for line in packages if not re.match(r"[\w.\[\],-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line)] == []


def test_requirements_name_no_other_package_index():
    for path in settings.BASE_DIR.glob("requirements*"):
        assert not re.search(r"index-url|find-links|git\+|https?://", path.read_text()), path


def test_packages_for_tests_and_development_are_not_installed():
    installed = (settings.BASE_DIR / "requirements.txt").read_text()

    for package in ("pytest", "playwright", "factory-boy", "schemathesis", "django-debug-toolbar", "mypy"):
        assert f"\n{package}==" not in f"\n{installed}"
    assert not any(re.search("debug|silk|extensions", app.name) for app in apps.get_app_configs())


def test_debug_is_always_off():
    source = (settings.BASE_DIR / "opsera_portal" / "settings.py").read_text()

    assert re.findall(r"^ *DEBUG\b.*$", source, re.MULTILINE) == ["DEBUG = False"]
    assert portal_settings.DEBUG is False


# What is served


@pytest.mark.parametrize("service", ["web", "worker"])
def test_service_cannot_see_the_git_history(service):
    unit = (settings.BASE_DIR / "deploy" / "systemd" / f"opsera-portal-{service}.service").read_text()

    assert "\nInaccessiblePaths=-/opt/opsera-portal/.git\n" in unit


@pytest.mark.parametrize(
    "address",
    [
        *("/.git/config", "/static/../.git/config", "/static/%2e%2e/.git/config", "/.svn/entries"),
        *("/static/", "/static/css/", "/static/js", "/templates/", "/var/", "/portal.env", "/static/../manage.py"),
    ],
)
def test_history_code_and_directory_listings_are_not_served(client, db, address):
    assert client.get(address).status_code == 404


def test_every_text_response_names_its_encoding(client, api, administrator):
    answers = dict(kinds_of_answer(client, api, administrator))
    answers |= {path: client.get(path) for path in ("/readyz", "/robots.txt", "/profile/activity-log/export/")}
    with override_settings(SECURITY_CONTACT="mailto:security@example.com"):
        answers["security.txt"] = client.get("/.well-known/security.txt")

    kinds = {kind: answer.headers.get("Content-Type", "") for kind, answer in answers.items() if has_body(answer)}

    assert len(kinds) > 15
    assert [said for said in kinds.values() if not re.match(r"text/\S+; charset=utf-8|application/", said)] == []


def has_body(answer):
    return answer.streaming or bool(answer.content)


@pytest.mark.parametrize("address", ["/login/", "/profile/", "/healthz", "/api/v1/me", "/api/schema/", "/admin/"])
def test_answer_to_trace_does_not_repeat_the_request(client, administrator, address):
    client.force_login(administrator)

    answer = client.generic("TRACE", address, headers={"X-Marker": "repeated"})

    assert "repeated" not in answer.content.decode()
    assert "sessionid" not in answer.content.decode()


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_other_sites_cannot_read_answers(client, api, administrator, origin):
    headers = {"Origin": origin, "Access-Control-Request-Method": "GET"}
    token = bearer(TokenFactory(owner=administrator))
    client.force_login(administrator)

    for answer in (
        client.get("/profile/tokens/", headers=headers),
        client.get("/api/v1/me", headers=headers),
        api.get("/api/v1/me", headers=headers | token),
        api.options("/api/v1/me", headers=headers),
    ):
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


# Accounts and sessions


def test_new_installation_has_no_accounts(db):
    assert not User.objects.exists()


@pytest.mark.parametrize(
    "typed",
    [" Long enough, with spaces ", "long enough, with spaces", "LONG ENOUGH, WITH SPACES", "Long enough, with space"],
)
def test_password_is_compared_exactly_as_typed(client, db, typed):
    user = UserFactory()
    user.set_password("Long enough, with spaces")
    user.save()

    client.post("/login/", {"login": user.email, "password": typed})

    assert client.get("/profile/").status_code == 302


@pytest.mark.parametrize("page", ["/login/", "/login/again/", "/profile/security/password/", "/admin/login/"])
def test_password_fields_hide_their_text(client, owner, page):
    if page not in {"/login/", "/admin/login/"}:
        client.post("/login/", {"login": owner.email, "password": PASSWORD})

    fields = re.findall(r"<input\b[^>]*password[^>]*>", client.get(page, follow=True).content.decode())

    assert fields
    assert [field for field in fields if 'type="password"' not in field] == []


def test_spaces_at_the_ends_of_a_password_count(client, db):
    user = UserFactory()
    user.set_password(" Long enough, with spaces ")
    user.save()

    client.post("/login/", {"login": user.email, "password": " Long enough, with spaces "})

    assert client.get("/profile/").status_code == 200


def test_session_key_cannot_be_guessed(db):
    first, second = SessionStore(), SessionStore()
    first.create()
    second.create()

    # 32 of 36 characters: 165 bits.
    assert re.fullmatch("[a-z0-9]{32}", first.session_key)
    assert first.session_key != second.session_key


def test_seeds_and_recovery_codes_cannot_be_guessed():
    seeds = {generate_totp_secret() for _ in range(100)}
    codes = {code for _ in range(100) for code in recovery_codes.create_codes()}

    # 160 bits for a seed. 49 bits for a code: its first digit only says which of the ten codes it is.
    assert {len(base64.b32decode(seed)) for seed in seeds} == {20}
    assert {len(code) for code in codes} == {16}
    assert (len(seeds), len({code[1:] for code in codes})) == (100, 1000)


def test_new_secret_key_ends_every_session(client, owner):
    client.post("/login/", {"login": owner.email, "password": PASSWORD})
    assert client.get("/profile/").status_code == 200

    with override_settings(SECRET_KEY="another-one-" * 5):
        assert client.get("/profile/").status_code == 302


def test_sign_in_with_two_browsers_creates_two_sessions(owner):
    browsers = [Client(), Client()]
    for browser in browsers:
        browser.post("/login/", {"login": owner.email, "password": PASSWORD})

    assert [browser.get("/profile/").status_code for browser in browsers] == [200, 200]


# The server's own log


def test_line_of_the_server_log_has_its_time_in_utc():
    wanted = portal_settings.LOGGING["formatters"]["line"]
    formatter = logging.Formatter(wanted["format"], wanted["datefmt"])
    record = logging.LogRecord("tokens", logging.WARNING, "", 0, "text", None, None)
    record.created, record.msecs = 0.25, 250.0

    assert formatter.format(record) == "1970-01-01T00:00:00.250Z WARNING tokens: text"
