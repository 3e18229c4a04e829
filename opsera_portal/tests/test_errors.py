"""The API's errors (docs/product.md#errors), and their entries in the owner's log."""

import base64
import json
import unicodedata
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, ClassVar
from urllib.parse import quote

import pytest
from django.conf import settings as portal_settings
from django.db import connection
from django.test import Client
from django.urls import include, path
from django.utils import timezone
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.test import APIClient

from accounts.roles import SiteRole
from auditlog.models import TokenUse
from core.api import problems
from core.api.audiences import metadata_url
from core.api.operations import READ_API, Operation
from core.api.views import ApiViewSet
from opsera_portal.tests.naughty import NAUGHTY_STRINGS, ONE_OF_EACH_KIND
from opsera_portal.wsgi import application
from pipelines.models import Run, RunLogLine
from pipelines.tests.factories import PipelineFactory, RunFactory, StepFactory
from tokens.models import Token
from tokens.tests.factories import TokenFactory, bearer

ME = "/api/v1/me"
TOKENS = "/api/v1/tokens"
PIPELINES = "/api/v1/pipelines"
STATUS = "/api/v1/pipeline/status"
RUN = "/api/v1/pipeline/run"
LOG = "/api/v1/logs/user/tokens"

NOBODYS_ID = "6f1e4ad0-0000-4000-8000-000000000000"
KEYS = {"type", "title", "status", "detail", "code", "request_id"}
TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    409: "Conflict",
    412: "Precondition Failed",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}

too_large = b'{"pipelineId": "%s"}' % (b"x" * 256 * 1024)
about_nobody = json.dumps({"pipelineId": NOBODYS_ID}).encode()

# Requests with the owner's token (scope `api`), and their results: the answer's status and code, and the
# reason in the log. The rows follow docs/product.md#errors.
CASES = {
    "malformed JSON": (("POST", STATUS, b'{"pipelineId": '), 400, "invalid_request", "invalid_request"),
    "no body": (("POST", STATUS, b""), 400, "invalid_request", "invalid_request"),
    "a missing field": (("POST", STATUS, b"{}"), 400, "invalid_request", "invalid_request"),
    "a wrong field": (("POST", STATUS, b'{"pipelineId": "first"}'), 400, "invalid_request", "invalid_request"),
    "an unknown field": (
        ("POST", STATUS, about_nobody[:-1] + b', "force": true}'),
        400,
        "invalid_request",
        "invalid_request",
    ),
    "an unknown query parameter": (("GET", PIPELINES + "?color=red"), 400, "invalid_request", "invalid_request"),
    "a query parameter where there are none": (("GET", ME + "?q=x"), 400, "invalid_request", "invalid_request"),
    "a query parameter beside a body": (
        ("POST", STATUS + "?runCount=1", about_nobody),
        400,
        "invalid_request",
        "invalid_request",
    ),
    "a query parameter twice": (("GET", PIPELINES + "?q=a&q=b"), 400, "invalid_request", "invalid_request"),
    "a cursor of no list": (("GET", PIPELINES + "?cursor=x"), 400, "invalid_request", "invalid_request"),
    "what no token may do": (("POST", TOKENS, b"{}"), 403, "forbidden", "forbidden"),
    "what the role does not open": (("GET", LOG), 403, "forbidden", "forbidden"),
    "an object that does not exist": (("POST", STATUS, about_nobody), 403, "forbidden", "forbidden"),
    "a token that does not exist": (("GET", f"{TOKENS}/{NOBODYS_ID}"), 403, "forbidden", "forbidden"),
    "an unknown route": (("GET", "/api/v1/nothing"), 404, "not_found", "not_found"),
    "an unknown route, with a body": (("POST", "/api/v1/nothing", b"{}"), 404, "not_found", "not_found"),
    "the API's own address": (("GET", "/api/v1"), 404, "not_found", "not_found"),
    "a slash at the end of an unknown route": (("GET", "/api/v1/nothing/"), 404, "not_found", "not_found"),
    "an id that is none": (("GET", TOKENS + "/first"), 404, "not_found", "not_found"),
    "a method that the route has not": (("DELETE", ME), 405, "method_not_allowed", "invalid_request"),
    "OPTIONS of an unknown route": (("OPTIONS", "/api/v1/nothing"), 404, "not_found", "not_found"),
    "a method that nobody knows": (("BREW", ME), 405, "method_not_allowed", "invalid_request"),
    "another representation": (("GET", ME, b"", {"Accept": "text/html"}), 406, "not_acceptable", "invalid_request"),
    "an Accept that cannot be read": (
        ("GET", ME, b"", {"Accept": "application/json; a*=none'x'y"}),
        406,
        "not_acceptable",
        "invalid_request",
    ),
    "a body over 256 KiB": (("POST", STATUS, too_large), 413, "content_too_large", "invalid_request"),
    "another media type": (
        ("POST", STATUS, b"pipelineId=1", {"Content-Type": "application/x-www-form-urlencoded"}),
        415,
        "unsupported_media_type",
        "invalid_request",
    ),
    "a body without a media type": (
        ("POST", STATUS, about_nobody, {"Content-Type": ""}),
        415,
        "unsupported_media_type",
        "invalid_request",
    ),
}


