"""Runs the Postman collection with newman against a started portal."""

import json
import os
import re
import shutil
import subprocess
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode

import pytest
from django.conf import settings

from opsera_portal.tests.portal import PASSWORD

pytestmark = pytest.mark.integration

FOLDER = Path(settings.BASE_DIR) / "docs" / "postman"
COLLECTION = FOLDER / "opsera-portal.postman_collection.json"
NEWMAN = FOLDER / "node_modules" / ".bin" / "newman"


class Session:
    """A browser session of a script: keeps cookies and sends the CSRF token of each page."""

    def __init__(self, portal, email):
        self.url = portal.url
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        self.post("/login/", {"login": email, "password": PASSWORD})

    def post(self, path, fields):
        page = self.opener.open(f"{self.url}{path}").read().decode()
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)[1]
        data = urlencode(fields | {"csrfmiddlewaretoken": token}, doseq=True).encode()
        return self.opener.open(f"{self.url}{path}", data).read().decode()

    def make_token(self, name, scope, lifetime="1d"):
        form = {"name": name, "scopes": scope.split(), "lifetime": lifetime, "expires_at": ""}
        page = self.post("/profile/tokens/", form)
        return re.search(r'id="signed-jwt">([^<]+)<', page)[1]


@pytest.mark.parametrize("role", ["admin", "user"])
def test_whole_collection_works_for_role(role, portal, tmp_path):
    if shutil.which("node") is None or not NEWMAN.exists():
        pytest.skip("newman needs node and npm; make test installs it if they are installed")
    session = Session(portal, f"{role}@demo.example")
    other = session.make_token("for Postman to expire", "pipeline")
    token = session.make_token("in Postman", "api")
    report = tmp_path / "report.json"
    variables = {
        "address": portal.url,
        "token": token,
        "tokenToExpire": token_id(other),
        "expireTokenInUse": "yes",
    }
    command = [str(NEWMAN), "run", str(COLLECTION), "--reporters", "json,cli", "--reporter-json-export", str(report)]
    for name, value in variables.items():
        command += ["--env-var", f"{name}={value}"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"NO_COLOR": "1"}, timeout=120)

    assert done.returncode == 0, done.stdout + done.stderr
    answered = json.loads(report.read_text())["run"]
    skipped = in_the_folder() if role == "user" else []
    sent = [item for item in items() if "changeThings" not in json.dumps(item["event"]) and item not in skipped]
    assert {"Run a pipeline", "Expire the token in use"} <= {item["name"] for item in sent}
    assert answered["stats"]["requests"] == {"total": len(sent), "pending": 0, "failed": 0}
    assert answered["stats"]["assertions"]["failed"] == 0
    assert answered["stats"]["assertions"]["total"] >= 2 * len(sent)


def test_folder_contains_requests_that_require_an_administrator():
    names = {item["name"] for item in in_the_folder()}

    assert {"List people", "Expire several tokens", "Read the organization's activity log"} <= names
    assert not names & {"List pipelines", "Run a pipeline", "List my tokens", "Expire the token in use"}


def in_the_folder():
    (folder,) = [item["item"] for item in json.loads(COLLECTION.read_text())["item"] if "item" in item]
    return folder


def items():
    """Yields all requests, including those in the folder."""
    for item in json.loads(COLLECTION.read_text())["item"]:
        yield from item.get("item", [item])


def token_id(signed_jwt):
    import jwt as pyjwt

    return pyjwt.decode(signed_jwt, options={"verify_signature": False})["jti"]
