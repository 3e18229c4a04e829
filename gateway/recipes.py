"""The lines that connect a service, for proxies and languages, with the values of this installation.

Tests start the proxies with these lines.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from django.template.loader import render_to_string

from gateway.models import Check, Service


@dataclass(frozen=True)
class Recipe:
    """``id``: also the name of its file. Names of products are not translated."""

    id: str
    name: str
    check: Check

    def text(self, service: Service) -> str:
        return render_to_string(f"gateway/recipes/{self.id}.txt", values_of(service)).strip() + "\n"


RECIPES = (
    Recipe("nginx", "nginx", Check.FORWARD_AUTH),
    Recipe("caddy", "Caddy", Check.FORWARD_AUTH),
    Recipe("traefik", "Traefik", Check.FORWARD_AUTH),
    Recipe("envoy", "Envoy", Check.FORWARD_AUTH),
    Recipe("ingress", "Kubernetes (ingress-nginx)", Check.FORWARD_AUTH),
    Recipe("apache", "Apache (mod_auth_openidc)", Check.INTROSPECTION),
    Recipe("spring", "Spring", Check.INTROSPECTION),
    Recipe("go", "Go", Check.INTROSPECTION),
    Recipe("curl", "curl", Check.INTROSPECTION),
    Recipe("python", "Python (PyJWT)", Check.STATUS_LIST),
    Recipe("fastapi", "FastAPI", Check.STATUS_LIST),
    Recipe("django", "Django", Check.STATUS_LIST),
    Recipe("express", "Express (jose)", Check.STATUS_LIST),
)


def recipes_for(service: Service) -> Iterator[Recipe]:
    """Those for the way in which the service checks tokens."""
    return (recipe for recipe in RECIPES if recipe.check == service.check_by)


def values_of(service: Service) -> dict[str, str | bool]:
    """Where the registered service has no address or no scopes, the lines have an example."""
    portal, host = settings.PORTAL_URL, service.host or "grafana.example.com"
    parts, scopes = urlsplit(portal), service.all_scopes
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return {
        "portal_url": portal,
        "portal_scheme": parts.scheme,
        "portal_host": parts.netloc,
        "portal_hostname": parts.hostname or "",
        "portal_address": f"{parts.hostname}:{port}",
        "service_id": str(service.pk),
        "slug": service.slug,
        "site": service.address or f"https://{host}",
        "host": host,
        "hostname": urlsplit(f"//{host}").hostname or host,
        "upstream": "127.0.0.1:3000",
        "allows_sessions": service.allows_sessions,
        "audience": service.audience,
        "issuer": settings.TOKEN_ISSUER,
        "algorithm": settings.TOKEN_SIGNING_ALGORITHM,
        "first_scope": scopes[0].id if scopes else f"service:{service.slug}:read",
        "jwks_url": f"{portal}/.well-known/jwks.json",
        "introspection_url": f"{portal}/oauth/introspect",
        "uses_url": f"{portal}/api/v1/services/{service.pk}/uses",
    }