def send(client, method, address, body=b"", headers=None):
    headers = {"Content-Type": "application/json", **(headers or {})}
    return client.generic(method, address, body, content_type=headers.pop("Content-Type"), headers=headers)


def assert_problem(answer, status, code):
    """Checks what all errors of the API have in common, and returns the document."""
    document = answer.json()
    assert (answer.status_code, document["status"], document["code"]) == (status, status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert document.keys() - {"errors"} == KEYS
    assert (document["type"], document["title"]) == ("about:blank", TITLES[status])
    assert document["detail"]
    assert document["request_id"] == answer.headers["X-Request-ID"]
    assert "Traceback" not in answer.content.decode()
    return document


def entry_of(answer):
    return TokenUse.objects.get(request_id=answer.headers["X-Request-ID"])


@pytest.fixture
def headers(owner):
    return bearer(TokenFactory(owner=owner))


@pytest.fixture
def patient_api():
    """A client that returns the portal's 500 answer instead of raising the exception."""
    return APIClient(raise_request_exception=False)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_error_is_a_problem_document(api, headers, case):
    request, status, code, _ = case
    api.credentials(HTTP_AUTHORIZATION=headers["Authorization"])

    assert_problem(send(api, *request), status, code)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_error_is_in_the_owners_log(api, owner, headers, case):
    request, status, _, reason = case
    api.credentials(HTTP_AUTHORIZATION=headers["Authorization"])

    entry = entry_of(send(api, *request))

    assert (entry.owner, entry.status, entry.outcome, entry.reason) == (owner, status, "refused", reason)
    assert (entry.method, entry.target) == (request[0], request[1].partition("?")[0])


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_request_without_a_genuine_token_is_not_logged(api, db, case):
    answer = send(api, *case[0])

    assert_problem(answer, answer.status_code, answer.json()["code"])
    assert not TokenUse.objects.exists()


# 400: the fields


@pytest.mark.parametrize(
    ("address", "body", "errors"),
    [
        (STATUS, {}, {"pipelineId": ["This field is required."]}),
        (STATUS, {"pipelineId": None}, {"pipelineId": ["This field may not be null."]}),
        (STATUS, {"pipelineId": "x"}, {"pipelineId": ["Must be a valid UUID."]}),
        (STATUS, {"pipelineId": NOBODYS_ID, "a": 1}, {"a": ["This field does not exist."]}),
        (
            STATUS,
            {"runCount": 0, "PipelineID": NOBODYS_ID},
            {
                "pipelineId": ["This field is required."],
                "runCount": ["Ensure this value is greater than or equal to 1."],
                "PipelineID": ["This field does not exist."],
            },
        ),
    ],
)
def test_each_invalid_field_is_named_with_its_reason(api, headers, address, body, errors):
    answer = api.post(address, body, headers=headers)

    assert assert_problem(answer, 400, "invalid_request")["errors"] == errors


def test_invalid_fields_in_a_list_are_named_by_position(api, owner):
    api.force_login(owner)

    answer = api.post(TOKENS, {"name": "nightly", "scopes": ["api", "registry"]})

    assert list(assert_problem(answer, 400, "invalid_request")["errors"]) == ["scopes.1"]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (PIPELINES + "?color=red", "color"),
        (PIPELINES + "?q=a&q=b", "q"),
        (PIPELINES + "?page_size=0", "page_size"),
        (PIPELINES + "?page_size=1001", "page_size"),
        (PIPELINES + "?q=%00", "q"),
        (PIPELINES + "?cursor=x", "cursor"),
        (TOKENS + "?state=alive", "state"),
        (TOKENS + "/current?x=1", "x"),
        (TOKENS + f"/{NOBODYS_ID}?x=1", "x"),
        (LOG + "?date=yesterday", "date"),
        # The page's filter can't read this form of ISO 8601. Ignoring it would show all days.
        (LOG + "?date=20261123", "date"),
        (LOG + "?date=2026-11-23&date_to=2026-11-22", "date_to"),
        (LOG + "?token_id=first", "token_id"),
        (LOG + "?ip=localhost", "ip"),
        (LOG + "?count=1001", "count"),
    ],
)
def test_wrong_query_parameters_are_named(api, administrator, address, name):
    answer = api.get(address, headers=bearer(TokenFactory(owner=administrator)))

    assert list(assert_problem(answer, 400, "invalid_request")["errors"]) == [name]


