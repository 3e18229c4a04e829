"""A service in JavaScript verifies tokens and answers with the library `jose` and the published keys."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from django.conf import settings

from gateway.models import Check
from gateway.tests.clients import basic, send
from gateway.tests.factories import ServiceFactory, secret_of
from tokens import jwt
from tokens.tests.factories import TokenFactory

pytestmark = [pytest.mark.once, pytest.mark.integration]

FOLDER = Path(settings.BASE_DIR) / "opsera_portal" / "tests" / "clients"


def verified(**given):
    if shutil.which("node") is None or not (FOLDER / "node_modules" / "jose").exists():
        pytest.skip("jose needs node and npm; make test installs it where they are")
    done = subprocess.run(
        ["node", FOLDER / "verify.mjs"], input=json.dumps(given), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_jose_verifies_token_and_answer(api, owner):
    service = ServiceFactory(organization=owner.organization, slug="grafana", check_by=Check.INTROSPECTION)
    token = TokenFactory(owner=owner, service=service, scope="service:grafana:read")
    signed, _key_id = jwt.encode(token)
    headers = {**basic(service, secret_of(service)), "Accept": "application/token-introspection+jwt"}
    answer = send(api, "/oauth/introspect", {"token": signed}, headers)

    read = verified(
        jwks=api.get("/.well-known/jwks.json").json(),
        issuer=settings.TOKEN_ISSUER,
        audience=service.audience,
        clientId=str(service.pk),
        token=signed,
        introspection=answer.content.decode(),
    )

    assert read["token"] == jwt.claims_of(token)
    assert read["introspection"]["token_introspection"]["sub"] == str(owner.pk)
    assert read["refused"] == ["ERR_JWT_CLAIM_VALIDATION_FAILED"] * 3
