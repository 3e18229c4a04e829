"""A portal that runs and trusts the proxies of this machine, with services, tokens and the lines of their pages."""

import json
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import httpx
from django.conf import settings

from gateway.tests import proxies
from opsera_portal.tests import portal as started

RULES = """\
GET,HEAD /api/dashboards/** read
POST /api/dashboards/** write
* /public/** any
GET /live any
* /admin/** nobody"""

MAKE = """
import json
from datetime import timedelta
from django.utils import timezone
from accounts.models import User
from core.api import scopes as portal_scopes
from gateway.models import Service, ServiceCredential
from gateway.recipes import recipes_for
from gateway.secrets import digest_of, new_secret
from tokens.services import issue_token, reveal_token
owner = User.objects.get(email="user@demo.example")
scopes = [{"name": name, "label": name, "description": name, "only_reads": False} for name in ("read", "write")]
services = {
    slug: Service.objects.create(
        organization=owner.organization, name=slug, name_key=slug, slug=slug, scopes=scopes, site_roles="user",
        rules=%r, check_by=check, allows_sessions=True,
    )
    for slug, check in (
        ("grafana", "forward_auth"), ("other", "forward_auth"), ("apache", "introspection"),
        ("registry", "status_list"), ("mirror", "status_list"),
    )
}
secrets = {slug: new_secret() for slug in ("apache", "registry")}
for slug, secret in secrets.items():
    ServiceCredential.objects.create(service=services[slug], digest=digest_of(secret))
tokens = {}
for name, scope in (
    ("reads", "service:grafana:read"),
    ("writes", "service:grafana:read service:grafana:write"),
    ("ends nginx", "service:grafana:read"),
    ("ends Caddy", "service:grafana:read"),
    ("ends Envoy", "service:grafana:read"),
    ("other", "service:other:read"),
    ("apache", "service:apache:read"),
    ("apache writes", "service:apache:write"),
    ("ends Apache", "service:apache:read"),
    ("registry", "service:registry:read"),
    ("ends Python", "service:registry:read"),
    ("ends Express", "service:registry:read"),
    ("mirror", "service:mirror:read"),
    ("portal", "api"),
):
    service = services.get(scope.split(":")[1]) if ":" in scope else None
    token = issue_token(
        actor=owner, name=name, service=service and service.pk, expires_at=timezone.now() + timedelta(days=1),
        chosen=service.chosen(scope) if service else portal_scopes.in_order(scope),
    )
    tokens[name] = [str(token.pk), reveal_token(actor=owner, token=token)[1]]
print(json.dumps({
    "tokens": tokens,
    "recipes": {
        recipe.id: recipe.text(services[slug])
        for slug in ("grafana", "apache", "registry")
        for recipe in recipes_for(services[slug])
    },
    "secrets": secrets,
    "service": str(services["grafana"].pk),
    "owner": str(owner.pk),
}))
"""


@contextmanager
def started_in(folder):
    portal = started.start(folder, TRUSTED_PROXIES="127.0.0.1")
    small = proxies.SmallService()
    try:
        made = in_shell(portal, MAKE % RULES)
        tokens = made.pop("tokens")
        yield SimpleNamespace(
            portal=portal,
            small=small,
            tokens={name: token for name, (_, token) in tokens.items()},
            ends={name.removeprefix("ends "): both for name, both in tokens.items()},
            **made,
        )
    finally:
        small.stop()
        portal.stop()
        started.drop_database(portal.database_url)


def in_shell(portal, code):
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "shell", "--no-imports", "-c", code]
    done = subprocess.run(command, env=portal.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def expire(running, token_id):
    address = f"{running.portal.url}/api/v1/tokens/{token_id}/expire"
    answer = httpx.post(address, headers={"Authorization": f"Bearer {running.tokens['portal']}"})
    assert answer.status_code == 200
