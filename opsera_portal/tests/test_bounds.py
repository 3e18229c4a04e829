"""Limits are checked before any work is done: bodies, queries, lists, texts and numbers."""

import json
import re

import django_filters
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.validators import MaxLengthValidator
from rest_framework import serializers

import opsera_portal.urls  # noqa: F401  (it loads every serializer of the API)
from auditlog.models import TokenUse
from core.api.paging import PageQuery
from core.api.parsers import MAX_DEPTH, MAX_DIGITS, MAX_VALUES
from core.api.serializers import BoundedListField, BoundedObjectField, StrictSerializer
from core.filters import AddressFilter, DayFilter, IdFilter, IdOrWordFilter, MomentFilter, RowFilter, StrictFilterSet
from gateway.api.use_serializers import MomentField
from opsera_portal.management.commands.web import web_command
from tokens.tests.factories import TokenFactory, bearer

STATUS = "/api/v1/pipeline/status"
PIPELINES = "/api/v1/pipelines"
NOBODYS_ID = "6f1e4ad0-0000-4000-8000-000000000000"


@pytest.fixture
def headers(owner):
    return bearer(TokenFactory(owner=owner))


def send(api, body, headers, address=STATUS):
    text = body if isinstance(body, str) else json.dumps(body)
    return api.generic("POST", address, text, content_type="application/json", headers=headers)


def nested(depth):
    """An object with nested arrays, ``depth`` levels in all."""
    return {"pipelineId": json.loads("[" * (depth - 1) + "]" * (depth - 1))} if depth > 1 else {}


# Bodies of the API


def test_body_nested_as_deep_as_allowed_is_accepted(api, headers):
    answer = send(api, nested(MAX_DEPTH), headers)

    assert list(answer.json()["errors"]) == ["pipelineId"]  # the fields were checked


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 100, 900, 1100])
def test_body_nested_too_deep_is_refused_as_a_whole(api, headers, depth):
    answer = send(api, '{"pipelineId": ' + "[" * (depth - 1) + "]" * (depth - 1) + "}", headers)

    assert (answer.status_code, answer.json()["detail"]) == (400, "The body is nested more than 32 deep.")