def test_list_filtered_by_a_long_owner_name_is_empty(api, administrator):
    headers = bearer(TokenFactory(owner=administrator))

    answer = api.get(f"/api/v1/organization/tokens?owner={'x' * 254}", headers=headers)

    assert answer.json() == {"count": 0, "data": [], "next": None}


# 400: bodies that cannot be read

BAD_BODIES = {
    "a key twice": b'{"pipelineId": "%s", "pipelineId": "%s"}' % (NOBODYS_ID.encode(), NOBODYS_ID.encode()),
    "NaN": b'{"pipelineId": NaN}',
    "Infinity": b'{"pipelineId": "%s", "runCount": -Infinity}' % NOBODYS_ID.encode(),
    "a number beyond reason": b'{"pipelineId": "%s", "runCount": 1e999}' % NOBODYS_ID.encode(),
    "an integer of 400 digits": b'{"pipelineId": "%s", "runCount": %s}' % (NOBODYS_ID.encode(), b"9" * 400),
    "an integer of 5000 digits": b'{"pipelineId": "%s", "runCount": %s}' % (NOBODYS_ID.encode(), b"9" * 5000),
    "an integer where a UUID belongs": b'{"pipelineId": %s}' % (b"9" * 50),
    "an integer that the database cannot hold": b'{"pipelineId": "%s", "runCount": %d}' % (NOBODYS_ID.encode(), 2**31),
    "a hundred thousand brackets": b"[" * 100_000,
    "a hundred thousand brackets that close": b"[" * 100_000 + b"]" * 100_000,
    "a hundred thousand brackets in a field": b'{"pipelineId": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "twenty thousand nested objects": b'{"pipelineId":' * 12_000 + b"1" + b"}" * 12_000,
    "half of a surrogate pair": b'{"pipelineId": "\\ud800"}',
    "half of a surrogate pair as a key": b'{"\\udfff": 1}',
    "text that is not UTF-8": b'{"pipelineId": "\xff"}',
    "UTF-16": '{"pipelineId": "x"}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "an array": b"[]",
    "a text": b'"pipelineId"',
    "a number": b"1",
    "null": b"null",
    "NUL in a text": b'{"pipelineId": "\\u0000"}',
    "NUL as a key": b'{"\\u0000": 1}',
    "NUL as a byte": b'{"pipelineId": "\x00"}',
    "a list where a UUID belongs": b'{"pipelineId": ["%s"]}' % NOBODYS_ID.encode(),
    "an object where a UUID belongs": b'{"pipelineId": {"$ne": null}}',
    "a comment": b'{"pipelineId": 1 /* one */}',
    "a comma too many": b'{"pipelineId": "x",}',
    "two documents": b"{}{}",
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_bad_body_is_a_400(api, headers, body):
    answer = send(api, "POST", STATUS, body, headers)

    assert_problem(answer, 400, "invalid_request")


@pytest.mark.parametrize("field", ["name", "expires_at", "lifetime"])
@pytest.mark.parametrize("value", ["\x00", "a\x00b", [], {}, True, None, -1, 1e308, "x" * 10_000], ids=repr)
def test_a_bad_field_of_a_new_token_is_a_400(api, owner, field, value):
    api.force_login(owner)

    answer = api.post(TOKENS, {"name": "nightly", "scopes": ["api"], field: value})

    assert field in assert_problem(answer, 400, "invalid_request")["errors"]
    assert not Token.objects.exists()


# 401


def test_challenge_without_credentials_names_no_error(api, db):
    answer = api.get(ME)

    assert_problem(answer, 401, "not_authenticated")
    challenge = f'Bearer realm="Opsera Portal API", resource_metadata="{metadata_url(None)}"'
    assert answer.headers["WWW-Authenticate"] == challenge


ENDED = {
    "expired": {"created_at": timezone.now().replace(microsecond=0) - timedelta(days=40)},
    "revoked": {"revoked_at": timezone.now()},
    "not_revealed": {"revealed_at": None},
}


@pytest.mark.parametrize(("code", "metadata"), ENDED.items(), ids=ENDED)
def test_genuine_token_is_refused_with_the_reason(api, owner, code, metadata):
    answer = api.get(ME, headers=bearer(TokenFactory(owner=owner, **metadata)))

    document = assert_problem(answer, 401, code)
    challenge = f'Bearer realm="Opsera Portal API", error="invalid_token", error_description="{document["detail"]}"'
    assert answer.headers["WWW-Authenticate"] == f'{challenge}, resource_metadata="{metadata_url(None)}"'
    assert (entry_of(answer).status, entry_of(answer).reason) == (401, code)


def test_token_of_a_deactivated_person_is_refused_with_the_reason(api, owner, headers):
    owner.is_active = False
    owner.save()

    answer = api.get(ME, headers=headers)

    assert_problem(answer, 401, "owner_deactivated")
    assert entry_of(answer).reason == "owner_deactivated"


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer x.y.z",
        "Bearer " + "x" * 20_000,
        "Bearer",
        "Bearer a, Bearer b",
        "Bearer \x00",
        "Basic dXNlcjpwYXNz",
        "",
    ],
)
def test_invalid_token_is_refused_without_a_reason(api, db, authorization):
    answer = api.get(ME, headers={"Authorization": authorization})

    assert assert_problem(answer, 401, "invalid_token")["detail"] == "The token is not valid."
    assert 'error="invalid_token", error_description="The token is not valid."' in answer.headers["WWW-Authenticate"]
    assert not TokenUse.objects.exists()


