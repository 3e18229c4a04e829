"""Follows README's first hour with a started portal: what it prints, and the calls with curl."""

import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from django.conf import settings

from opsera_portal.tests.portal import PASSWORD
from opsera_portal.tests.test_postman import Session

pytestmark = pytest.mark.integration

README = (Path(settings.BASE_DIR) / "README.md").read_text()
PRINTED_ID = "7756ec6a-..."


def curl_commands():
    """Returns README's calls in order, each as one line with the answer below it."""
    lines = [line.strip() for line in README.replace("\\\n", " ").splitlines()]
    return [(line[2:], lines[number + 1]) for number, line in enumerate(lines) if line.startswith("$ curl ")]


def run(command, portal, token):
    address = portal.url.replace("127.0.0.1", "localhost")
    command = command.replace("http://localhost:8000", address)
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=True, env=os.environ | {"TOKEN": token}
    )
    return json.loads(done.stdout)


def test_calls_of_the_readme_succeed(portal):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    token = Session(portal, "user@demo.example").make_token("of the README", "pipeline")
    (listing, listed), (running, _), (asking, said) = curl_commands()

    pipelines = run(listing, portal, token)
    first = pipelines["data"][0]
    started = run(running.replace(PRINTED_ID, first["id"]), portal, token)
    deadline = time.monotonic() + 30
    while (answer := run(asking.replace(PRINTED_ID, first["id"]), portal, token))["status"] in {"queued", "running"}:
        assert time.monotonic() < deadline
        time.sleep(0.1)

    assert started["status"] == "executed"
    assert (answer["status"], answer["runCount"]) == ("success", started["runCount"])
    # README shows these answers with other ids and numbers.
    assert f'"id": "{PRINTED_ID}", "name": "{first["name"]}"' in listed
    assert json.loads(said) == answer | {
        "runCount": 2,
        "message": answer["message"].replace(f"Run {started['runCount']} ", "Run 2 "),
    }


def test_start_prints_host_name_accounts_and_mail_folder(portal):
    output = portal.output.read_text()
    port = portal.url.rpartition(":")[2]
    block = re.search(r"The portal is ready: (\S+)\n(.*?)Stop with Ctrl-C\.\n", output, re.DOTALL)

    # Browsers create passkeys only for host names.
    assert block[1] == f"http://localhost:{port}/"
    assert urllib.request.urlopen(f"{block[1]}readyz").status == 200
    assert re.findall(r"^  (\S+) +(.+)$", block[2], re.MULTILINE) == [
        (f"{login}@demo.example", PASSWORD) for login in ("admin", "power", "user", "guest", "security", "auditor")
    ] + [("admin@other.example", PASSWORD)]
    assert str(portal.data / "demo-accounts.txt") in block[2]
    assert f"{portal.data / 'demo-mails'}/" in block[2]


def test_mails_of_the_demo_are_written_to_files_and_not_to_the_console(portal):
    folder = portal.data / "demo-mails"
    deadline = time.monotonic() + 30
    while not (mails := [file.read_text() for file in folder.glob("*")]) or not any(
        "Subject:" in mail for mail in mails
    ):
        assert time.monotonic() < deadline
        time.sleep(0.1)

    assert folder.stat().st_mode & 0o777 == 0o700
    assert "Subject:" not in portal.output.read_text()
