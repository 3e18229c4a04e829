"""Every address is closed by default. Operations open API routes; a list here opens pages."""

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

# The only addresses that signed-out people can open.
OPEN = {
    "/login/",
    "/login/inactive/",
    # Not found until a provider is configured.
    "/login/single-sign-on/",
    "/login/single-sign-on/callback/",
    "/login/single-sign-on/cancelled/",
    "/login/single-sign-on/organization/",
    "/login/single-sign-on/6f1e4ad0-0000-4000-8000-000000000000/callback/",
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
    # Not found without a list.
    "/status-lists/6f1e4ad0-0000-4000-8000-000000000000",
    # Not found until a contact is configured.
    "/.well-known/security.txt",
    "/.well-known/oauth-authorization-server",
    "/.well-known/oauth-protected-resource",
    "/.well-known/oauth-protected-resource/api/v1",
    "/.well-known/oauth-protected-resource/services/6f1e4ad0-0000-4000-8000-000000000000",
    "/secret-scanning/",
    "/favicon.ico",
    "/robots.txt",
}

# Proxies and services ask these, with a token or credentials of their own.
ASKED_BY_PROGRAMS = ("/auth/", "/oauth/")

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


def walk(patterns, prefix="/"):
    """Yields every address with its URL pattern. Regular expressions are not resolved."""
    for pattern in patterns:
        address = prefix + str(pattern.pattern)
        if hasattr(pattern, "url_patterns"):
            yield from walk(pattern.url_patterns, address)
        else:
            yield address, pattern


def is_api(address):
    return address.startswith(("/api/v1", "/scim/v2"))


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


def test_all_routes_use_the_same_permission_and_authentication():
    for address, pattern in API_VIEWS:
        view = pattern.callback.cls
        is_public = any(operation.is_public or operation.is_for_services for operation in view.operations.values())
        assert [cls.__name__ for cls in view.permission_classes] == ["OperationPermission"], address
        assert [cls.__name__ for cls in view.authentication_classes] == (
            [] if is_public else ["AccessTokenAuthentication", "SessionAuthentication"]
        ), address
        assert view.get_permissions is ApiViewSet.get_permissions, address
        assert view.check_permissions is ApiViewSet.check_permissions, address


def test_list_of_operations_is_complete():
    listed = {(route.method, route.path) for route in routes()}

    assert listed == {
        (method.upper(), address) for address, pattern in API_VIEWS for method in pattern.callback.actions
    } - {("HEAD", address) for address, _ in API_VIEWS}


def named(found):
    return [f"{route.method} {route.path}" for route in found]


def test_read_only_scope_allows_no_operation_that_changes_data():
    changing = [route for route in routes() if not route.operation.only_reads]

    assert named(route for route in changing if any(scope.only_reads for scope in route.operation.scopes)) == []


def test_get_operations_only_read():
    assert named(route for route in routes() if route.method == "GET" and not route.operation.only_reads) == []


def test_operation_for_every_token_requires_no_scope():
    assert named(route for route in routes() if route.operation.any_token and route.operation.scopes) == []


def test_only_report_of_a_found_token_requires_no_credentials():
    assert [route.path for route in routes() if route.operation.is_public] == [
        "/api/v1/token-exchange",
        "/api/v1/tokens/report",
    ]


def test_only_reports_of_uses_are_for_services():
    assert [route.path for route in routes() if route.operation.is_for_services] == ["/api/v1/services/<id:pk>/uses"]


def test_no_token_can_create_a_token():
    [create] = [route for route in routes() if (route.method, route.path) == ("POST", "/api/v1/tokens")]

    assert create.operation.is_closed_to_tokens


def test_every_scope_allows_an_operation():
    opening = {scope for route in routes() for scope in route.operation.scopes}

    assert opening == set(SCOPES)


class UncheckedViewSet(ApiViewSet):
    """A view for services that forgets to check their credentials."""

    operations: ClassVar[dict[str, Operation]] = {"answer": Operation("Anything", is_for_services=True)}
    authentication_classes = []

    def answer(self, request: HttpRequest, **kwargs: Any) -> Response:
        return Response("should never be seen")


class UndeclaredViewSet(ApiViewSet):
    """A view that does not declare who can use it."""

    operations: ClassVar[dict[str, Operation]] = {}

    def answer(self, request: HttpRequest, **kwargs: Any) -> Response:
        return Response("should never be seen")


urlpatterns = [
    path("api/v1/undeclared", UndeclaredViewSet.as_view({method.lower(): "answer" for method in METHODS})),
    path("api/v1/unchecked", UncheckedViewSet.as_view({"post": "answer"})),
    path("", include("opsera_portal.urls")),
]


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("method", METHODS)
def test_route_without_an_operation_is_closed_to_an_administrator(api, administrator, method):
    api.force_login(administrator)

    answer = api.generic(method, "/api/v1/undeclared")

    assert answer.status_code == 403
    assert b"never" not in answer.content


@pytest.mark.urls(__name__)
def test_route_for_services_is_closed_without_a_check(api, db):
    assert api.post("/api/v1/unchecked").status_code == 403


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("method", METHODS)
def test_route_without_an_operation_is_closed_to_every_token(api, administrator, method):
    everything = " ".join(scope.id for scope in SCOPES)
    administrator.organization.allowed_scopes = everything
    administrator.organization.save()

    answer = api.generic(
        method, "/api/v1/undeclared", headers=bearer(TokenFactory(owner=administrator, scope=everything))
    )

    assert answer.status_code == 403
    assert b"never" not in answer.content
    assert TokenUse.objects.get().reason == "forbidden"


# The pages


def filled(pattern, address):
    """Returns the address with a value for each parameter."""
    values = {"pk": "6f1e4ad0-0000-4000-8000-000000000000", "object_id": "1", "number": "1"}
    values |= dict.fromkeys(
        ["step_pk", "rule_pk", "user_pk", "account_pk", "event_pk", "secret_pk", "public_id"], values["pk"]
    )
    for name, converter in pattern.pattern.converters.items():
        kind = type(converter).__name__.removesuffix("Converter").lower()
        for spelling in (f"<{kind}:{name}>", f"<{name}>"):
            address = address.replace(spelling, "1" if kind == "int" else values.get(name, "1"))
    return address


def addresses():
    """Returns every address outside the API, with values for its parameters.

    For the catch-all patterns of Django admin, the list contains an address that only they match.
    """
    found = set()
    for address, pattern in EVERYTHING:
        if is_api(address) or address.startswith(ASKED_BY_PROGRAMS):
            continue
        if address.startswith("/admin/") and not hasattr(pattern.pattern, "_route"):
            address = address.partition("(?P<")[0] + "nothing/"
        found.add(filled(pattern, address).replace("^", "").replace("$", ""))
    return sorted(found)


def test_every_address_has_values_for_its_parameters():
    assert len(addresses()) > 30
    assert not [address for address in addresses() if set(address) & set("<>()?*[]\\")]


def test_every_open_address_exists():
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
            # Django admin redirects to its own sign-in page first, which redirects again.
            if not destination.startswith("/admin/"):
                break
            answer = client.get(answer.headers["Location"])
        return f"sent to {destination}"

    closed = [address for address in addresses() if address not in OPEN]
    check_row(method, dict.fromkeys(closed, "sent to sign in"), attempt)


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["/healthz", "/readyz", "/robots.txt", "/.well-known/jwks.json", "/api/schema/"])
def test_addresses_for_programs_are_open_without_sign_in(client, address):
    answer = client.get(address)

    assert answer.status_code == 200
    assert not answer.cookies
