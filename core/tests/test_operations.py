"""Which operation a logged request was for."""

import re
import uuid

import pytest

from core.api.operations import operation_at, routes


@pytest.mark.parametrize("route", routes(), ids=lambda route: f"{route.method} {route.path}")
def test_operation_of_each_route_is_found_by_its_method_and_target(route):
    target = re.sub(r"<id:\w+>", lambda _: str(uuid.uuid4()), route.path).replace("<int:pk>", "1")

    assert operation_at(route.method, target) is route.operation


def test_head_request_is_for_the_operation_of_get():
    assert operation_at("HEAD", "/api/v1/pipelines") is operation_at("GET", "/api/v1/pipelines") is not None


def test_percent_encoded_target_is_decoded():
    assert operation_at("GET", "/api/v1/%70ipelines") is operation_at("GET", "/api/v1/pipelines") is not None


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "/api/v1/removed"), ("GET", "/profile/"), ("BREW", "/api/v1/me"), ("GET", "/api/v1/pipelines/"), ("", "")],
)
def test_other_targets_have_no_operation(method, target):
    assert operation_at(method, target) is None