@pytest.mark.parametrize("address", [ME, "/api/v1/nothing", PIPELINES + "?color=red"])
def test_no_answer_contains_the_token(api, headers, address):
    encoded = headers["Authorization"].removeprefix("Bearer ")

    answer = api.get(address, headers=headers)

    assert encoded not in answer.content.decode() + str(dict(answer.headers))


# 403


@pytest.mark.parametrize(
    ("method", "address", "sent"),
    [
        ("post", "/api/v1/tokens", lambda token: {"name": "n", "scopes": [token], "lifetime": "1w"}),
        ("post", "/api/v1/tokens", lambda token: {"name": "n", "scopes": ["api"], "lifetime": token}),
        ("post", "/api/v1/tokens", lambda token: {token: {token: token}}),
        ("patch", "/api/v1/organization/policy", lambda token: {"allowed_scopes": [f"Bearer {token}"]}),
        ("get", "/api/v1/tokens", lambda token: {"state": token}),
        ("get", "/api/v1/organization/tokens", lambda token: {"unused_for": token}),
    ],
)
def test_no_answer_repeats_a_token_that_was_sent_as_a_value(api, administrator, headers, method, address, sent):
    api.force_login(administrator)
    token = headers["Authorization"].removeprefix("Bearer ")

    answer = getattr(api, method)(address, sent(token))

    assert answer.status_code == 400
    assert "[token]" in answer.content.decode()
    assert not any(part in answer.content.decode() for part in token.split("."))


