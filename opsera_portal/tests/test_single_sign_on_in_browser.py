"""Single sign-on and trust rules in a real browser, in a portal that has a provider and an issuer of CI jobs."""

import json
from urllib.parse import urlsplit

import httpx
import jwt
import pytest
from playwright.sync_api import expect

from accounts.tests.openid import CLIENT_ID, running_provider, tell
from opsera_portal.tests import page_states
from opsera_portal.tests import portal as started
from opsera_portal.tests.test_pages_in_browser import assert_good, page_for_axe
from tokens.tests.issuers import github, running_issuer
from tokens.tests.test_exchange_tokens import BODY, EXCHANGE

pytestmark = [
    *(pytest.mark.browser, pytest.mark.once, pytest.mark.integration, pytest.mark.slow),
    pytest.mark.filterwarnings("ignore:get_jwt_config:DeprecationWarning"),
]

STATES = {state.name: state for state in page_states.STATES if state.group == page_states.SINGLE_SIGN_ON}
# A part of what each page says.
SAYS = {
    "forwards to the provider": "You sign in there, then come back here.",
    "canceled": "You canceled the sign-in at Acme ID",
    "nobody has this address": "No account here uses this address",
    "address not verified": "does not confirm that the address power@demo.example is yours",
    "wrong answer": "was started in another browser or window",
    "connected": "If you disconnect, you sign in with your password.",
    "not connected": "It is connected when you sign in with Acme ID for the first time.",
}


@pytest.fixture(scope="module")
def issuer():
    with running_issuer() as found:
        yield found


@pytest.fixture(scope="module")
def portal(chromium, tmp_path_factory, issuer):
    with running_provider() as provider:
        for_organizations = {
            "OIDC_ORGANIZATION_HOSTS": ",".join(urlsplit(each.issuer).netloc for each in (provider, issuer)),
            "HTTP_STEP_ALLOWED_NETWORKS": "127.0.0.1,::1",
        }
        variables = provider.variables | for_organizations
        running = started.start(tmp_path_factory.mktemp("single-sign-on"), **variables)
        page_states.use_localhost(running)
        page_states.use_single_sign_on(chromium, running)
        yield running
        running.stop()
        started.drop_database(running.database_url)


def context_of(chromium, portal, login):
    if login:
        return chromium.shared(portal, page_states.address_of(login))
    return chromium.new_context(base_url=portal.url)


@pytest.mark.parametrize("name", STATES)
def test_page_of_single_sign_on_is_accessible(chromium, portal, name):
    with context_of(chromium, portal, STATES[name].people[0]) as context:
        page = page_for_axe(context)
        STATES[name].open(page, {})

        assert SAYS[name] in page.locator("main").inner_text()
        assert_good(page)


def test_sign_in_page_with_a_provider_is_accessible(chromium, portal):
    with chromium.new_context(base_url=portal.url) as context:
        page = page_for_axe(context)
        page.goto("/login/")

        assert page.get_by_role("button", name="Continue with Acme ID").is_visible()
        assert_good(page)


