"""Rules of paths: what they match, in order, and which texts are refused."""

import pytest
from django.core.exceptions import ValidationError

from gateway.path_rules import MOST_RULES, clean, first_match, parse

RULES = parse("GET,HEAD /api/** read\nPOST /api/*/star write\n* /api/** nobody\nGET /files/*.txt any\nGET / any")


@pytest.mark.parametrize(
    ("method", "path", "needs"),
    [
        ("GET", "/api", "read"),
        ("GET", "/api/", "read"),
        ("HEAD", "/api/x/y", "read"),
        ("POST", "/api/x/star", "write"),
        ("POST", "/api/x/y/star", "nobody"),
        ("POST", "/api//star", "write"),
        ("DELETE", "/api/x", "nobody"),
        ("get", "/api/x", "nobody"),
        ("GET", "/files/a.txt", "any"),
        ("GET", "/files/.txt", "any"),
        ("GET", "/files/a/b.txt", None),
        ("GET", "/files/atxt", None),
        ("GET", "/apis", None),
        ("GET", "/API/x", None),
        ("GET", "/", "any"),
        ("GET", "/x", None),
        ("GET", "/files/a.txt\n", None),
    ],
)
def test_first_matching_rule_decides(method, path, needs):
    rule = first_match(RULES, method, path)

    assert (rule and rule.needs) == needs


def test_rules_are_stored_in_one_form():
    typed = "  GET,HEAD   /api/**\tread \r\n\r\n* /x nobody"

    assert clean(typed, scopes=["read"]) == "GET,HEAD /api/** read\n* /x nobody"


@pytest.mark.parametrize(
    "line",
    [
        "GET /api",
        "GET /api read now",
        "get /api read",
        "GET, /api read",
        "GET;POST /api read",
        "GET api read",
        "GET /a/../b read",
        "GET /a//b read",
        "GET /a/. read",
        "GET /** write",
        "GET /**/b read",
        "GET /a** read",
        "GET /*a* read",
        "GET /a?b read",
        "GET /a%20b read",
        "GET /a;b read",
        "GET /grün read",
        "GET /a service:grafana:read",
        f"GET /{'a' * 200} read",
        "GET /a\x00 read",
    ],
)
def test_wrong_rule_is_refused_with_its_line(line):
    with pytest.raises(ValidationError, match="Line 2"):
        clean(f"GET / read\n{line}", scopes=["read"])


def test_number_of_rules_is_limited():
    with pytest.raises(ValidationError, match=str(MOST_RULES)):
        clean("GET / any\n" * (MOST_RULES + 1), scopes=[])
