"""Each role works with users, groups, rules and runs, in a real browser on a started portal."""

import re
import uuid

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.once]


def name_of(what):
    return f"{what} {uuid.uuid4().hex[:8]}"


def echo_of(portal):
    """Returns the URL of the endpoint that the demo's steps call."""
    import contextlib
    import sqlite3

    if portal.is_sqlite:
        with contextlib.closing(sqlite3.connect(portal.data / "portal.sqlite3")) as connection:
            [url] = connection.execute("SELECT url FROM pipelines_step WHERE url LIKE '%/slow/1'").fetchone()
    else:
        import psycopg

        with psycopg.connect(portal.database_url) as connection:
            [url] = connection.execute("SELECT url FROM pipelines_step WHERE url LIKE '%/slow/1'").fetchone()
    return url.removesuffix("/slow/1")


def create_pipeline(page, name):
    page.goto("/pipelines/")
    page.get_by_role("link", name="Create pipeline").click()
    page.get_by_label("Name").fill(name)
    page.get_by_label("Tags").fill("made, by hand")
    page.get_by_role("button", name="Create pipeline").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(name)


def add_call(page, name, url):
    page.get_by_role("link", name="Add an HTTP call").click()
    page.get_by_label("Name").fill(name)
    page.get_by_label("URL", exact=True).fill(url)
    page.get_by_label("Secret headers").fill("Authorization: Bearer top-secret-value")
    page.get_by_role("button", name="Save step").click()


def add_gate(page, name):
    page.get_by_role("link", name="Add an approval").click()
    page.get_by_label("Name").fill(name)
    page.get_by_label("Instructions").fill("Look at the build.")
    page.get_by_role("button", name="Save step").click()


SEND_FORM = """async ([path, values]) => {
  const page = new DOMParser().parseFromString(await (await fetch(path)).text(), "text/html");
  const filled = new FormData(page.querySelector("main form[method=post]"));
  for (const [name, value] of Object.entries(values)) filled.set(name, value);
  const answer = await fetch(path, { method: "POST", body: new URLSearchParams(filled) });
  return [answer.redirected, answer.url];
}"""


def send_form(page, path, **values):
    """Sends the form at this path without showing it, and returns the address that it leads to."""
    is_accepted, address = page.evaluate(SEND_FORM, [path, values])
    assert is_accepted, path
    return address


def existing_pipeline(page, name, *steps):
    """Creates a pipeline and opens it, for tests that begin there. Returns its address.

    ``steps``: names, with a URL or with None for an approval.
    """
    page.goto("/pipelines/")
    address = send_form(page, "/pipelines/new/", name=name).removesuffix("steps/")
    for step, url in steps:
        fields = {"instructions": "Look at the build."} if url is None else {"url": url}
        kind = "approval" if url is None else "http_call"
        send_form(page, f"{address}steps/new/?kind={kind}", name=step, **fields)
    page.goto(address)
    return address


def open_pipeline(page, name):
    page.goto("/pipelines/")
    page.get_by_role("link", name=name, exact=True).click()


def choose(page, question, button):
    """Clicks a button in the dialog, which appears only if scripts run."""
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_contain_text(question)
    dialog.get_by_role("button", name=button).click()


def test_user_creates_a_pipeline_with_a_gate_and_an_administrator_approves_it(browser_of, portal):
    user, admin = browser_of("user"), browser_of("admin")
    name = name_of("Release")
    create_pipeline(user, name)
    add_call(user, "Build", f"{echo_of(portal)}/slow/1")
    add_gate(user, "Go or no go")
    add_call(user, "Roll out", f"{echo_of(portal)}/rollout")

    open_pipeline(user, name)
    assert "top-secret-value" not in user.content()
    user.get_by_role("button", name="Run pipeline").click()

    # The page updates itself: the buttons of the gate appear without a reload.
    expect(user.locator("#run-state")).to_contain_text("Waiting for approval", timeout=20_000)
    expect(user.get_by_role("button", name="Approve")).to_be_visible()
    expect(user.locator("#requested-by")).to_contain_text("user@demo.example")

    # Text that someone is typing stays when the page updates itself.
    admin.goto(user.url)
    admin.get_by_label("Reason").fill("Not to")
    for _ in range(2):
        admin.wait_for_event("response", lambda response: "seen=" in response.url)
    expect(admin.get_by_label("Reason")).to_have_value("Not to")
    # The keyboard reaches the field, then Approve, then Reject.
    for button in ("Approve", "Reject"):
        admin.keyboard.press("Tab")
        expect(admin.get_by_role("button", name=button)).to_be_focused()
    admin.get_by_role("button", name="Approve").click()

    expect(user.locator("#run-state")).to_contain_text("Success", timeout=20_000)
    expect(user.locator("#step-runs")).to_contain_text("Approved by admin@demo.example")
    assert "hx-get" not in user.content()


