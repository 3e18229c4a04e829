"""How programs find out what the portal and its services understand (RFC 8414 and RFC 9728).

Everyone can read it, signed in or not, and scripts of all sites.
"""

import uuid
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.http import HttpRequest, JsonResponse

from accounts.access_tokens import access_tokens
from core.api.audiences import audience_of
from core.api.scopes import SCOPES
from core.http.open_views import open_to_everybody
from core.http.public_address import public_url
from gateway.client_authentication import METHODS
from gateway.models import Service

MAX_AGE = timedelta(minutes=5)


@open_to_everybody
def authorization_server(request: HttpRequest) -> JsonResponse:
    """RFC 8414."""
    about = {
        "issuer": settings.TOKEN_ISSUER,
        **access_tokens().metadata(),
        "introspection_endpoint": public_url("introspect"),
        "introspection_endpoint_auth_methods_supported": METHODS,
        "revocation_endpoint": public_url("revoke"),
        # `none`: having a token is enough to end it.
        "revocation_endpoint_auth_methods_supported": [*METHODS, "none"],
        # Required, and empty: people create tokens on a page, and no program can start that.
        "response_types_supported": [],
        "scopes_supported": [scope.id for scope in SCOPES],
        "protected_resources": [audience_of(None)],
        "service_documentation": public_url("api_docs"),
    }
    return _published(about)


@open_to_everybody
def api_of_portal(request: HttpRequest) -> JsonResponse:
    """RFC 9728, for the portal's own API."""
    about = _resource(None, [scope.id for scope in SCOPES])
    return _published(about | {"resource_name": "Opsera Portal API", "resource_documentation": public_url("api_docs")})


@open_to_everybody
def service(request: HttpRequest, pk: uuid.UUID) -> JsonResponse:
    """RFC 9728, for one service.

    Clients need its scopes to ask people for a token. Its name, address and organization are left out: the id is in
    every refusal of the service and so no secret, and strangers must not learn from it what a company runs.
    """
    found = Service.objects.filter(pk=pk, is_enabled=True).first()
    if found is None:
        return _published({"error": "not_found"}, status=404)
    return _published(_resource(pk, [scope.id for scope in found.all_scopes]))


def _resource(service_id: uuid.UUID | None, scopes: list[str]) -> dict[str, Any]:
    return {
        "resource": audience_of(service_id),
        "authorization_servers": [settings.TOKEN_ISSUER],
        "bearer_methods_supported": ["header"],
        "scopes_supported": scopes,
    }


def _published(about: dict[str, Any], *, status: int = 200) -> JsonResponse:
    response = JsonResponse(about, status=status)
    response["Access-Control-Allow-Origin"] = "*"
    response["Cache-Control"] = f"public, max-age={MAX_AGE // timedelta(seconds=1)}"
    return response