def test_a_missing_scope_is_named(api, owner):
    headers = bearer(TokenFactory(owner=owner, scope="security-logs"))

    answer = send(api, "POST", RUN, about_nobody, headers)

    assert_problem(answer, 403, "insufficient_scope")
    assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
    assert 'scope="api pipeline"' in answer.headers["WWW-Authenticate"]
    assert (entry_of(answer).status, entry_of(answer).reason) == (403, "insufficient_scope")


def test_guest_cannot_run_a_pipeline(api, owner, headers):
    owner.site_role = SiteRole.GUEST
    owner.save()

    answer = send(api, "POST", RUN, json.dumps({"pipelineId": str(PipelineFactory(owner=owner).pk)}), headers)

    assert_problem(answer, 403, "forbidden")
    assert (entry_of(answer).status, entry_of(answer).reason) == (403, "forbidden")


@pytest.mark.parametrize(
    ("method", "address"),
    [("GET", "/api/v1/tokens/{}"), ("GET", "/api/v1/tokens/{}/activity"), ("POST", "/api/v1/tokens/{}/expire")],
)
def test_unknown_token_and_another_persons_token_get_the_same_answer(api, member, headers, method, address):
    documents = []
    for token_id in (TokenFactory(owner=member).pk, NOBODYS_ID):
        answer = send(api, method, address.format(token_id), b"{}" if method == "POST" else b"", headers)
        documents.append(assert_problem(answer, 403, "forbidden") | {"request_id": None})

    assert documents[0] == documents[1]


def test_a_session_without_its_csrf_token_changes_nothing(owner):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(owner)

    answer = send(browser, "POST", TOKENS, b'{"name": "nightly", "scopes": ["api"]}')

    assert_problem(answer, 403, "forbidden")
    assert not Token.objects.exists()


# 405


@pytest.mark.parametrize(
    ("method", "address", "allowed"),
    [
        ("DELETE", ME, {"GET", "HEAD", "OPTIONS"}),
        ("GET", RUN, {"POST", "OPTIONS"}),
        ("PUT", TOKENS, {"GET", "HEAD", "POST", "OPTIONS"}),
    ],
)
def test_answer_to_a_wrong_method_lists_the_allowed_ones(api, headers, method, address, allowed):
    answer = send(api, method, address, b"", headers)

    assert_problem(answer, 405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) == allowed


# 409


def test_ended_token_cannot_be_expired_again(api, owner, headers):
    ended = TokenFactory(owner=owner, revoked_at=timezone.now())

    answer = api.post(f"{TOKENS}/{ended.pk}/expire", {}, headers=headers)

    assert_problem(answer, 409, "already_ended")
    assert (entry_of(answer).status, entry_of(answer).reason) == (409, "conflict")


def test_name_in_use_is_a_conflict(api, owner):
    TokenFactory(owner=owner, name="nightly")
    api.force_login(owner)

    answer = api.post(TOKENS, {"name": "Nightly", "scopes": ["api"]})

    assert_problem(answer, 409, "name_taken")


def test_run_that_cannot_start_gets_the_published_answer(api, owner, headers):
    pipeline = PipelineFactory(owner=owner)

    answer = api.post(RUN, {"pipelineId": str(pipeline.pk)}, headers=headers)

    assert answer.status_code == 409
    assert answer.json().keys() == {"status", "message"}
    assert answer.json()["status"] == "failed"
    assert (entry_of(answer).status, entry_of(answer).reason) == (409, "conflict")