def test_a_rejected_gate_fails_the_run_with_its_reason(browser_of):
    user = browser_of("user")
    existing_pipeline(user, name_of("Rejected"), ("Go or no go", None))
    user.get_by_role("button", name="Run pipeline").click()

    user.get_by_label("Reason").fill("The tests are red")
    user.get_by_role("button", name="Reject").click()

    expect(user.locator("#run-state")).to_contain_text("Failed")
    expect(user.locator("#step-runs")).to_contain_text("Rejected by user@demo.example: The tests are red")


def test_failed_run_is_resumed_after_its_step(browser_of, portal):
    user = browser_of("user")
    echo = echo_of(portal)
    existing_pipeline(user, name_of("Flaky"), ("Fails", f"{echo}/status/503"), ("Works", f"{echo}/works"))
    user.get_by_role("button", name="Run pipeline").click()
    expect(user.locator("#run-state")).to_contain_text("Failed", timeout=20_000)

    user.reload()
    user.get_by_role("button", name="Resume run 1").click()

    expect(user.locator("#run-state")).to_contain_text("Success", timeout=20_000)
    expect(user.locator("#step-runs tbody tr").first).to_contain_text("Answered 503")


def test_new_rule_hides_the_pipeline_from_a_person_who_has_it_open(browser_of):
    user, guest = browser_of("user"), browser_of("guest")
    name = name_of("Private")
    address = existing_pipeline(user, name, ("Wait here", None))
    user.get_by_role("button", name="Run pipeline").click()
    expect(user.locator("#run-state")).to_contain_text("Waiting for approval", timeout=20_000)
    guest.goto(user.url)
    expect(guest.get_by_role("heading", level=1)).to_contain_text(name)

    user.goto(f"{address}access-rules/")
    user.get_by_role("combobox", name="Who").fill("user@demo.example")
    user.get_by_label("Role", exact=True).select_option("administrator")
    user.get_by_role("button", name="Add rule").click()
    expect(user.locator("#what-holds")).to_contain_text("Only its owner, the people and groups listed here")

    # The guest can no longer see the pipeline when the page updates itself.
    expect(guest.get_by_role("heading", level=1)).to_contain_text("This page does not exist")
    guest.goto("/pipelines/")
    expect(guest.locator("#pipelines")).not_to_contain_text(name)

    user.get_by_role("link", name="Remove the role of user@demo.example").click()
    expect(user.get_by_role("dialog")).to_contain_text("This is the last rule")
    choose(user, "Remove the role of user@demo.example?", "Remove")
    expect(user.locator("#what-holds")).to_contain_text("There are no rules")
    guest.reload()
    expect(guest.locator("#pipelines")).to_contain_text(name)


def test_manager_by_group_controls_runs_but_cannot_administer(browser_of):
    user = browser_of("user")
    open_pipeline(user, "Deploy to staging")

    expect(user.locator("#standing")).to_contain_text("You can run and lock it")
    for offered in ("#edit-steps", "#edit-access-rules", "#duplicate-pipeline", "#lock-pipeline"):
        expect(user.locator(offered)).to_be_visible()
    for not_offered in ("#edit-pipeline", "#transfer-pipeline", "#delete-pipeline"):
        expect(user.locator(not_offered)).to_have_count(0)
    user.locator("#edit-access-rules").click()
    expect(user.get_by_label("Role", exact=True).locator("option")).to_have_text(["Manager", "User", "Guest"])


def test_power_user_can_run_pipelines_but_not_lock_them(browser_of):
    power = browser_of("power")
    open_pipeline(power, "Nightly build")

    expect(power.locator("#lock-pipeline")).to_have_count(0)
    expect(power.get_by_role("button", name="Run pipeline")).to_be_visible()
    open_pipeline(power, "Rotate certificates")
    expect(power.get_by_role("heading", level=1)).to_contain_text("Rotate certificates")


@pytest.mark.parametrize("login", ["guest", "auditor", "security"])
def test_read_only_roles_are_offered_no_action(browser_of, login):
    page = browser_of(login)
    open_pipeline(page, "Deploy to production")

    main = page.locator("main")
    expect(main.get_by_role("button")).to_have_count(0)
    for link in ("Edit", "Delete", "Duplicate", "Transfer", "Choose people"):
        expect(main.get_by_role("link", name=re.compile(link))).to_have_count(0)
    expect(page.get_by_role("link", name="Create pipeline")).to_have_count(0)


@pytest.mark.parametrize("login", ["user", "guest"])
def test_pipelines_of_others_are_not_visible(browser_of, login):
    page = browser_of(login)

    page.goto("/pipelines/?q=Rotate")
    expect(page.locator("#pipelines")).to_contain_text("No pipelines found.")
    page.goto("/organization/users/")
    expect(page.get_by_role("heading", level=1)).to_contain_text("You aren't allowed to do this")
    expect(page.get_by_role("link", name="Organization")).to_have_count(0)


