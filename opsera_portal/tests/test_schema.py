"""The OpenAPI document is correct: it has every operation, with its scopes and its responses."""

import json
import re
from importlib import resources

import jsonschema
import jsonschema_rs
import pytest
import regex
from django.conf import settings
from django.core.exceptions import ValidationError
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from accounts.roles import SiteRole
from auditlog.actions import Action
from auditlog.record import record
from core.api.idempotency import takes_key
from core.api.operations import routes
from core.api.scopes import SCOPES
from pipelines.models import RunLogLine, check_tags
from pipelines.tests.factories import RunFactory
from tokens.names import clean_name
from tokens.tests.factories import TokenFactory, bearer

METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
LOGS = ("logs_user_tokens", "logs_user_actions", "me_authentication_log", "me_activity_log")
LISTS = [
    ("get", "/api/v1/tokens"),
    ("get", "/api/v1/tokens/{id}/activity"),
    ("get", "/api/v1/organization/tokens"),
    ("get", "/api/v1/organization/access-review"),
    ("get", "/api/v1/pipelines"),
    ("get", "/api/v1/logs/user/tokens"),
    ("get", "/api/v1/logs/user/actions"),
    ("post", "/api/v1/pipeline/logs"),
]


def address_in_schema(path):
    return re.sub(r"<\w+:pk>", "{id}", path).replace("<id:secret_id>", "{secret_id}")


# SCIM describes itself to its clients, at `/scim/v2/Schemas`.
ROUTES = {
    (route.method.lower(), address_in_schema(route.path)): route.operation
    for route in routes()
    if route.path.startswith("/api/v1/")
}


def for_each_operation(check):
    """Returns one test that checks every operation and names each one that fails."""

    def test(schema):
        errors = {}
        for method, address in ROUTES:
            try:
                check(schema, method, address)
            except (AssertionError, LookupError) as error:
                errors[f"{method} {address}"] = error
        if errors:
            wrong = [f"{name}: {error!r}" for name, error in errors.items()]
            raise AssertionError("\n".join(wrong)) from next(iter(errors.values()))

    test.__name__ = check.__name__
    return test


@pytest.fixture(scope="module")
def schema():
    return json.loads(Client().get("/api/schema/").content)