# 412


def test_change_of_an_outdated_object_is_logged_as_a_conflict(api, owner, headers):
    pipeline = PipelineFactory(owner=owner)

    answer = api.patch(f"{PIPELINES}/{pipeline.pk}", {"description": "New"}, headers={**headers, "If-Match": '"old"'})

    assert_problem(answer, 412, "precondition_failed")
    assert (entry_of(answer).status, entry_of(answer).reason) == (412, "conflict")


# 413


def test_body_of_up_to_256_kib_is_accepted(api, headers):
    body = about_nobody.ljust(256 * 1024)

    assert send(api, "POST", STATUS, body, headers).status_code == 403
    assert send(api, "POST", STATUS, body + b" ", headers).status_code == 413


def test_a_body_that_is_too_large_is_refused_in_a_session(api, owner):
    api.force_login(owner)

    assert_problem(send(api, "POST", STATUS, too_large), 413, "content_too_large")


def test_too_large_body_is_refused_before_authentication(api, db):
    assert_problem(send(api, "POST", STATUS, too_large), 413, "content_too_large")


def test_pages_have_the_same_body_limit_as_the_api(client):
    answer = client.post("/login/", {"login": "x" * 300_000})

    assert answer.status_code == 413
    assert "256 KiB" in answer.content.decode()


def test_use_that_is_refused_before_any_view_is_logged(api, headers):
    answer = api.get(ME, headers=headers | {"Host": "elsewhere.example"})

    assert answer.status_code == 400
    assert (TokenUse.objects.get().status, TokenUse.objects.get().reason) == (400, "invalid_request")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_load_balancer_can_use_the_address_of_the_machine(client, db, path):
    assert client.get(path, headers={"Host": "10.1.2.3:8000"}).status_code == 200
    assert client.get("/login/", headers={"Host": "10.1.2.3:8000"}).status_code == 400


def test_token_without_tls_is_refused_and_logged_if_https_is_required(api, headers, settings):
    settings.SECURE_SSL_REDIRECT = True

    assert_problem(api.get(ME, headers=headers), 403, "forbidden")
    assert TokenUse.objects.get().reason == "forbidden"


def test_token_in_an_address_or_user_agent_is_not_stored(api, headers):
    encoded = headers["Authorization"].removeprefix("Bearer ")

    api.get(f"/api/v1/tokens/{encoded}", headers=headers | {"User-Agent": f"script {encoded}"})
    api.get(f"/api/v1/{'x' * 480}{encoded}", headers=headers)

    for use in TokenUse.objects.all():
        for segment in encoded.split("."):
            assert segment[:20] not in use.target + use.user_agent
    assert TokenUse.objects.last().target == "/api/v1/tokens/[token]"


# 415


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "multipart/form-data", "multipart/form-data; boundary=x", "application/xml", "x", "a" * 5000],
)
def test_only_json_is_read(api, headers, content_type):
    answer = send(api, "POST", STATUS, about_nobody, headers | {"Content-Type": content_type})

    assert_problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "content_type", ["application/json", "APPLICATION/JSON", "application/json; charset=utf-8", "application/json;"]
)
def test_json_is_read_with_any_spelling_of_its_media_type(api, headers, content_type):
    answer = send(api, "POST", STATUS, about_nobody, headers | {"Content-Type": content_type})

    assert_problem(answer, 403, "forbidden")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/x-www-form-urlencoded", b"name=nightly"),
        ("application/x-www-form-urlencoded; charset=utf-16", b"\xff"),
        ("multipart/form-data", b"--x"),
        ("multipart/form-data; boundary=\xff", b"--x\r\n\xff"),
    ],
    ids=["small", "in another encoding", "without a boundary", "broken"],
)
def test_form_body_is_refused_in_a_session(owner, content_type, body):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(owner)
    browser.cookies[portal_settings.CSRF_COOKIE_NAME] = "x" * 32

    assert_problem(send(browser, "POST", TOKENS, body, {"Content-Type": content_type}), 415, "unsupported_media_type")


