"""CORS: scripts of listed origins can use the API with a token, but never with a cookie."""

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.middleware.csrf import get_token
from django.test import Client, RequestFactory
from rest_framework.test import APIClient

from auditlog.models import TokenUse
from core import setting_readers
from core.setting_readers import Rate
from pipelines.models import Pipeline
from tokens.tests.factories import TokenFactory, bearer

ME = "/api/v1/me"
SITE = "https://app.example.com"
PREFLIGHT = {
    "Origin": SITE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
}

pytestmark = pytest.mark.django_db


@pytest.fixture
def listed(settings):
    settings.CORS_ALLOWED_ORIGINS = (SITE, "http://localhost:3000")


def cors_headers(answer):
    return {name.lower(): value for name, value in answer.headers.items() if name.lower().startswith("access-control")}


def words(header):
    return {word.strip().lower() for word in header.split(",")}


def test_no_origin_is_listed_by_default(api, owner):
    answer = api.get(ME, headers=bearer(TokenFactory(owner=owner)) | {"Origin": SITE})

    assert answer.status_code == 200
    assert cors_headers(answer) == {}
    assert "origin" not in answer.headers.get("Vary", "").lower()
    assert cors_headers(api.options(ME, headers=PREFLIGHT)) == {}


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize("path", [ME, "/api/v1/pipeline/run", "/api/v1/nothing", "/api/v1"])
def test_preflight_of_a_listed_origin_is_answered_without_a_token(api, path):
    answer = api.options(path, headers=PREFLIGHT)

    assert answer.status_code in {200, 204}
    assert answer.content == b""
    assert answer.headers["Access-Control-Allow-Origin"] == SITE
    assert words(PREFLIGHT["Access-Control-Request-Headers"]) <= words(answer.headers["Access-Control-Allow-Headers"])
    assert {"get", "post", "put", "patch", "delete"} <= words(answer.headers["Access-Control-Allow-Methods"])
    assert "origin" in words(answer.headers["Vary"])
    assert "access-control-allow-credentials" not in cors_headers(answer)
    assert "X-Request-ID" in answer.headers
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.usefixtures("listed")
def test_preflight_over_tls_has_strict_transport_security(api, settings):
    settings.SECURE_HSTS_SECONDS = 60

    answer = api.options(ME, headers=PREFLIGHT, secure=True)

    assert answer.headers["Strict-Transport-Security"].startswith("max-age=60")


@pytest.mark.usefixtures("listed")
def test_listed_origin_can_use_a_token_and_read_the_headers_of_the_answer(api, owner, settings):
    settings.API_LIMIT_TOKEN = Rate(10, 60)
    answer = api.get(ME, headers=bearer(TokenFactory(owner=owner)) | {"Origin": SITE})

    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, SITE)
    exposed = words(answer.headers["Access-Control-Expose-Headers"])
    assert {"ratelimit", "ratelimit-policy", "retry-after", "sunset", "link", "x-request-id"} <= exposed
    assert {"idempotency-replayed", "www-authenticate"} <= exposed
    assert "RateLimit" in answer.headers
    assert "origin" in words(answer.headers["Vary"])
    assert "access-control-allow-credentials" not in cors_headers(answer)
    assert TokenUse.objects.count() == 1


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/api/v1/nothing", {}, 404),
        ("PUT", ME, {}, 405),
        ("GET", "/api/v1/organization/tokens", {}, 403),
        ("GET", ME, {"Authorization": "Bearer junk"}, 401),
        ("GET", ME, {"Host": "evil.example"}, 400),
        ("GET", f"{ME}?{'x' * 9000}", {}, 400),
    ],
)
def test_script_of_a_listed_origin_can_read_errors(api, owner, method, path, headers, status):
    headers = bearer(TokenFactory(owner=owner)) | {"Origin": SITE} | headers

    answer = api.generic(method, path, headers=headers)

    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (status, SITE)


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example.com.evil.example",
        "https://evil.example",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com/",
        "https://app.example.com/path",
        "https://sub.app.example.com",
        "https://APP.example.com",
        f"{SITE}, {SITE}",
        "null",
        "*",
        "",
        "https://[",
    ],
)
def test_other_origin_is_not_allowed(api, owner, origin):
    headers = bearer(TokenFactory(owner=owner)) | {"Origin": origin}

    answers = [api.get(ME, headers=headers), api.options(ME, headers=PREFLIGHT | {"Origin": origin})]

    for answer in answers:
        assert cors_headers(answer) == {}
        assert "origin" in words(answer.headers["Vary"])
    assert answers[0].status_code == 200


