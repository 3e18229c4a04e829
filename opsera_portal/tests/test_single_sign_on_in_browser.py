"""The pages of single sign-on in a real browser, in a portal that has a provider."""

import pytest

from accounts.tests.openid import running_provider
from opsera_portal.tests import page_states
from opsera_portal.tests import portal as started
from opsera_portal.tests.test_pages_in_browser import assert_good, page_for_axe

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
def portal(chromium, tmp_path_factory):
    with running_provider() as provider:
        running = started.start(tmp_path_factory.mktemp("single-sign-on"), **provider.variables)
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