def operations_of(schema):
    return {
        (method, address): operation
        for address, item in schema["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def everything_in(value):
    """Yields each object in a JSON document, at any depth."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from everything_in(inner)


def resolved(schema, value):
    while "$ref" in value:
        place = schema
        for part in value["$ref"].removeprefix("#/").split("/"):
            place = place[part]
        value = place
    return value


def test_schema_is_valid_openapi_3_1(schema):
    """With the library's copy of the specification, but not with its validator, which takes seconds."""
    specification = resources.files("drf_spectacular.validation").joinpath("openapi_3_1_schema.json").read_text()

    assert schema["openapi"] == "3.1.0"
    jsonschema_rs.Draft202012Validator(json.loads(specification)).validate(schema)


def test_schema_is_open_to_everyone_as_json(client):
    answer = client.get("/api/schema/", headers={"Accept": "*/*"})

    assert answer.status_code == 200
    assert "json" in answer.headers["Content-Type"]


def test_schema_is_generated_once(client, monkeypatch):
    first = client.get("/api/schema/")
    monkeypatch.delattr(SchemaGenerator, "parse")

    assert client.get("/api/schema/").content == first.content


def test_every_reference_has_a_target(schema):
    references = [value for value in everything_in(schema) if isinstance(value.get("$ref"), str)]

    assert references
    for reference in references:
        assert resolved(schema, reference)


def test_operation_ids_are_unique(schema):
    ids = [operation["operationId"] for operation in operations_of(schema).values()]

    assert len(ids) == len(set(ids))


def test_schema_has_every_operation_and_nothing_else(schema):
    assert operations_of(schema).keys() == ROUTES.keys()


def test_schema_names_this_installation(schema):
    assert schema["servers"] == [{"url": settings.PORTAL_URL}]


def test_every_kind_of_security_is_described(schema):
    used = {name for operation in operations_of(schema).values() for item in operation["security"] for name in item}

    assert used == schema["components"]["securitySchemes"].keys()
    assert used == {"accessToken", "browserSession", "serviceCredentials"}
    service = schema["components"]["securitySchemes"]["serviceCredentials"]
    assert (service["type"], service["scheme"]) == ("http", "basic")
    token = schema["components"]["securitySchemes"]["accessToken"]
    assert (token["type"], token["scheme"], token["bearerFormat"]) == ("http", "bearer", "JWT")
    session = schema["components"]["securitySchemes"]["browserSession"]
    assert (session["type"], session["in"], session["name"]) == ("apiKey", "cookie", settings.SESSION_COOKIE_NAME)


@for_each_operation
def test_each_operation_has_its_label_as_summary(schema, method, address):
    operation = operations_of(schema)[method, address]

    assert operation["summary"] == ROUTES[method, address].label
    assert operation["summary"]


@for_each_operation
def test_each_operation_describes_who_can_use_it(schema, method, address):
    declared = ROUTES[method, address]
    operation = operations_of(schema)[method, address]

    named = {scope.id for scope in SCOPES if f"`{scope.id}`" in operation["description"]}
    assert named == {scope.id for scope in declared.scopes}
    assert ("Every live token can use it" in operation["description"]) is declared.any_token
    assert ("Tokens can't use it" in operation["description"]) is declared.is_closed_to_tokens
    assert ("Everyone can use it, without credentials" in operation["description"]) is declared.is_public


@for_each_operation
def test_each_operation_has_its_declared_security(schema, method, address):
    declared = ROUTES[method, address]
    session = {"browserSession": []}
    token = {"accessToken": []}
    service = {"serviceCredentials": []}

    for_people = [session] if declared.is_closed_to_tokens else [] if declared.is_public else [token, session]
    expected = [service] if declared.is_for_services else for_people
    operation = operations_of(schema)[method, address]
    assert operation["security"] == expected
    assert operation.get("x-scopes", []) == [scope.id for scope in declared.scopes]


@for_each_operation
def test_each_operation_has_one_success_response_and_its_errors(schema, method, address):
    operation = operations_of(schema)[method, address]
    errors = {"400", "401", "403", "406", "429", "503"} - ({"401"} if ROUTES[method, address].is_public else set())
    if "requestBody" in operation:
        errors |= {"413", "415"}
    if "{" in address:
        errors |= {"404"}

    good = {status for status in operation["responses"] if status.startswith("2")}
    assert len(good) == 1
    if takes_key(method.upper(), ROUTES[method, address]):
        errors |= {"422"}
    if ROUTES[method, address].has_etag and not ROUTES[method, address].only_reads:
        errors |= {"412"}
    assert errors <= operation["responses"].keys() <= errors | good | {"409"}


@for_each_operation
def test_each_operation_with_an_etag_documents_it(schema, method, address):
    operation, declared = operations_of(schema)[method, address], ROUTES[method, address]
    parameters = {parameter["name"] for parameter in operation.get("parameters", [])}

    assert ("ETag" in operation["responses"].get("200", {}).get("headers", {})) == declared.has_etag
    assert ("If-Match" in parameters) == (declared.has_etag and not declared.only_reads)
    assert not declared.has_etag or method in {"get", "patch", "put"}


@for_each_operation
def test_each_error_is_a_problem_document(schema, method, address):
    for status, response in operations_of(schema)[method, address]["responses"].items():
        if status.startswith("2") or (address.startswith("/api/v1/pipeline/") and status == "409"):
            # The published routes use their published format.
            continue
        if address == "/api/v1/token-exchange":
            # OAuth has a format of its own.
            assert response["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ExchangeError"}
            continue
        content = response["content"]["application/problem+json"]
        assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
        assert content["example"].keys() == set(schema["components"]["schemas"]["Problem"]["required"])
        assert content["example"]["status"] == int(status)


@for_each_operation
def test_each_parameter_and_body_field_has_a_type(schema, method, address):
    operation = operations_of(schema)[method, address]
    described = [parameter["schema"] for parameter in operation.get("parameters", [])]
    if "requestBody" in operation:
        assert list(operation["requestBody"]["content"]) == ["application/json"]
        body = resolved(schema, operation["requestBody"]["content"]["application/json"]["schema"])
        described += body["properties"].values()

    for value in described:
        assert resolved(schema, value).keys() & {"type", "enum", "oneOf", "allOf", "anyOf"}


@pytest.mark.parametrize(("method", "address"), LISTS)
def test_each_list_is_described_as_count_data_and_next(schema, method, address):
    operation = operations_of(schema)[method, address]
    answer = resolved(schema, operation["responses"]["200"]["content"]["application/json"]["schema"])

    assert answer["required"] == ["count", "data", "next"]
    assert answer["properties"].keys() == {"count", "data", "next"}
    assert answer["properties"]["data"]["type"] == "array"
    assert "id" in resolved(schema, answer["properties"]["data"]["items"])["properties"]
    assert "cursor" in {parameter["name"] for parameter in operation["parameters"]}


def test_no_answer_is_a_bare_array(schema):
    for operation in operations_of(schema).values():
        for response in operation["responses"].values():
            for content in response.get("content", {}).values():
                assert resolved(schema, content["schema"])["type"] in {"object", "string"}


@pytest.mark.parametrize(("method", "address"), LISTS)
def test_answer_of_each_list_matches_the_schema(api, schema, owner, method, address):
    owner.site_role = SiteRole.ADMINISTRATOR
    owner.save()
    token = TokenFactory(owner=owner)
    run = RunFactory(pipeline__owner=owner)
    RunLogLine.objects.create(run=run, action="run", message="Requested.")
    record(actor=owner, action=Action.TOKEN_ISSUED, target=token)
    api.get("/api/v1/me", headers=bearer(token))
    body = {"pipelineId": str(run.pipeline_id)} if method == "post" else None

    answer = getattr(api, method)(address.replace("{id}", str(token.pk)), body, headers=bearer(token)).json()

    assert answer.keys() == {"count", "data", "next"}
    assert answer["count"] == len(answer["data"]) == 1
    answer_schema = operations_of(schema)[method, address]["responses"]["200"]["content"]["application/json"]["schema"]
    rows = resolved(schema, answer_schema)["properties"]["data"]["items"]
    described = resolved(schema, rows)["properties"]
    assert all(row.keys() == described.keys() for row in answer["data"])


def test_schema_lists_every_scope_for_a_new_token(schema):
    operation = operations_of(schema)["post", "/api/v1/tokens"]
    body = resolved(schema, operation["requestBody"]["content"]["application/json"]["schema"])

    # Each service has scopes of its own, so there can be no list of values.
    described = body["properties"]["scopes"]["description"]
    assert [scope.id for scope in SCOPES if f"`{scope.id}`" not in described] == []


@pytest.mark.parametrize(
    ("operation_id", "media_type"),
    [(f"{log}_export", media_type) for log in LOGS for media_type in ("text/csv", "application/jsonl")],
)
def test_export_is_described_as_text(schema, operation_id, media_type):
    (operation,) = (each for each in operations_of(schema).values() if each["operationId"] == operation_id)

    assert operation["responses"]["200"]["content"][media_type]["schema"] == {"type": "string"}


def test_every_tag_is_declared_with_a_description(schema):
    used = {tag for operation in operations_of(schema).values() for tag in operation["tags"]}

    assert {tag["name"] for tag in schema["tags"]} == used
    assert all(tag["description"] for tag in schema["tags"])


def test_every_list_is_paged_by_page_size(schema):
    for operation in operations_of(schema).values():
        names = {parameter["name"] for parameter in operation.get("parameters", [])}
        if "cursor" in names:
            assert "page_size" in names
        published = operation["operationId"] in {"logs_user_tokens", "logs_user_actions"}
        assert ("count" in names) is published


def test_every_default_is_valid(schema):
    """Client generators copy defaults into requests, where an invalid one would be refused."""
    for shape in everything_in(schema):
        if isinstance(shape.get("type"), str | list) and "default" in shape:
            jsonschema.Draft202012Validator(resolved_schema(schema, shape)).validate(shape["default"])


def resolved_schema(schema, shape):
    return {**shape, "components": schema["components"]}


def body_field(schema, method, address, name):
    body = operations_of(schema)[method, address]["requestBody"]["content"]["application/json"]["schema"]
    return resolved(schema, resolved(schema, body)["properties"][name])


@pytest.mark.parametrize("text", ["nightly build", "é", "हिन्दी", "a", "0-':_.", "x" * 50, "ภาษาไทย"])
def test_schema_allows_a_name_of_a_token_that_the_portal_accepts(schema, text):
    assert clean_name(text) == text
    assert follows(body_field(schema, "post", "/api/v1/tokens", "name"), text)


@pytest.mark.parametrize("text", ["", " ", "a/b", "x" * 51, "a\nb", "😀", "a\0", "\N{COMBINING ACUTE ACCENT}a"])
def test_schema_forbids_a_name_of_a_token_that_the_portal_refuses(schema, text):
    with pytest.raises(ValidationError):
        clean_name(text)
    assert not follows(body_field(schema, "post", "/api/v1/tokens", "name"), text)


@pytest.mark.parametrize("text", ["nightly", "über alles", "日本語", "x" * 50, "हिन्दी"])
def test_schema_allows_a_tag_that_the_portal_accepts(schema, text):
    check_tags([text])
    assert follows(body_field(schema, "post", "/api/v1/pipelines", "tags")["items"], text)


@pytest.mark.parametrize("text", ["", "a,b", "x" * 51, "a\nb", "a\0"])
def test_schema_forbids_a_tag_that_the_portal_refuses(schema, text):
    with pytest.raises(ValidationError):
        check_tags([text])
    assert not follows(body_field(schema, "post", "/api/v1/pipelines", "tags")["items"], text)


def follows(shape, text):
    """Uses `regex`, because `re` does not have all character classes of JSON Schema's patterns."""
    fits = shape.get("minLength", 0) <= len(text) <= shape["maxLength"]
    return fits and regex.search(shape["pattern"].replace("$", r"\Z"), text) is not None