@pytest.mark.usefixtures("listed")
def test_cookies_from_a_listed_origin_are_ignored(owner):
    browser = APIClient(enforce_csrf_checks=True)
    browser.force_login(owner)
    assert browser.get(ME).status_code == 200

    answer = browser.get(ME, headers={"Origin": SITE})

    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (401, SITE)
    assert not answer.cookies


@pytest.mark.usefixtures("listed")
def test_session_from_a_listed_origin_changes_nothing_even_with_a_csrf_token(owner):
    request = RequestFactory().get("/")
    secret = get_token(request)
    browser = APIClient(enforce_csrf_checks=True)
    browser.force_login(owner)
    browser.cookies["csrftoken"] = secret

    answer = browser.post(
        "/api/v1/pipelines", {"name": "From elsewhere"}, headers={"Origin": SITE, "X-CSRFToken": secret}
    )

    assert answer.status_code == 401
    assert not Pipeline.objects.exists()


@pytest.mark.usefixtures("listed")
def test_cookie_beside_a_token_is_ignored(owner, member):
    browser = APIClient()
    browser.force_login(member)

    answer = browser.get(ME, headers=bearer(TokenFactory(owner=owner)) | {"Origin": SITE})

    assert owner.email in answer.content.decode()
    assert member.email not in answer.content.decode()


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize("path", ["/", "/login/", "/healthz", "/api/schema/", "/api/docs/", "/api/v10"])
def test_pages_are_not_shared_with_other_sites(client, path):
    assert cors_headers(client.get(path, headers={"Origin": SITE})) == {}


@pytest.mark.usefixtures("listed")
def test_pages_of_the_portal_can_still_use_the_session(owner):
    browser = APIClient()
    browser.force_login(owner)

    assert browser.get(ME, headers={"Origin": "http://127.0.0.1:8000"}).status_code == 200


def test_public_keys_are_shared_with_every_site():
    answer = Client().get("/.well-known/jwks.json", headers={"Origin": "https://anywhere.example"})

    assert answer.headers["Access-Control-Allow-Origin"] == "*"


OWN = "https://portal.example.com"


@pytest.mark.parametrize(
    ("raw", "origins"),
    [
        ("", ()),
        (SITE, (SITE,)),
        (f"{SITE}, https://tools.example.com:8443", (SITE, "https://tools.example.com:8443")),
        (
            "http://localhost:3000,http://127.0.0.1,http://[::1]:5173",
            ("http://localhost:3000", "http://127.0.0.1", "http://[::1]:5173"),
        ),
        ("https://xn--bcher-kva.example", ("https://xn--bcher-kva.example",)),
    ],
)
def test_listed_origins_are_read(raw, origins):
    assert setting_readers.origins("CORS_ALLOWED_ORIGINS", raw, own=OWN) == origins


@pytest.mark.parametrize(
    "raw",
    [
        "*",
        "null",
        "app.example.com",
        "http://app.example.com",
        "ftp://app.example.com",
        "https://*.example.com",
        "https://app.example.com/",
        "https://app.example.com/path",
        "https://app.example.com?x",
        "https://user@app.example.com",
        "https://APP.example.com",
        "https://app.example.com:443",
        "https://app.example.com:0",
        "https://app.example.com:99999",
        "https://app.example.com:",
        "https://bücher.example",
        "https://app.example.com https://b.example",
        f"{SITE},",
        f",{SITE}",
        f"{SITE};https://b.example",
        "https://",
        "https://[::1",
        "https://a\nb",
        OWN,
    ],
)
def test_invalid_origin_prevents_startup_with_a_one_line_error(raw):
    with pytest.raises(ImproperlyConfigured) as stopped:
        setting_readers.origins("CORS_ALLOWED_ORIGINS", raw, own=OWN)

    assert str(stopped.value).startswith("CORS_ALLOWED_ORIGINS must ")
    assert "\n" not in str(stopped.value)
