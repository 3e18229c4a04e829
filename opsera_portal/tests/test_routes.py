"""Every address is closed unless it says who may come in: the API by its operations, the pages by a list of a few."""

from typing import Any, ClassVar

import pytest
from django.http import HttpRequest
from django.urls import get_resolver, include, path, reverse
from rest_framework.response import Response

from auditlog.models import TokenUse
from core.api.operations import Operation, routes
from core.api.scopes import SCOPES
from core.api.views import ApiViewSet, UnknownRouteView
from opsera_portal.tests.worlds import check_row
from tokens.tests.factories import TokenFactory, bearer

# What people who have not signed in may open. Nothing else.
OPEN = {
    "/login/",
    "/login/inactive/",
    # Not found until a provider is named.
    "/login/single-sign-on/",
    "/login/single-sign-on/callback/",
    "/login/single-sign-on/cancelled/",
    "/invitation/1/1/",
    "/password/reset/",
    "/password/reset/sent/",
    "/password/reset/1/1/",
    "/password/reset/done/",
    "/healthz",
    "/readyz",
    "/api/docs/",
    "/api/schema/",
    "/.well-known/jwks.json",
    # Not found until a contact is named.
    "/.well-known/security.txt",
    "/secret-scanning/",
    "/favicon.ico",
    "/robots.txt",
}

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


def walk(patterns, prefix="/"):
    """Every address with the view behind it; a regular expression stands as it is written."""
    for pattern in patterns:
        address = prefix + str(pattern.pattern)
        if hasattr(pattern, "url_patterns"):
            yield from walk(pattern.url_patterns, address)
        else:
            yield address, pattern


def is_api(address):
    return address.startswith("/api/v1")


EVERYTHING = list(walk(get_resolver().url_patterns))
API_VIEWS = [
    (address, pattern)
    for address, pattern in EVERYTHING
    if is_api(address) and pattern.callback.cls is not UnknownRouteView
]


# The API


def test_routes_of_the_api_are_found():
    assert len(API_VIEWS) > 10
    assert {"/api/v1/me", "/api/v1/pipeline/run", "/api/v1/logs/user/tokens"} <= {address for address, _ in API_VIEWS}


def test_each_method_of_each_route_is_an_operation():
    for address, pattern in API_VIEWS:
        view = pattern.callback.cls
        assert issubclass(view, ApiViewSet), address
        for method, action in pattern.callback.actions.items():
            assert method == "head" or isinstance(view.operations[action], Operation), f"{method} {address}"


def test_no_route_has_a_permission_or_an_authentication_of_its_own():
    for address, pattern in API_VIEWS:
        view = pattern.callback.cls
        is_public = any(operation.is_public for operation in view.operations.values())
        assert [cls.__name__ for cls in view.permission_classes] == ["OperationPermission"], address
        assert [cls.__name__ for cls in view.authentication_classes] == (
            [] if is_public else ["AccessTokenAuthentication", "SessionAuthentication"]
        ), address
        assert view.get_permissions is ApiViewSet.get_permissions, address
        assert view.check_permissions is ApiViewSet.check_permissions, address


def test_the_list_of_operations_leaves_out_none():
    listed = {(route.method, route.path) for route in routes()}

    assert listed == {
        (method.upper(), address) for address, pattern in API_VIEWS for method in pattern.callback.actions
    } - {("HEAD", address) for address, _ in API_VIEWS}


def named(found):
    return [f"{route.method} {route.path}" for route in found]


def test_scope_that_only_reads_opens_no_operation_that_changes_data():
    changing = [route for route in routes() if not route.operation.only_reads]

    assert named(route for route in changing if any(scope.only_reads for scope in route.operation.scopes)) == []


def test_get_only_reads():
    assert named(route for route in routes() if route.method == "GET" and not route.operation.only_reads) == []


def test_operation_that_is_open_to_every_token_needs_no_scope():
    assert named(route for route in routes() if route.operation.any_token and route.operation.scopes) == []


