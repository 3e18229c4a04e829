"""The fast path for requests with a token gives the same protection as the normal path."""

import pytest
from rest_framework.test import APIClient

from auditlog.models import TokenUse
from tokens.tests.factories import TokenFactory, bearer

pytestmark = pytest.mark.django_db
OF_THE_ANSWER = {"Content-Type", "Content-Length", "X-Request-ID", "Vary", "Content-Security-Policy"}
# Headers that protect only pages (`core/api/answer_headers.py`).
OF_PAGES = {
    "Cross-Origin-Embedder-Policy",
    "Cross-Origin-Opener-Policy",
    "Permissions-Policy",
    "Referrer-Policy",
    "X-Frame-Options",
}


@pytest.fixture
def headers(owner):
    return bearer(TokenFactory(owner=owner))


@pytest.mark.parametrize("path", ["/api/v1/me", "/api/v1/pipelines", "/api/v1/nothing"])
def test_fast_path_sends_the_same_protective_headers(api, owner, headers, path):
    by_token = api.get(path, headers=headers)
    signed_in = APIClient()
    signed_in.force_login(owner)
    by_session = signed_in.get(path)

    assert by_token.status_code == by_session.status_code
    expected = set(by_session.headers) - OF_PAGES
    assert expected - {"Vary"} <= set(by_token.headers)
    for name in expected - OF_THE_ANSWER:
        assert by_token.headers[name] == by_session.headers[name], name
    assert by_token.headers["Cache-Control"] == "no-store"
    assert by_token.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert int(by_token.headers["Content-Length"]) == len(by_token.content)


def test_fast_path_reads_no_session_and_sets_no_cookie(api, headers):
    answer = api.get("/api/v1/me", headers=headers | {"Cookie": "sessionid=x; csrftoken=y"})

    assert answer.status_code == 200
    assert not answer.cookies


def test_wrong_host_is_refused_and_logged(api, headers):
    answer = api.get("/api/v1/me", headers=headers | {"Host": "evil.example"})

    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert TokenUse.objects.get().status == 400


def test_too_large_body_is_refused_and_logged(api, headers):
    answer = api.generic("POST", "/api/v1/pipeline/run", b"x" * (256 * 1024 + 1), headers=headers)

    assert answer.status_code == 413
    assert answer.json()["code"] == "content_too_large"
    assert TokenUse.objects.get().status == 413


def test_error_in_the_portal_is_a_problem_document_and_logged(api, headers, monkeypatch):
    from tokens.api.views import MeViewSet

    def broken(self, request):
        raise ZeroDivisionError

    monkeypatch.setattr(MeViewSet, "retrieve", broken)
    api.raise_request_exception = False

    answer = api.get("/api/v1/me", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (500, "error")
    assert (TokenUse.objects.get().status, TokenUse.objects.get().reason) == (500, "error")


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html, */*;q=0.1", "application/*"])
def test_client_that_accepts_json_gets_json(api, headers, accept):
    assert api.get("/api/v1/me", headers=headers | {"Accept": accept}).status_code == 200


def test_client_that_does_not_accept_json_is_refused(api, headers):
    answer = api.get("/api/v1/me", headers=headers | {"Accept": "text/html"})

    assert answer.status_code == 406
    assert TokenUse.objects.get().status == 406
