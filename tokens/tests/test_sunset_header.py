"""Every answer to a genuine token has a header with the token's expiry (RFC 8594)."""

from datetime import timedelta
from email.utils import parsedate_to_datetime

import pytest
import time_machine
from django.db import OperationalError
from django.utils import timezone
from rest_framework.test import APIClient

from auditlog import journal
from core.api import sunset, throttling
from tokens.tests.factories import TokenFactory, bearer

pytestmark = pytest.mark.django_db
ME = "/api/v1/me"


def end_told_by(answer):
    return parsedate_to_datetime(answer.headers["Sunset"])


def test_answer_says_when_the_token_expires_and_links_to_it(api, owner):
    token = TokenFactory(owner=owner)

    answer = api.get(ME, headers=bearer(token))

    assert answer.status_code == 200
    assert end_told_by(answer) == token.expires_at
    assert answer.headers["Sunset"].endswith(" GMT")
    page = f"http://127.0.0.1:8000/profile/tokens/{token.pk}/"
    assert answer.headers["Link"] == f'<{page}>; rel="sunset"; type="text/html"'


@pytest.mark.parametrize(
    ("method", "path", "scope", "status"),
    [
        ("GET", "/api/v1/nothing", "api", 404),
        ("GET", "/api/v1/organization/tokens", "api", 403),
        ("GET", ME, "unknown", 200),
        ("GET", "/api/v1/tokens", "pipeline", 403),
        ("GET", "/api/v1/tokens?x=1", "api", 400),
        ("PUT", ME, "api", 405),
        ("POST", "/api/v1/tokens", "api", 403),
        ("GET", "/api/v1/me/authentication-log/export", "api", 200),
    ],
)
def test_refusal_has_the_header(api, owner, method, path, scope, status):
    token = TokenFactory(owner=owner, scope=scope)

    answer = api.generic(method, path, headers=bearer(token))

    assert answer.status_code == status
    assert end_told_by(answer) == token.expires_at


def test_answer_without_a_view_has_the_header(api, owner):
    token = TokenFactory(owner=owner)

    answer = api.get(ME, headers=bearer(token) | {"Host": "evil.example"})

    assert answer.status_code == 400
    assert end_told_by(answer) == token.expires_at


def test_answer_without_a_log_entry_has_the_header(api, owner, monkeypatch):
    def no_disk(*args, **kwargs):
        raise OperationalError("disk full")

    token = TokenFactory(owner=owner)
    headers = bearer(token)
    monkeypatch.setattr(journal, "_insert", no_disk)

    answer = api.get(ME, headers=headers)

    assert answer.status_code == 503
    assert end_told_by(answer) == token.expires_at


def test_expired_token_gets_the_time_of_its_expiry(api, owner):
    token = TokenFactory(owner=owner)
    headers = bearer(token)

    with time_machine.travel(token.expires_at + timedelta(days=3), tick=False):
        answer = api.get(ME, headers=headers)

    assert answer.status_code == 401
    assert end_told_by(answer) == token.expires_at


def test_token_expired_early_gets_the_time_of_its_early_end(api, owner):
    revoked_at = timezone.now().replace(microsecond=0)
    token = TokenFactory(owner=owner, revoked_at=revoked_at)

    assert end_told_by(api.get(ME, headers=bearer(token))) == revoked_at


def test_token_that_expires_itself_gets_the_current_time(api, owner):
    token = TokenFactory(owner=owner)
    headers = bearer(token)

    answer = api.post("/api/v1/tokens/current/expire", {}, headers=headers)

    token.refresh_from_db()
    assert answer.status_code == 200
    assert end_told_by(answer) == token.revoked_at.replace(microsecond=0)


def test_forged_token_and_session_do_not_get_the_header(api, owner):
    headers = bearer(TokenFactory(owner=owner))
    headers["Authorization"] = headers["Authorization"][:-4] + "AAAA"
    signed_in = APIClient()
    signed_in.force_login(owner)

    for answer in (api.get(ME, headers=headers), api.get(ME), signed_in.get(ME)):
        assert not {"Sunset", "Link"} & set(answer.headers)


def test_api_reference_describes_the_headers(client):
    schema = client.get("/api/schema/").json()

    operation = schema["paths"]["/api/v1/me"]["get"]
    for status in ("200", "401", "403"):
        assert operation["responses"][status]["headers"].keys() >= sunset.HEADERS.keys()
    assert "headers" not in schema["paths"]["/api/v1/tokens"]["post"]["responses"]["201"]
    assert schema["components"]["headers"].keys() == sunset.HEADERS.keys() | throttling.HEADERS.keys()