@pytest.mark.parametrize(
    "body",
    [
        {f"k{number}": 1 for number in range(MAX_VALUES // 2)},
        {"pipelineId": [1] * MAX_VALUES},
        {"pipelineId": [[1] * 100] * (MAX_VALUES // 100)},
    ],
    ids=["names", "a list", "lists in a list"],
)
def test_body_with_too_many_values_is_refused_as_a_whole(api, headers, body):
    answer = send(api, body, headers)

    assert answer.status_code == 400
    assert "it has more than 10000 values" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        ("9" * (MAX_DIGITS + 1), "more than 100 digits"),
        ("-" + "9" * 5000, "more than 100 digits"),
        ("9" * 200_000, "more than 100 digits"),
        ("1e999", "too large"),
        ("-1e999", "too large"),
        ("NaN", "not a JSON number"),
        ("-Infinity", "not a JSON number"),
    ],
    ids=lambda value: value[:12],
)
def test_number_beyond_the_limits_is_refused(api, headers, number, reason):
    answer = send(api, f'{{"pipelineId": "{NOBODYS_ID}", "runCount": {number}}}', headers)

    assert answer.status_code == 400
    assert reason in answer.json()["detail"]


@pytest.mark.parametrize("value", ["5", "5.0", True, [5], {"a": 5}, 5.5], ids=repr)
def test_integer_field_accepts_only_integers(api, headers, value):
    answer = send(api, {"pipelineId": NOBODYS_ID, "runCount": value}, headers)

    assert list(answer.json()["errors"]) == ["runCount"]


def test_too_long_list_is_refused_before_its_items_are_checked(api, administrator):
    body = {"name": "Builders", "members": ["nobody"] * 1001}

    answer = send(api, body, bearer(TokenFactory(owner=administrator)), "/api/v1/groups")

    assert answer.json()["errors"] == {"members": ["There can be at most 1000."]}


def test_refused_body_is_in_the_log(api, owner, headers):
    answer = send(api, nested(MAX_DEPTH + 1), headers)

    entry = TokenUse.objects.get(request_id=answer.headers["X-Request-ID"])
    assert (entry.owner, entry.status, entry.reason) == (owner, 400, "invalid_request")


# Everything that the API reads


def read_by_the_api():
    waiting, found = [StrictSerializer, PageQuery], []
    while waiting:
        waiting += (subclasses := waiting.pop().__subclasses__())
        found += subclasses
    read = {one for one in found if one.__module__.endswith(("serializers", "paging"))}
    return sorted(read, key=lambda one: one.__qualname__)


def fields_of(field, name):
    yield name, field
    for inner_name, inner in getattr(field, "fields", {}).items():
        yield from fields_of(inner, f"{name}.{inner_name}")
    child = getattr(field, "child", None)
    if child is not None:
        yield from fields_of(child, f"{name}[]")


def is_bounded(field):
    if isinstance(field, serializers.ListField):
        return isinstance(field, BoundedListField)
    if isinstance(field, serializers.DictField):
        return any(isinstance(one, MaxLengthValidator) for one in field.validators)
    if isinstance(field, serializers.IPAddressField):
        return True  # the format of an address limits its length
    if isinstance(field, serializers.CharField | BoundedObjectField):
        return field.max_length is not None
    if isinstance(field, serializers.IntegerField):
        return None not in (field.min_value, field.max_value)
    closed = serializers.ChoiceField | serializers.BooleanField | serializers.UUIDField | serializers.DateField
    closed |= MomentField
    return isinstance(field, closed | serializers.Serializer)


@pytest.mark.parametrize("serializer_class", read_by_the_api(), ids=lambda one: one.__qualname__)
def test_every_field_that_the_api_reads_is_bounded(serializer_class):
    unbounded = [
        name
        for name, field in fields_of(serializer_class(), serializer_class.__name__)
        if not field.read_only and not is_bounded(field)
    ]

    assert unbounded == []


def test_bounds_are_checked_for_the_serializers_of_every_app():
    apps = {one.__module__.split(".")[0] for one in read_by_the_api()}

    assert apps == {"accounts", "auditlog", "core", "gateway", "pipelines", "tokens"}


def filters_of_the_api():
    waiting, found = [StrictFilterSet], {}
    while waiting:
        waiting += (subclasses := waiting.pop().__subclasses__())
        found |= {f"{one.__name__}.{name}": field for one in subclasses for name, field in one.base_filters.items()}
    return found


def test_value_of_each_filter_is_bounded():
    known = IdFilter | IdOrWordFilter | RowFilter | AddressFilter
    closed = django_filters.ChoiceFilter | DayFilter | MomentFilter | known
    filters = filters_of_the_api()

    unbounded = [name for name, one in filters.items() if not isinstance(one, closed) and "max_length" not in one.extra]

    assert {"UserFilter.group", "TokenFilter.q", "ActivityFilter.ip", "PipelineFilter.q"} <= set(filters)
    assert unbounded == []


# Queries


@pytest.mark.parametrize("path", [PIPELINES, "/api/v1/nothing", "/login/", "/profile/tokens/", "/api/schema/"])
def test_query_of_more_than_8_kib_is_refused(client, headers, path):
    credentials = headers if path.startswith("/api/v1") else {}

    assert client.get(f"{path}?q={'x' * 8190}", headers=credentials).status_code != 400 or "/api/v1" in path
    assert client.get(f"{path}?q={'x' * 8191}", headers=credentials).status_code == 400


@pytest.mark.parametrize("path", ["/login/", PIPELINES])
@pytest.mark.parametrize(
    "sent", [{"QUERY_STRING": "x" * 9000}, {"HTTP_HOST": "wrong.example"}], ids=lambda sent: next(iter(sent))
)
def test_requests_of_strangers_leave_no_traceback_in_the_log(client, db, caplog, path, sent):
    for credentials in ({}, {"Authorization": "Bearer junk"}):
        assert client.get(path, headers=credentials, **sent).status_code == 400

    assert not [record for record in caplog.records if record.exc_info]


def test_too_long_query_is_in_the_tokens_log(api, owner, headers):
    answer = api.get(f"{PIPELINES}?q={'x' * 9000}", headers=headers)

    assert answer.headers["Content-Type"] == "application/problem+json"
    entry = TokenUse.objects.get(request_id=answer.headers["X-Request-ID"])
    assert (entry.owner, entry.status, entry.target) == (owner, 400, PIPELINES)


@pytest.mark.parametrize("path", [PIPELINES, "/login/"])
def test_a_query_of_more_than_a_thousand_parameters_is_refused(client, headers, path):
    query = "&".join(f"a{number}" for number in range(1001))
    credentials = headers if path == PIPELINES else {}

    assert client.get(f"{path}?{query}", headers=credentials).status_code == 400


@pytest.mark.parametrize("size", ["0", "-1", "1001", "1" * 5000, "many", ""])
def test_the_size_of_a_page_is_bounded(api, headers, size):
    answer = api.get(f"{PIPELINES}?page_size={size}", headers=headers)

    assert list(answer.json()["errors"]) == ["page_size"]


def test_the_length_of_a_cursor_is_bounded(api, headers):
    answer = api.get(f"{PIPELINES}?cursor={'x' * 501}", headers=headers)

    assert answer.json()["errors"] == {"cursor": ["Ensure this field has no more than 500 characters."]}


# Forms and files


def test_a_form_of_more_than_a_thousand_fields_is_refused(client, db):
    assert client.post("/login/", {f"field{number}": "" for number in range(1001)}).status_code == 400


def test_a_file_is_refused_on_every_page(client, owner, tmp_path, settings):
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
    client.force_login(owner)

    answer = client.post("/profile/tokens/", {"name": "nightly", "file": SimpleUploadedFile("x.txt", b"x" * 100)})

    assert answer.status_code == 400
    assert not list(tmp_path.iterdir())


def test_file_is_refused_as_body_of_an_api_request(api, headers):
    answer = api.post(STATUS, {"file": SimpleUploadedFile("x.txt", b"x")}, format="multipart", headers=headers)

    assert answer.status_code == 415


def test_a_form_of_more_than_256_kib_is_refused(client, db):
    assert client.post("/login/", {"login": "x" * 256 * 1024}).status_code == 413


# Request headers


def test_server_limits_request_headers_to_64_kib():
    command = " ".join(web_command())

    assert re.search(r"--http1-buffer-size 65536\b", command)
    assert re.search(r"--http 1\b", command)


@pytest.mark.parametrize("length", [4097, 60_000])
def test_an_authorization_header_longer_than_any_token_is_refused(api, headers, length):
    answer = api.get("/api/v1/me", headers={"Authorization": "Bearer " + "x" * length})

    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
