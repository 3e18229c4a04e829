"""Issuers of CI systems for tests: servers with a discovery document and keys, and the published shapes of claims."""

import json
import threading
import time
import uuid
from contextlib import contextmanager
from functools import cache

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

from accounts.tests.openid import Silent

AUDIENCE = "https://portal.example.com/acme"


@cache
def key_of(algorithm):
    """Made when a test asks for it, because all processes import this module."""
    match algorithm:
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case "EdDSA":
            return ed25519.Ed25519PrivateKey.generate()
        case "RS256":
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case "PS256":
            return key_of("RS256")
    raise KeyError(algorithm)


class Issuer:
    def __init__(self):
        self.server = make_server("localhost", 0, self, threaded=True, request_handler=Silent)
        self.issuer = f"http://localhost:{self.server.server_port}"
        self.asked = []
        self.config = {}
        self.kids = ["RS256", "PS256", "ES256", "EdDSA"]

    def __call__(self, environ, start_response):
        path = environ["PATH_INFO"]
        self.asked.append(path)
        body = {"keys": [public_key(kid) for kid in self.kids]}
        if path == "/.well-known/openid-configuration":
            body = {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys", **self.config}
        return Response(json.dumps(body), content_type="application/json")(environ, start_response)

    def sign(self, claims, *, algorithm="RS256", kid=None, key=None, headers=None):
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": AUDIENCE, "iat": now, "nbf": now, "exp": now + 300, **claims}
        claims = {name: value for name, value in {"jti": str(uuid.uuid4()), **claims}.items() if value is not None}
        headers = {"kid": kid or algorithm, **(headers or {})}
        return jwt.encode(claims, key or key_of(algorithm), algorithm=algorithm, headers=headers)


def public_key(kid):
    algorithm = jwt.get_algorithm_by_name(kid)
    return {**json.loads(algorithm.to_jwk(key_of(kid).public_key())), "kid": kid, "alg": kid, "use": "sig"}


@contextmanager
def running_issuer():
    found = Issuer()
    thread = threading.Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield found
    finally:
        found.server.shutdown()
        thread.join()
        found.server.server_close()


def github(**changes):
    """docs.github.com, "OpenID Connect reference"."""
    return {
        "sub": "repo:acme/shop:ref:refs/heads/main",
        "repository": "acme/shop",
        "repository_id": "74",
        "repository_owner": "acme",
        "repository_owner_id": "65",
        "repository_visibility": "private",
        "ref": "refs/heads/main",
        "ref_type": "branch",
        "sha": "example-sha",
        "workflow": "deploy",
        "job_workflow_ref": "acme/shop/.github/workflows/deploy.yml@refs/heads/main",
        "event_name": "push",
        "actor": "octocat",
        "run_id": "9231",
        "run_number": "10",
        "run_attempt": "2",
        "runner_environment": "github-hosted",
        **changes,
    }


def gitlab(**changes):
    """docs.gitlab.com, "OpenID Connect (OIDC) Authentication Using ID Tokens"."""
    return {
        "sub": "project_path:acme/shop:ref_type:branch:ref:main",
        "namespace_id": "72",
        "namespace_path": "acme",
        "project_id": "20",
        "project_path": "acme/shop",
        "user_login": "sample-user",
        "pipeline_id": "574",
        "pipeline_source": "push",
        "job_id": "302",
        "ref": "main",
        "ref_type": "branch",
        "ref_path": "refs/heads/main",
        "ref_protected": "true",
        "runner_environment": "gitlab-hosted",
        **changes,
    }
