"""The examples of the guides work as they are, against the started portal with a real token.

The guides for CI systems contain the script of the guide for curl, which is run once.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from django.conf import settings

from opsera_portal.tests.test_postman import Session

pytestmark = [pytest.mark.once, pytest.mark.integration]

DOCS = Path(settings.BASE_DIR) / "docs"
GUIDES = sorted(DOCS.glob("guides/*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# How to run an example, by its language: the name of its file and the programs that it needs.
RUN = {
    "bash": ("example.sh", ["sh", "curl", "jq", "openssl"]),
    "python": ("example.py", [sys.executable]),
    "javascript": ("example.mjs", ["node"]),
}
PIPELINE = "Build and test"
NAME = "Nightly checks"


def blocks_of(document, language):
    return [text for found, text in BLOCK.findall((DOCS / document).read_text()) if found == language]


def run(document, language, directory, **environment):
    """Runs the only example of this language in the document, as if it were pasted into a file."""
    name, programs = RUN[language]
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"the example needs {program}")
    (example,) = blocks_of(document, language)
    file = directory / name
    file.write_text(example)
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command = [programs[0], str(file)]
    return subprocess.run(command, capture_output=True, text=True, env=kept | environment, timeout=60, cwd=directory)


@pytest.fixture(scope="session")
def user(portal):
    """An ordinary User of the demo in a browser session."""
    return Session(portal, "user@demo.example")


@pytest.fixture(scope="session")
def token(user):
    return user.make_token("in the guides", "pipeline")


RUNNERS = [
    ("guides/curl.md", "bash"),
    ("guides/python.md", "python"),
    ("guides/javascript.md", "javascript"),
]


@pytest.mark.parametrize(("document", "language"), RUNNERS)
def test_example_runs_a_pipeline(document, language, portal, token, tmp_path):
    done = run(document, language, tmp_path, PORTAL_URL=portal.url, PORTAL_TOKEN=token, PIPELINE=PIPELINE)

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.fullmatch(rf"Run (\d+) of “{PIPELINE}” is queued.\nRun \1 of “{PIPELINE}”: success.\n", done.stdout)
    assert done.stderr == ""


@pytest.mark.parametrize(("document", "language"), RUNNERS)
def test_example_fails_if_the_run_fails(document, language, portal, token, tmp_path):
    done = run(document, language, tmp_path, PORTAL_URL=portal.url, PORTAL_TOKEN=token, PIPELINE="Dependency scan")

    assert done.returncode != 0
    assert re.search(r"Run \d+ of “Dependency scan”: failed\.", done.stderr)


@pytest.mark.parametrize(("document", "language"), RUNNERS)
def test_example_shows_why_a_token_is_refused(document, language, portal, tmp_path):
    done = run(document, language, tmp_path, PORTAL_URL=portal.url, PORTAL_TOKEN="nothing", PIPELINE=PIPELINE)

    assert done.returncode != 0
    assert "401" in done.stderr
    assert "The token is not valid." in done.stderr


def test_quick_start_shows_who_you_are(portal, token, tmp_path):
    done = run("quick-start.md", "bash", tmp_path, PORTAL_URL=portal.url, PORTAL_TOKEN=token)

    answer, (described,) = json.loads(done.stdout), map(json.loads, blocks_of("quick-start.md", "json"))
    assert answer["user"]["email"] == described["user"]["email"]
    assert answer.keys() == described.keys()
    assert answer["user"].keys() == described["user"].keys()
    assert answer["organization"].keys() == described["organization"].keys()
    assert answer["token"].keys() >= described["token"].keys()


def send(portal, token, method, path, body=None):
    """The answer of the API."""
    request = urllib.request.Request(f"{portal.url}/api/v1/{path}", method=method)
    request.add_header("Authorization", f"Bearer {token}")
    request.add_header("Content-Type", "application/json")
    return json.load(urllib.request.urlopen(request, json.dumps(body).encode() if body else None))


def test_automation_creates_what_is_missing_and_changes_only_what_differs(portal, user, tmp_path):
    fresh = user.make_token("applies a file", "api", lifetime="1mo")

    def apply(token, **environment):
        return run("guides/automation.md", "python", tmp_path, PORTAL_URL=portal.url, PORTAL_TOKEN=token, **environment)

    first, second = apply(fresh), apply(fresh)
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == f"Creating the pipeline {NAME}.\nReplacing the access rules.\n"
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")

    (row,) = send(portal, fresh, "GET", "pipelines?q=Nightly+checks")["data"]
    step = send(portal, fresh, "GET", f"pipelines/{row['id']}")["steps"][0]
    changed = {name: step[name] for name in ("id", "name", "kind", "url")} | {"secret_headers": {"X-Key": "entered"}}
    send(portal, fresh, "PATCH", f"pipelines/{row['id']}", {"tags": [], "steps": [changed]})
    third = apply(fresh)
    assert third.stdout == "Changing tags, steps of the pipeline.\n", third.stderr
    steps = send(portal, fresh, "GET", f"pipelines/{row['id']}")["steps"]
    assert [(step["kind"], step["secret_header_names"], step["missing_secrets"]) for step in steps] == [
        ("http_call", ["X-Key"], []),
        ("approval", [], []),
    ]

    ends_soon = user.make_token("ends soon", "api", lifetime="1d")
    fourth = apply(ends_soon, PORTAL_OLD_TOKEN=fresh)
    assert (fourth.returncode, fourth.stdout) == (3, "Expiring the old token.\n")
    assert f"{portal.url}/profile/tokens/?name=ends+soon&scopes=api&lifetime=1mo" in fourth.stderr
    with pytest.raises(urllib.error.HTTPError, match="401"):
        send(portal, fresh, "GET", "me")
    fifth = apply(ends_soon, PORTAL_OLD_TOKEN=fresh)
    assert (fifth.returncode, fifth.stdout) == (3, "")


def test_scripts_replace_their_own_token(portal, user, tmp_path):
    first = user.make_token("rotates", "pipeline tokens:rotate")
    file = tmp_path / "token"
    file.write_text(first)

    def rotate(**environment):
        named = {"PORTAL_URL": portal.url, "TOKEN_FILE": str(file)}
        return run("guides/rotation.md", "bash", tmp_path, **named | environment)

    done = rotate()
    assert (done.stdout, done.stderr, done.returncode) == ("Replaced the token.\n", "", 0)
    second = file.read_text()
    assert second != first
    assert file.stat().st_mode & 0o777 == 0o600
    # The old one works on for an hour.
    assert {send(portal, each, "GET", "me")["token"]["name"] for each in (first, second)} == {"rotates"}
    # A run that was interrupted after the answer.
    (tmp_path / "token.answer").write_text(json.dumps({"token": "from the last run"}))
    assert rotate().stdout == "Stored the token of the last rotation.\n"
    assert file.read_text() == "from the last run"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["example.sh", "token", "token.lock"]

    # GitHub's program stores what it reads.
    (workflow,) = blocks_of("guides/rotation.md", "yaml")
    (step,) = yaml.safe_load(workflow)["jobs"]["rotate"]["steps"]
    gh = tmp_path / "gh"
    gh.write_text('#!/bin/sh\n[ "$2" = list ] || cat > "$STORED"\n')
    gh.chmod(0o700)
    stored = tmp_path / "stored"
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "STORED": str(stored)} | dict.fromkeys(step["env"], "x")
    environment |= {"PORTAL_URL": portal.url, "PORTAL_TOKEN": second}
    done = subprocess.run(["sh", "-c", step["run"]], capture_output=True, text=True, env=environment, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("Replaced the token.\n", "", 0)
    third = stored.read_text()
    assert send(portal, third, "GET", "me")["token"]["scopes"] == ["pipeline", "tokens:rotate"]

    # The second one was replaced: rotating it again ends both.
    file.write_text(second)
    again = rotate()
    assert again.returncode == 1
    assert "someone may have a copy" in again.stderr
    for token in (second, third):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            send(portal, token, "GET", "me")


def scripts_of_ci_systems():
    """The name of each guide with the script in its example."""
    (workflow,) = blocks_of("guides/github-actions.md", "yaml")
    (step,) = yaml.safe_load(workflow)["jobs"]["run-pipeline"]["steps"]
    yield "GitHub Actions", step["run"], step["env"].keys()
    (job,) = blocks_of("guides/gitlab-ci.md", "yaml")
    (script,) = yaml.safe_load(job)["run-pipeline"]["script"]
    yield "GitLab CI", script, {"PORTAL_URL", "PORTAL_TOKEN", "PIPELINE"}
    (jenkinsfile,) = blocks_of("guides/jenkins.md", "groovy")
    yield "Jenkins", re.search(r"sh '''#!/bin/sh\n(.*?)'''", jenkinsfile, re.DOTALL)[1], set()


def test_guides_for_ci_systems_contain_the_script_of_the_guide_for_curl():
    (curl,) = blocks_of("guides/curl.md", "bash")
    script = curl.removeprefix("#!/bin/sh\n# Runs a pipeline and waits until the run ends.\n")

    assert {name: text for name, text, _ in scripts_of_ci_systems()} == dict.fromkeys(
        ["GitHub Actions", "GitLab CI", "Jenkins"], script
    )
    # In Jenkinsfiles, a backslash begins an escape, and three quotes end the script.
    assert "\\" not in script
    assert "'''" not in script


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_yaml_and_json_of_guide_can_be_read(guide):
    for language, text in BLOCK.findall(guide.read_text()):
        if language == "yaml":
            assert yaml.safe_load(text)
        if language == "json":
            json.loads(text)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_guide_has_all_parts(guide):
    headings = re.findall(r"^## (.+)$", guide.read_text(), re.MULTILINE)
    parts = ["What you need", "Errors", "Keep the token secret", "Find its uses"]

    assert [heading for heading in headings if heading in parts] == parts
    assert [status for status in ("401", "403", "429", "503", "Retry-After") if status not in guide.read_text()] == []