@pytest.mark.django_db(transaction=True)
def test_media_type_in_an_unknown_encoding_is_415(rf, headers):
    """Django fails on it before it creates the request."""
    environ = rf.post(STATUS, about_nobody, content_type="application/json", headers=headers).environ
    environ["CONTENT_TYPE"] = "application/json; a*=none'x'y"
    answers = []

    body = b"".join(application(environ, lambda status, headers: answers.append(status)))

    assert answers == ["415 Unsupported Media Type"]
    assert json.loads(body)["code"] == "unsupported_media_type"


# 429: the test passes the exception to the handler directly


@pytest.mark.parametrize(("wait", "seconds"), [(12.3, "13"), (0.2, "1"), (None, None)])
def test_answer_to_too_many_requests_says_when_to_try_again(rf, wait, seconds):
    context = {"request": Request(rf.get(ME)), "view": None}

    answer = problems.exception_handler(Throttled(wait=wait), context)

    assert (answer.status_code, answer.data["code"], answer.data["title"]) == (429, "throttled", TITLES[429])
    assert answer.content_type == "application/problem+json"
    assert answer.headers.get("Retry-After") == seconds


# 500 and 503


class BrokenViewSet(ApiViewSet):
    operations: ClassVar[dict[str, Operation]] = {"retrieve": Operation("Break", READ_API, only_reads=True)}

    def retrieve(self, request: Any) -> None:
        raise RuntimeError("a secret of the portal")


urlpatterns = [
    path("api/v1/broken", BrokenViewSet.as_view({"get": "retrieve"})),
    path("", include("opsera_portal.urls")),
]
handler500 = "core.pages.errors.server_error"


@pytest.mark.urls(__name__)
def test_error_of_the_portal_reveals_nothing_and_is_logged(patient_api, headers):
    answer = patient_api.get("/api/v1/broken", headers=headers)

    assert_problem(answer, 500, "error")
    assert "secret" not in answer.content.decode()
    assert (entry_of(answer).status, entry_of(answer).reason) == (500, "error")


