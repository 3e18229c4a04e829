"""The API reference shows every operation with its scopes, and a command for each."""

import json
import re
import shlex

import pytest
from django.conf import settings

from core.api.operations import routes
from opsera_portal import api_reference


@pytest.fixture(scope="module")
def operations():
    return {each.id: each for section in api_reference.sections(api_reference._schema()) for each in section.operations}


@pytest.fixture(scope="module")
def schema():
    return api_reference._schema()


def test_page_is_the_same_for_everyone_and_needs_no_script_of_its_own(client):
    answer = client.get("/api/docs/")

    assert answer.status_code == 200
    assert "api-docs" not in "".join(re.findall(r"<script[^>]*>", answer.content.decode()))
    assert "data:" not in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("language", ["de", "pl"])
def test_operations_are_in_english_for_readers_of_other_languages(client, language):
    page = client.get("/api/docs/", headers={"Accept-Language": language}).content.decode()

    assert str(api_reference.rendered()) in page
    assert "Run a pipeline" in page


def test_sections_are_in_the_order_that_newcomers_need(schema):
    names = [section.name for section in api_reference.sections(schema)]

    assert names == [
        *("me", "tokens", "pipelines", "logs", "approvals", "review-campaigns"),
        *("organization", "users", "groups"),
        *("service-accounts", "token-exchange", "services", "trust-rules", "webhooks"),
    ]


def test_each_operation_is_shown_once_with_its_scopes(operations):
    shown = {(each.method, each.path): each for each in operations.values()}
    declared = {
        (route.method, re.sub(r"<[^>]+>", "{id}", route.path)): route.operation
        for route in routes()
        if route.path.startswith("/api/v1/")
    }

    assert shown.keys() == declared.keys()
    for address, operation in declared.items():
        assert [scope.id for scope in shown[address].scopes] == [scope.id for scope in operation.scopes]
        assert bool(shown[address].access) is not bool(operation.scopes)


def test_each_page_element_has_its_own_id():
    ids = re.findall(r'\bid="([^"]+)"', api_reference.rendered())

    assert len(ids) == len(set(ids))


def test_each_link_inside_the_page_has_a_target():
    page = api_reference.rendered()

    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(re.findall(r'\bid="([^"]+)"', page))


def test_each_command_sends_the_example(operations, schema):
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            words = shlex.split(operations[operation["operationId"]].curl.replace("\\\n", " "))
            options = dict(zip(words[2::2], words[3::2], strict=True))
            sent = options.get("-X", "POST" if "-d" in options else "GET")
            assert words[:1] == ["curl"]
            assert re.fullmatch(re.sub(r"\{\w+\}", "[^/{}]+", f"{settings.PORTAL_URL}{path}"), words[1])
            assert sent == method.upper()
            if "requestBody" in operation:
                assert json.loads(options["-d"]) == operation["requestBody"]["content"]["application/json"]["example"]
            else:
                assert "-d" not in options


def test_text_of_a_docstring_is_escaped():
    shown = api_reference.prose("Use `a<b>` and **x & y**.\n\nThen <i>stop</i>.")

    assert shown == (
        "<p>Use <code>a&lt;b&gt;</code> and <strong>x &amp; y</strong>.</p>\n<p>Then &lt;i&gt;stop&lt;/i&gt;.</p>"
    )
