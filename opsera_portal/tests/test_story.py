"""Tests the main use of the portal in a browser and with curl, with scripts and without.

A person signs in, creates a token, sees it once, uses it, reads its log and expires it.
"""

import json
import shutil
import subprocess
import time

import pytest

from accounts.security.session_store import SessionStore
from opsera_portal.tests.portal import PASSWORD

pytestmark = pytest.mark.browser

PERSON = "user@demo.example"


def curl(portal, path, token, body=None):
    """Calls the API with curl as the README says; returns status and JSON."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = ["curl", "-sS", "-w", "\n%{http_code}", "-H", f"Authorization: Bearer {token}", f"{portal.url}{path}"]
    if body is not None:
        command += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
    text, _, status = subprocess.run(command, capture_output=True, text=True, check=True).stdout.rpartition("\n")
    return int(status), json.loads(text)


@pytest.fixture(params=[True, False], ids=["with scripts", "without scripts"])
def scripts(request):
    return request.param


@pytest.fixture
def page(chromium, portal, scripts):
    context = chromium.new_context(java_script_enabled=scripts, base_url=portal.url)
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=portal.url)
    page = context.new_page()
    page.set_default_timeout(10_000)
    problems = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    context.close()
    assert problems == []


def sign_in(page, email=PERSON):
    page.goto("/")
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/login/" not in url)


def use_saved_sign_in(page, chromium, portal):
    with chromium.signed_in(portal, PERSON) as other:
        page.context.add_cookies(other.cookies())


def open_tokens_page(page):
    """Opens the page as the reference describes: name at the top right, Profile, Access tokens."""
    page.locator("summary", has_text="Uma Patel").first.click()
    page.get_by_role("link", name="Profile", exact=True).click()
    page.get_by_role("navigation").get_by_role("link", name="Access tokens").last.click()
    page.wait_for_url("**/profile/tokens/")


def make_token(page, name):
    page.get_by_label("Name", exact=True).first.fill(name)
    page.get_by_role("radio", name="1 week").check()
    page.get_by_role("checkbox", name="Pipeline Access", exact=True).check()
    page.get_by_role("button", name="Create token").click()
    page.wait_for_url("**/reveal/")


def read_token(page, scripts):
    shown = page.locator("#signed-jwt").text_content()
    if scripts:
        # The workflow reads the token from a secret: it doesn't contain it.
        page.get_by_text("GitHub Actions", exact=True).click()
        page.locator("[data-copy='#example-github']").click()
        page.get_by_text("Copied").first.wait_for()
        assert asked_before_leaving(page)
        page.locator("#copy-token").click()
        page.get_by_text("Copied").first.wait_for()
        assert pasted(page.context) == shown
        assert not asked_before_leaving(page)
    return shown


def asked_before_leaving(page):
    """Whether the browser would ask, if a person left the page now."""
    return page.evaluate(
        "() => !window.dispatchEvent(new Event('beforeunload', {cancelable: true}))",
    )


def pasted(context):
    """Pastes the copied text into another page, because the portal's can't read the clipboard."""
    elsewhere = context.new_page()
    elsewhere.set_content("<textarea></textarea>")
    elsewhere.locator("textarea").press("Control+V")
    text = elsewhere.locator("textarea").input_value()
    elsewhere.close()
    return text


def wait_for_run(portal, token, pipeline_id, number):
    for _ in range(100):
        _, body = curl(portal, "/api/v1/pipeline/status", token, {"pipelineId": pipeline_id, "runCount": number})
        if body["status"] not in {"queued", "running"}:
            return body["status"]
        time.sleep(0.2)
    return "never finished"


def expire(page, name, scripts):
    """Expires the token and confirms it, in a dialog if scripts run and on a page otherwise."""
    row = page.get_by_role("row").filter(has_text=name)
    row.get_by_role("link", name=f"Expire {name}").click()
    if scripts:
        dialog = page.get_by_role("dialog")
        dialog.get_by_text("cannot be undone").first.wait_for()
        dialog.get_by_role("button", name="Expire token").click()
    else:
        page.get_by_text("cannot be undone").first.wait_for()
        page.get_by_role("button", name="Expire token").click()
    page.wait_for_url("**/profile/tokens/#token-*")


def test_person_creates_uses_and_expires_a_token(page, portal, scripts):
    name = "nightly build" if scripts else "nightly build without scripts"
    sign_in(page)
    open_tokens_page(page)
    make_token(page, name)
    token = read_token(page, scripts)
    assert token.count(".") == 2
    assert token == token.strip()

    page.reload()
    assert token not in page.content()
    page.get_by_role("heading", name="This token has already been shown").wait_for()

    status, pipelines = curl(portal, "/api/v1/pipelines", token)
    assert status == 200
    nightly = next(row for row in pipelines["data"] if row["name"] == "Nightly build")
    status, run = curl(portal, "/api/v1/pipeline/run", token, {"pipelineId": nightly["id"]})
    assert (status, run["status"]) == (200, "executed")
    assert wait_for_run(portal, token, nightly["id"], run["runCount"]) == "success"

    page.goto("/profile/authentication-log/")
    rows = page.get_by_role("row").filter(has_text=name)
    for target in ("GET /api/v1/pipelines", "POST /api/v1/pipeline/run"):
        row = rows.filter(has_text=target).first
        row.wait_for()
        assert row.locator("time").get_attribute("datetime")

    page.goto("/profile/tokens/")
    expire(page, name, scripts)
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))
    row.get_by_text("Expired early").first.wait_for()

    status, refusal = curl(portal, "/api/v1/pipelines", token)
    assert (status, refusal["code"]) == (401, "revoked")
    page.goto("/profile/authentication-log/?outcome=refused")
    page.get_by_role("row").filter(has_text=name).filter(has_text="401").first.wait_for()

    assert_token_is_not_stored(portal, token)


def test_run_page_shows_the_progress_of_the_run(page, chromium, portal, scripts):
    use_saved_sign_in(page, chromium, portal)
    page.goto("/pipelines/")
    page.get_by_role("link", name="Nightly build").click()
    page.get_by_role("button", name="Run pipeline").click()
    page.wait_for_url("**/runs/*/")
    deadline = time.monotonic() + 20
    while not page.get_by_text("All steps succeeded").count():
        assert time.monotonic() < deadline
        if scripts:
            page.wait_for_timeout(200)
        else:
            page.get_by_role("link", name="Refresh").or_(page.get_by_role("link", name="Run")).first.click()
            page.wait_for_timeout(200)


def test_signing_out_ends_the_session(page):
    sign_in(page)
    page.locator("summary#user-menu").click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/login/**")
    page.goto("/profile/tokens/")
    assert "/login/" in page.url


def assert_token_is_not_stored(portal, token):
    """Looks for the token, its signature and its payload in database, sessions, output and files.

    Mails are files here. The token's id is public and in the log on purpose.
    """
    header, payload, signature = token.split(".")
    assert header
    secrets = (token, signature, payload)
    tables = set()
    for table, value in portal.rows():
        tables.add(table)
        assert not any(secret in value for secret in secrets), table
        if table == "django_session" and ":" in value:
            decoded = json.dumps(SessionStore().decode(value))
            assert not any(secret in decoded for secret in secrets)
    assert {"tokens_token", "auditlog_tokenuse", "auditlog_activity", "django_session"} <= tables
    output = portal.output.read_text()
    assert not any(secret in output for secret in secrets)
    for path in portal.data.rglob("*"):
        if path.is_file():
            raw = path.read_bytes()
            assert not any(secret.encode() in raw for secret in secrets), path