def test_only_a_found_token_is_reported_without_credentials():
    assert [route.path for route in routes() if route.operation.is_public] == ["/api/v1/tokens/report"]


def test_no_token_can_create_a_token():
    [create] = [route for route in routes() if (route.method, route.path) == ("POST", "/api/v1/tokens")]

    assert create.operation.is_closed_to_tokens


def test_every_scope_opens_something():
    opening = {scope for route in routes() for scope in route.operation.scopes}

    assert opening == set(SCOPES)


class UndeclaredViewSet(ApiViewSet):
    """A view whose author forgot to say who may use it."""

    operations: ClassVar[dict[str, Operation]] = {}

    def answer(self, request: HttpRequest, **kwargs: Any) -> Response:
        return Response("should never be seen")


urlpatterns = [
    path("api/v1/undeclared", UndeclaredViewSet.as_view({method.lower(): "answer" for method in METHODS})),
    path("", include("opsera_portal.urls")),
]


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("method", METHODS)
def test_without_an_operation_a_route_is_closed_to_an_administrator(api, administrator, method):
    api.force_login(administrator)

    answer = api.generic(method, "/api/v1/undeclared")

    assert answer.status_code == 403
    assert b"never" not in answer.content


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("method", METHODS)
def test_without_an_operation_a_route_is_closed_to_every_token(api, administrator, method):
    everything = " ".join(scope.id for scope in SCOPES)

    answer = api.generic(
        method, "/api/v1/undeclared", headers=bearer(TokenFactory(owner=administrator, scope=everything))
    )

    assert answer.status_code == 403
    assert b"never" not in answer.content
    assert TokenUse.objects.get().reason == "forbidden"


# The pages


def filled(pattern, address):
    """The address with something in each of its places."""
    values = {"pk": "6f1e4ad0-0000-4000-8000-000000000000", "object_id": "1", "number": "1"}
    values |= dict.fromkeys(["step_pk", "rule_pk", "user_pk", "public_id"], values["pk"])
    for name, converter in pattern.pattern.converters.items():
        kind = type(converter).__name__.removesuffix("Converter").lower()
        for spelling in (f"<{kind}:{name}>", f"<{name}>"):
            address = address.replace(spelling, "1" if kind == "int" else values.get(name, "1"))
    return address


def addresses():
    """Every address outside the API, with values for its parameters.

    For the regular expressions with which Django admin catches the rest stands one address that only they match.
    """
    found = set()
    for address, pattern in EVERYTHING:
        if is_api(address):
            continue
        if address.startswith("/admin/") and not hasattr(pattern.pattern, "_route"):
            address = address.partition("(?P<")[0] + "nothing/"
        found.add(filled(pattern, address).replace("^", "").replace("$", ""))
    return sorted(found)


def test_every_address_could_be_filled():
    assert len(addresses()) > 30
    assert not [address for address in addresses() if set(address) & set("<>()?*[]\\")]


def test_everything_that_is_open_exists():
    assert set(addresses()) >= OPEN


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["get", "post"])
def test_signed_out_people_are_sent_to_sign_in(client, method):
    def attempt(address):
        answer = getattr(client, method)(address)
        for _ in range(3):
            if (answer.status_code, answer.content) != (302, b""):
                return answer.status_code
            destination = answer.headers["Location"].partition("?")[0]
            if destination == reverse("account_login"):
                return "sent to sign in"
            # Django admin sends people to its own sign-in first, which sends them on.
            if not destination.startswith("/admin/"):
                break
            answer = client.get(answer.headers["Location"])
        return f"sent to {destination}"

    closed = [address for address in addresses() if address not in OPEN]
    check_row(method, dict.fromkeys(closed, "sent to sign in"), attempt)


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["/healthz", "/readyz", "/robots.txt", "/.well-known/jwks.json", "/api/schema/"])
def test_pages_for_machines_are_open_without_signing_in(client, address):
    answer = client.get(address)

    assert answer.status_code == 200
    assert not answer.cookies
