"""What a service can have as address, scopes and names."""

import pytest
from django.core.exceptions import ValidationError

from gateway import values
from gateway.models import Service
from gateway.tests.factories import READ, RULES, WRITE

SCOPE = {"name": "read", "label": "Read"}


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("", ""),
        ("  https://Grafana.Example.com/ ", "https://grafana.example.com"),
        ("https://grafana.example.com:443", "https://grafana.example.com"),
        ("http://[::1]:3000/graphs/", "http://[::1]:3000/graphs"),
        ("http://localhost:80", "http://localhost"),
    ],
)
def test_address_is_stored_with_a_host_as_browsers_send_it(typed, stored):
    assert values.clean_address(typed) == stored
    assert values.clean_address(stored) == stored


@pytest.mark.parametrize(
    "typed",
    [
        "grafana.example.com",
        "ftp://grafana.example.com",
        "https://",
        "https://user@grafana.example.com",
        "https://grafana.example.com?a",
        "https://grafana.example.com#a",
        "https://grafana.example.com:0",
        "https://grafana.example.com:99999",
        "https://[::1",
        "https://gräfana.example.com",
        "https://grafana.example.com/\0",
        "https://grafana.example.com/a b",
        "https://-a",
        "https://a/" + "x" * 200,
    ],
)
def test_address_that_no_host_header_can_have_is_refused(typed):
    with pytest.raises(ValidationError):
        values.clean_address(typed)


@pytest.mark.parametrize(
    "rows",
    [
        [SCOPE, SCOPE],
        [SCOPE | {"name": "any"}],
        [SCOPE | {"name": "nobody"}],
        [SCOPE | {"name": "Read"}],
        [SCOPE | {"name": "a" * 21}],
        [SCOPE | {"name": ""}],
        [SCOPE | {"label": " "}],
        [SCOPE | {"label": "a\u202eb"}],
        [SCOPE | {"label": "a" * 51}],
        [SCOPE | {"description": "a\nb"}],
        [SCOPE | {"description": "a" * 201}],
        # The form separates them with it.
        [SCOPE | {"label": "a | b"}],
        [SCOPE | {"description": "a|reads"}],
        [SCOPE | {"name": f"s{number}"} for number in range(21)],
    ],
)
def test_wrong_scopes_are_refused(rows):
    with pytest.raises(ValidationError):
        values.clean_scopes(rows)


def test_scopes_get_all_their_keys():
    assert values.clean_scopes([SCOPE]) == [SCOPE | {"description": "", "only_reads": False}]
    assert values.clean_scopes([]) == []


def test_scope_that_a_path_rule_needs_stays():
    service = Service(scopes=[READ, WRITE], rules=RULES)
    with pytest.raises(ValidationError) as caught:
        values.take(service, {"scopes": [READ]})
    assert "write" in str(caught.value.message_dict["scopes"])
    values.take(service, {"scopes": [READ], "rules": "GET /api/** read"})
    assert service.rules == "GET /api/** read"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "a\0b"),
        ("name", "a" * 101),
        ("name", "\u3164"),
        ("slug", "Grafana"),
        ("slug", "9a"),
        ("slug", "a" * 21),
        ("slug", "a\n"),
        ("description", "a" * 501),
        ("check_by", "magic"),
        ("site_roles", ["king"]),
        ("rules", "GET /a\0 any"),
        ("rules", "GET /a missing"),
    ],
)
def test_wrong_value_is_an_error_of_its_field(field, value):
    with pytest.raises(ValidationError) as caught:
        values.take(Service(), {field: value})
    assert list(caught.value.message_dict) == [field]


def test_all_wrong_fields_are_named_at_once():
    with pytest.raises(ValidationError) as caught:
        values.take(Service(), {"name": "", "slug": "-", "address": "x"})
    assert set(caught.value.message_dict) == {"name", "slug", "address"}