def test_steps_are_added_ordered_and_removed_without_scripts(browser_of):
    user = browser_of("user", java_script_enabled=False)
    name = name_of("Steps by hand")
    create_pipeline(user, name)
    add_gate(user, "First")
    add_gate(user, "Second")
    add_call(user, "Third", "https://ci.example.com/build")
    names = user.locator("#steps tbody tr td:nth-child(2)")
    expect(names).to_have_text(["First", "Second", "Third"])

    user.get_by_role("button", name="Move Third up").click()
    user.get_by_role("button", name="Move First down").click()
    expect(names).to_have_text(["Third", "First", "Second"])
    user.get_by_role("link", name="Third", exact=True).click()
    expect(user.get_by_label("Secret headers")).to_have_value("Authorization: (unchanged)")
    user.get_by_label("URL", exact=True).fill("https://elsewhere.example.com/")
    user.get_by_role("button", name="Save step").click()
    expect(user.locator("#error-summary")).to_contain_text("leads to another server")
    user.get_by_role("link", name="Cancel").click()
    user.get_by_role("link", name="Remove First").click()
    user.get_by_role("button", name="Remove step").click()
    expect(names).to_have_text(["Third", "Second"])


def test_administrator_invites_a_person_changes_their_role_and_deactivates_them(browser_of):
    admin = browser_of("admin")
    email = f"{uuid.uuid4().hex[:8]}@demo.example"
    admin.goto("/organization/users/")
    admin.get_by_role("link", name="Invite someone").click()
    admin.get_by_label("E-mail address").fill(email)
    admin.get_by_label("Name", exact=True).fill("Nova New")
    admin.get_by_label("Site role").select_option("guest")
    admin.get_by_role("button", name="Send invitation").click()

    expect(admin.get_by_role("heading", level=1)).to_contain_text("Invited")
    admin.get_by_label("Site role", exact=True).select_option("user")
    admin.get_by_role("button", name="Change role").click()
    expect(admin.locator("#user-role")).to_contain_text("User")
    admin.get_by_role("link", name="Deactivate").click()
    choose(admin, "Deactivate Nova New?", "Deactivate")
    expect(admin.get_by_role("heading", level=1)).to_contain_text("Deactivated")
    admin.goto(f"/organization/users/?q={email}&state=deactivated")
    expect(admin.locator("#users tbody tr")).to_have_count(1)


def test_power_user_can_create_a_group_but_not_change_roles(browser_of):
    power = browser_of("power")
    name = name_of("Team")
    power.goto("/organization/groups/")
    power.get_by_label("Name").first.fill(name)
    power.get_by_role("button", name="Create group").click()
    power.get_by_label("E-mail address").fill("user@demo.example")
    power.get_by_role("button", name="Add member").click()
    expect(power.locator("#members")).to_contain_text("Uma Patel")

    power.get_by_role("link", name="Uma Patel", exact=True).click()
    expect(power.get_by_role("button", name="Change role")).to_have_count(0)
    power.goto("/organization/groups/")
    power.get_by_role("link", name=name).click()
    power.get_by_role("link", name="Delete group").click()
    choose(power, f"Delete the group “{name}”?", "Delete group")
    expect(power.locator("#groups")).not_to_contain_text(name)


def test_auditor_reads_people_and_groups_but_changes_nothing(browser_of):
    auditor = browser_of("auditor")
    auditor.goto("/organization/users/")
    auditor.get_by_role("link", name="Uma Patel").click()
    expect(auditor.locator("main").get_by_role("button")).to_have_count(0)
    auditor.goto("/organization/groups/")
    auditor.get_by_role("link", name="Builders").click()
    expect(auditor.locator("#members")).to_contain_text("Uma Patel")
    expect(auditor.locator("main").get_by_role("button")).to_have_count(0)


def test_second_of_two_editors_is_told_keeps_the_text_and_can_save_again(browser_of, portal):
    user, admin = browser_of("user"), browser_of("admin")
    address = existing_pipeline(user, name_of("Shared"), ("Build", f"{echo_of(portal)}/build"))
    user.goto(f"{address}steps/")
    user.get_by_role("link", name="Build", exact=True).click()
    admin.goto(user.url)

    user.get_by_label("Body", exact=True).fill("from the user")
    user.get_by_role("button", name="Save step").click()
    expect(user.get_by_text("“Build” is saved.")).to_be_visible()
    admin.get_by_label("Body", exact=True).fill("from the administrator")
    admin.get_by_role("button", name="Save step").click()

    expect(admin.get_by_role("alert")).to_contain_text("Someone else changed this while you were editing it.")
    expect(admin.get_by_label("Body", exact=True)).to_have_value("from the administrator")
    with admin.context.expect_page() as opened:
        admin.get_by_role("link", name="Current version").click()
    expect(opened.value.get_by_label("Body", exact=True)).to_have_value("from the user")
    admin.get_by_role("button", name="Save step").click()
    expect(admin.get_by_text("“Build” is saved.")).to_be_visible()