@contextmanager
def a_database_that_cannot_be_written():
    on, off = {
        "sqlite": ("PRAGMA query_only = ON", "PRAGMA query_only = OFF"),
        "postgresql": ("SET default_transaction_read_only = on", "SET default_transaction_read_only = off"),
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(on)
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(off)


@pytest.mark.django_db(transaction=True)
def test_read_request_is_503_if_it_cannot_be_logged(api, headers):
    with a_database_that_cannot_be_written():
        answer = api.get(ME, headers=headers)

    assert_problem(answer, 503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.django_db(transaction=True)
def test_change_is_503_and_changes_nothing_if_the_database_cannot_be_written(api, owner, headers):
    pipeline = StepFactory(pipeline__owner=owner).pipeline
    with a_database_that_cannot_be_written():
        answer = api.post(RUN, {"pipelineId": str(pipeline.pk)}, headers=headers)

    assert_problem(answer, 503, "unavailable")
    assert not Run.objects.exists()
    assert not TokenUse.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_request_of_a_session_is_503_if_the_database_cannot_be_written(patient_api, owner):
    patient_api.force_login(owner)
    with a_database_that_cannot_be_written():
        answer = patient_api.post(TOKENS, {"name": "nightly", "scopes": ["api"]})

    assert_problem(answer, 503, "unavailable")
    assert not Token.objects.exists()


# Naughty strings


@pytest.fixture(scope="module")
def naughty_strings():
    return NAUGHTY_STRINGS


def statuses(strings, ask):
    """Maps each status to a string that got it, so that a failure shows the string."""
    return {status: text for text in strings for status in [ask(text).status_code]}


@pytest.mark.once
def test_naughty_ids_of_pipelines_are_400(patient_api, headers, naughty_strings):
    def ask(text):
        return patient_api.post(STATUS, {"pipelineId": text}, headers=headers)

    assert statuses(naughty_strings, ask).keys() == {400}


@pytest.mark.once
@pytest.mark.parametrize("address", [PIPELINES, LOG])
def test_naughty_searches_are_answered(patient_api, administrator, address):
    headers = bearer(TokenFactory(owner=administrator))

    def ask(text):
        return patient_api.get(f"{address}?q={quote(text, safe='')}", headers=headers)

    assert statuses(ONE_OF_EACH_KIND, ask).keys() == {200, 400}


@pytest.mark.once
def test_naughty_cursors_are_400(patient_api, headers, naughty_strings):
    def ask(text):
        return patient_api.get(f"{TOKENS}?cursor={quote(text, safe='')}", headers=headers)

    assert statuses(naughty_strings, ask).keys() == {400}


@pytest.mark.once
def test_naughty_positions_are_answered(patient_api, headers):
    def ask(text):
        plain = json.dumps(["n", text, NOBODYS_ID]).encode()
        return patient_api.get(f"{PIPELINES}?cursor={base64.urlsafe_b64encode(plain).decode()}", headers=headers)

    assert statuses(ONE_OF_EACH_KIND, ask).keys() == {200, 400}


@pytest.mark.once
def test_naughty_reasons_are_stored_unchanged(patient_api, owner, headers):
    changed = []
    for number, text in enumerate(ONE_OF_EACH_KIND):
        token = TokenFactory(owner=owner, name=f"naughty {number}")
        answer = patient_api.post(f"{TOKENS}/{token.pk}/expire", {"reason": text}, headers=headers)
        token.refresh_from_db()
        kept = (200, text.strip()) if token.revoked_at else (400, None)
        if (answer.status_code, token.revoke_reason if token.revoked_at else None) != kept:
            changed.append(text)

    assert changed == []


@pytest.mark.once
def test_naughty_names_are_stored_or_refused(patient_api, owner):
    patient_api.force_login(owner)

    def ask(text):
        return patient_api.post(TOKENS, {"name": text, "scopes": ["api"]})

    assert statuses(ONE_OF_EACH_KIND, ask).keys() <= {201, 400, 409}


@pytest.mark.once
def test_naughty_paths_and_user_agents_are_one_line_in_the_log(patient_api, owner, headers, naughty_strings):
    def ask(text):
        program = text.encode().decode("latin-1")
        return patient_api.get(
            f"/api/v1/{quote(text or 'x', safe='')}", headers=headers | {"User-Agent": program, "Accept": "*/*"}
        )

    assert statuses(naughty_strings, ask).keys() == {404}
    logged = list(TokenUse.objects.values_list("target", "user_agent"))
    assert len(logged) == len(naughty_strings)
    assert all(target.isascii() and target.isprintable() for target, _ in logged)
    assert not {unicodedata.category(character) for _, program in logged for character in program} & {"Cc", "Zl", "Zp"}


def test_log_of_a_pipeline_continues_where_the_last_answer_ended(api, owner, headers):
    run = RunFactory(pipeline=PipelineFactory(owner=owner))
    moment = timezone.now()
    RunLogLine.objects.bulk_create(RunLogLine(run=run, at=moment, action="step", message=str(n)) for n in range(1001))
    body = {"pipelineId": str(run.pipeline_id)}

    first = api.post("/api/v1/pipeline/logs", body, headers=headers).json()
    second = api.post(first["next"], body, headers=headers).json()

    assert (first["count"], second["count"], second["next"]) == (1000, 1, None)
    assert {row["message"] for row in first["data"] + second["data"]} == {str(n) for n in range(1001)}


def test_body_in_chunks_is_refused(api, owner):
    answer = api.generic(
        "POST",
        "/api/v1/pipeline/run",
        headers=bearer(TokenFactory(owner=owner)),
        HTTP_TRANSFER_ENCODING="chunked",
    )

    assert answer.status_code == 400
    assert "Content-Length" in answer.json()["detail"]