def test_organization_sets_up_its_provider_and_erases_a_person_that_it_created(browser_of, chromium, portal):
    provider = portal.environment["OIDC_ISSUER"]
    tell(provider, "nora", email="nora@team.example", email_verified=True, name="Nora Lind", groups=["power"])
    page = browser_of("admin")
    page.goto("/organization/single-sign-on/")
    page.get_by_label("Name", exact=True).fill("Team ID")
    page.get_by_label("Issuer").fill(provider)
    page.get_by_label("Client ID").fill(CLIENT_ID)
    page.get_by_label("Client secret").fill("a secret of the team")
    page.get_by_label("Switched on").check()
    page.get_by_label("Create people at their first sign-in").check()
    page.get_by_label("Domains").fill("team.example")
    page.get_by_role("textbox", name="Site roles").fill("groups = power -> power_user")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#provider")).to_contain_text("On")
    assert "a secret of the team" not in page.content()
    page.get_by_label("Claims").fill(json.dumps({"groups": ["power"]}))
    page.get_by_role("button", name="Try").click()
    expect(page.locator("#try-result")).to_contain_text("Power User")
    sign_in_url = page.locator("#provider dd").nth(1).text_content().strip()

    with chromium.new_context(base_url=portal.url) as context:
        own = context.new_page()
        own.goto(sign_in_url)
        own.get_by_role("main").get_by_role("button").first.click()
        own.locator("input[name=sub]").fill("nora")
        own.get_by_role("button", name="Authorize").click()
        expect(own.locator("#user-menu")).to_contain_text("Nora Lind")

        page.goto("/organization/users/?q=nora")
        page.get_by_role("link", name="Nora Lind").click()
        expect(page.get_by_role("main")).to_contain_text("Power User")
        page.get_by_role("link", name="Deactivate").click()
        page.get_by_role("dialog").get_by_role("button").first.click()
        page.get_by_role("link", name="Erase").click()
        page.get_by_label("Their e-mail address").fill("nora@team.example")
        page.get_by_role("button", name="Erase for good").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Erased person")
        assert [word for word in ("Nora", "nora@") if word in page.content()] == []
        own.goto("/")
        assert urlsplit(own.url).path == "/login/"


def test_ci_job_gets_a_token_of_a_service_account_without_a_secret(browser_of, portal, issuer):
    page = browser_of("admin")
    page.goto("/organization/service-accounts/")
    page.get_by_role("link", name="Create a service account").click()
    page.get_by_label("Name", exact=True).fill("Release robot")
    page.get_by_label("Responsible").fill("Dana Moreau")
    page.get_by_label("Site role").select_option("user")
    page.get_by_role("button", name="Create a service account").click()
    page.locator("#id_name").fill("by hand")
    page.locator("#id_scopes_pipeline").check()
    page.get_by_role("button", name="Create token").click()
    page.wait_for_url("**/reveal/")
    assert owner_of(portal, page.locator("#signed-jwt").text_content()) == ("Release robot", "by hand")

    page.goto("/organization/trust/new/")
    audience = page.get_by_label("Audience").input_value()
    page.get_by_label("Name", exact=True).fill("Releases")
    page.get_by_label("Issuer").fill(issuer.issuer)
    page.get_by_label("Claims").fill("repository = acme/*\nref = refs/heads/main")
    page.get_by_label("Service account").select_option(label="Release robot")
    page.get_by_role("button", name="Save", exact=True).click()
    job, stranger = (issuer.sign(github(aud=audience, **claims)) for claims in ({}, {"repository": "other/shop"}))
    assert trial_of(page, job) == "It matches: the job gets a token of Release robot with Pipeline Access."
    claims = json.dumps(jwt.decode(stranger, options={"verify_signature": False}))
    assert trial_of(page, claims) == "The claim repository is other/shop. The rule wants acme/*."

    assert exchange(portal, stranger).json()["error"] == "invalid_request"
    exchanged = exchange(portal, job).json()
    assert owner_of(portal, exchanged["access_token"]) == ("Release robot", "Releases 9231")
    assert exchange(portal, job).status_code == 400


def trial_of(page, pasted):
    """What the page of trust rules says about the rule of the test."""
    page.get_by_label("Token or claims of a job").fill(pasted)
    with page.expect_navigation():
        page.get_by_role("button", name="Try", exact=True).click()
    found = page.locator("#try-result li").filter(has_text="Releases").locator(".item-note")
    assert pasted not in page.content()
    return found.text_content()


def exchange(portal, subject_token):
    return httpx.post(f"{portal.url}{EXCHANGE}", data=BODY | {"subject_token": subject_token})


def owner_of(portal, signed_jwt):
    """The owner and the name of a token, as the portal answers to it."""
    me = httpx.get(f"{portal.url}/api/v1/me", headers={"Authorization": f"Bearer {signed_jwt}"}).json()
    return me["user"]["name"], me["token"]["name"]
