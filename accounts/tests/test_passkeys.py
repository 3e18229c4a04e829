"""Passkeys for sign-in and as second factor: valid and malformed answers, and a real browser."""

import json
import secrets
from datetime import timedelta

import pytest
import time_machine
from allauth.mfa.models import Authenticator
from cryptography.hazmat.primitives.asymmetric import ec
from django.test import Client
from django.utils import timezone
from fido2.utils import websafe_encode
from playwright.sync_api import expect

from accounts.models import User
from accounts.tests.factories import PASSWORD
from accounts.tests.factors import HOST, PRESENT, Passkey, add_passkey, make_recent
from auditlog.models import Activity
from opsera_portal.tests.browser import send_sign_in
from opsera_portal.tests.portal import PASSWORD as DEMO_PASSWORD

ADD = "/profile/security/passkeys/add/"
SIGN_IN = "/login/passkey/"
AGAIN = "/login/passkey/again/"
SECOND_STEP = "/login/two-factor/"
JSON = {"headers": {"accept": "application/json"}}


@pytest.fixture
def client(db):
    """A client at an address where passkeys are allowed."""
    return Client(HTTP_HOST=HOST)


def another_browser():
    return Client(HTTP_HOST=HOST)


def sign_in(client, user):
    return client.post("/login/", {"login": user.email, "password": PASSWORD})


def signed_in_as(client):
    return client.session.get("_auth_user_id")


def send(client, path, credential, **fields):
    return client.post(path, {"credential": json.dumps(credential), **fields})


def asked_at(client, path):
    return client.get(path).context["js_data"]


def options_of_sign_in(client):
    return client.get(SIGN_IN, **JSON).json()


def sign_in_with(client, passkey, **lies):
    return send(client, SIGN_IN, passkey.get(options_of_sign_in(client), **lies))


@pytest.fixture
def passkey(owner):
    """The owner's device."""
    device = Passkey()
    add_passkey(owner, device=device)
    return device


def actions(name):
    return list(Activity.objects.filter(action=f"authentication.{name}").order_by("id"))


# Adding


def test_passkey_is_added_and_counts_as_two_factor(client, owner):
    sign_in(client, owner)

    answer = send(client, ADD, Passkey().create(asked_at(client, ADD)), name="Laptop")

    assert answer.url == "/profile/security/recovery-codes/"
    factor = Authenticator.objects.get(user=owner, type=Authenticator.Type.WEBAUTHN)

    assert factor.data["name"] == "Laptop"
    assert User.objects.get(pk=owner.pk).has_two_factor
    assert actions("two_factor_added")[0].details == {"kind": "passkey", "name": "Laptop"}


def test_new_passkey_must_be_discoverable_and_verify_the_person(client, owner):
    sign_in(client, owner)

    asked = asked_at(client, ADD)["creation_options"]["publicKey"]

    assert asked["authenticatorSelection"]["residentKey"] == "required"
    assert asked["authenticatorSelection"]["userVerification"] == "required"
    assert (asked["rp"], asked["user"]["name"]) == ({"id": HOST, "name": "Opsera Portal"}, owner.email)


def test_device_with_a_passkey_cannot_add_another(client, owner, passkey):
    sign_in_with(client, passkey)

    excluded = asked_at(client, ADD)["creation_options"]["publicKey"]["excludeCredentials"]

    assert [known["id"] for known in excluded] == [websafe_encode(passkey.id)]


@pytest.mark.parametrize(
    "lie",
    [
        {"origin": "https://evil.example"},
        {"origin": "http://localhost.evil.example"},
        {"origin": "http://evil.localhost"},
        {"origin": "http://localhost:8001"},
        {"flags": PRESENT},
    ],
    ids=["another site", "a site with a similar name", "a site below ours", "another port", "nobody was asked"],
)
def test_passkey_with_a_wrong_answer_is_not_added(client, owner, lie):
    sign_in(client, owner)

    answer = send(client, ADD, Passkey().create(asked_at(client, ADD), **lie), name="x")

    assert answer.status_code == 200
    assert "was not accepted" in answer.content.decode()
    assert not Authenticator.objects.exists()


def test_answer_of_a_device_is_valid_for_one_challenge_only(client, owner):
    sign_in(client, owner)
    credential = Passkey().create(asked_at(client, ADD))
    client.get(ADD)

    assert send(client, ADD, credential, name="x").status_code == 200
    assert not Authenticator.objects.exists()


def test_person_can_have_at_most_twenty_passkeys(client, owner):
    sign_in(client, owner)
    for _ in range(20):
        add_passkey(owner)
    make_recent(client)

    answer = send(client, ADD, Passkey().create(asked_at(client, ADD)), name="x")

    assert "You have 20 passkeys. Remove one first." in client.get(answer.url).content.decode()
    assert Authenticator.objects.count() == 20


# Signing in without a password


def test_passkey_signs_in_without_a_password(client, owner, passkey):
    answer = sign_in_with(client, passkey)

    assert (answer.status_code, answer.url) == (302, "/")
    assert signed_in_as(client) == str(owner.pk)
    assert actions("signed_in")[-1].details == {"methods": ["passkey"]}


def test_requested_page_opens_after_sign_in_with_a_passkey(client, passkey):
    credential = passkey.get(options_of_sign_in(client))

    assert send(client, SIGN_IN, credential, next="/profile/tokens/").url == "/profile/tokens/"


def test_sign_in_page_does_not_reveal_existing_passkeys(client, passkey):
    asked = options_of_sign_in(client)["request_options"]["publicKey"]

    assert not asked.get("allowCredentials")
    assert asked["userVerification"] == "required"


LIES = {
    "another site": {"origin": "https://evil.example"},
    "a site below ours": {"origin": "http://evil.localhost"},
    "another port": {"origin": "http://localhost:8001"},
    "a frame in another site": {"in_a_frame": True},
    "without TLS": {"origin": "http://portal.example"},
    "nobody was asked who they are": {"flags": PRESENT},
    "nobody was there": {"flags": 0},
    "another key": {"key": ec.generate_private_key(ec.SECP256R1())},
    "an unknown person": {"user_handle": websafe_encode(secrets.token_hex(16).encode())},
    "a person that is none": {"user_handle": websafe_encode(b"\xff\xfe")},
    "nobody": {"user_handle": ""},
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_passkey_with_a_wrong_answer_does_not_sign_in(client, passkey, lie):
    answer = sign_in_with(client, passkey, **lie)

    assert (answer.status_code, answer.url) == (302, "/login/")
    assert signed_in_as(client) is None


def test_passkey_does_not_sign_in_as_another_person(client, member, passkey):
    handle = websafe_encode(member.pk.hex.encode())

    sign_in_with(client, passkey, user_handle=handle)

    assert signed_in_as(client) is None


def test_answer_of_a_device_cannot_be_replayed(client, passkey):
    credential = passkey.get(options_of_sign_in(client))
    send(client, SIGN_IN, credential)
    client.post("/logout/")

    send(client, SIGN_IN, credential)
    send(other := another_browser(), SIGN_IN, credential)

    assert signed_in_as(client) is None
    assert signed_in_as(other) is None


@pytest.fixture
def counting(owner):
    """A passkey of the owner with a counter."""
    device = Passkey(sign_count=5)
    add_passkey(owner, device=device)
    return device


@pytest.mark.parametrize("counted", [[6], [6, 7], [100]])
def test_passkey_with_an_increased_counter_signs_in(client, owner, counting, counted):
    for counting.sign_count in counted:
        sign_in_with(client, counting)
        assert signed_in_as(client) == str(owner.pk)
        client.post("/logout/")


@pytest.mark.parametrize("counted", [[5], [4], [0], [7, 7], [7, 6], [7, 0]])
def test_passkey_whose_counter_did_not_increase_does_not_sign_in(client, owner, counting, counted):
    for counting.sign_count in counted:
        client.post("/logout/")
        sign_in_with(client, counting)

    assert signed_in_as(client) is None
    (entry,) = actions("failed")
    assert (entry.actor, entry.details) == (owner, {"step": "sign count"})


def test_deactivated_person_cannot_sign_in_with_a_passkey(client, owner, passkey):
    User.objects.filter(pk=owner.pk).update(is_active=False)

    assert sign_in_with(client, passkey).url == "/login/inactive/"
    assert signed_in_as(client) is None


def test_removed_passkey_does_not_sign_in(client, passkey):
    Authenticator.objects.all().delete()

    sign_in_with(client, passkey)

    assert signed_in_as(client) is None


def test_passkey_sign_in_requires_a_csrf_token(passkey):
    client = Client(HTTP_HOST=HOST, enforce_csrf_checks=True)

    assert sign_in_with(client, passkey).status_code == 403


def test_passkey_address_redirects_to_the_sign_in_page(client):
    assert client.get(SIGN_IN).url == "/login/"


# Second step and reauthentication


def test_passkey_works_as_second_step(client, owner, passkey):
    assert sign_in(client, owner).url == SECOND_STEP

    answer = send(client, SECOND_STEP, passkey.get(asked_at(client, SECOND_STEP)))

    assert (answer.url, signed_in_as(client)) == ("/", str(owner.pk))
    assert actions("signed_in")[-1].details == {"methods": ["password", "passkey"]}


@pytest.mark.parametrize(
    "lie", [{"origin": "https://evil.example"}, {"flags": PRESENT}, {"key": LIES["another key"]["key"]}]
)
def test_passkey_with_a_wrong_answer_is_refused_as_second_step(client, owner, passkey, lie):
    sign_in(client, owner)

    answer = send(client, SECOND_STEP, passkey.get(asked_at(client, SECOND_STEP), **lie))

    assert answer.status_code == 200
    assert signed_in_as(client) is None


def test_passkey_of_another_person_is_refused_as_second_step(client, member, passkey):
    browser = another_browser()
    sign_in(browser, member)
    send(browser, ADD, Passkey().create(asked_at(browser, ADD)), name="Theirs")
    sign_in(client, member)

    send(client, SECOND_STEP, passkey.get(asked_at(client, SECOND_STEP)))

    assert signed_in_as(client) is None


def test_passkey_works_for_reauthentication(client, owner, passkey):
    sign_in_with(client, passkey)

    with time_machine.travel(timezone.now() + timedelta(minutes=16)):
        assert client.get(ADD).status_code == 302
        credential = passkey.get(asked_at(client, AGAIN))
        assert send(client, f"{AGAIN}?next={ADD}", credential).url == ADD
        assert client.get(ADD).status_code == 200


def test_passkey_with_a_wrong_answer_is_refused_for_reauthentication(client, owner, passkey):
    sign_in_with(client, passkey)

    answer = send(client, f"{AGAIN}?next={ADD}", passkey.get(asked_at(client, AGAIN), flags=PRESENT))

    assert answer.status_code == 200
    assert "was not accepted" in answer.content.decode()


# Malformed answers

ODD = [
    "",
    "x",
    "null",
    "[]",
    "1",
    "{}",
    '{"id": 1}',
    '{"id": "a", "rawId": "a", "type": "public-key", "response": []}',
    '{"id": "a", "rawId": "a", "type": "x", "response": {}}',
    '{"id": "YQ", "rawId": "YQ", "type": "public-key", "response": {"clientDataJSON": "YQ", "authenticatorData": "YQ", '
    '"signature": "YQ", "userHandle": "YQ"}, "clientExtensionResults": {}}',
    '{"id": "YQ", "rawId": "YQ", "type": "public-key", "response": {"clientDataJSON": "e30", '
    '"attestationObject": "YQ"}, "clientExtensionResults": {}}',
    '{"id": "YQ", "rawId": "YQ", "type": "public-key", "response": {"clientDataJSON": 1, "attestationObject": null}}',
    "[" * 5000,
    "\x00",
]


@pytest.mark.parametrize("credential", ODD, ids=range(len(ODD)))
def test_malformed_answer_of_a_device_causes_no_server_error(client, owner, passkey, credential):
    signed_out, half_in = another_browser(), another_browser()
    options_of_sign_in(signed_out)
    assert signed_out.post(SIGN_IN, {"credential": credential}).url == "/login/"
    sign_in(half_in, owner)
    half_in.get(SECOND_STEP)
    assert half_in.post(SECOND_STEP, {"credential": credential}).status_code == 200
    sign_in_with(client, passkey)
    for path in (AGAIN, ADD):
        client.get(path)
        assert client.post(path, {"credential": credential, "name": "x"}).status_code == 200
    assert Authenticator.objects.filter(type=Authenticator.Type.WEBAUTHN).count() == 1


# In a browser


@pytest.fixture
def browser(offering_browser):
    """Like `offering_browser`, but waits for a click on the button."""
    offering_browser.add_init_script("PublicKeyCredential.isConditionalMediationAvailable = async () => false")
    return offering_browser


@pytest.fixture
def offering_browser(chromium, portal):
    """A browser on localhost (no TLS needed), with a virtual device that confirms every request, also of a field."""
    context = chromium.new_context(base_url=portal.url.replace("127.0.0.1", "localhost"))
    page = context.new_page()
    device = context.new_cdp_session(page)
    device.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    device.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    yield page
    context.close()


def sign_in_by_password(page, email):
    page.goto("/login/")
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password").fill(DEMO_PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()


@pytest.mark.browser
@pytest.mark.once
def test_person_adds_a_passkey_signs_in_with_it_and_removes_it(browser):
    send_sign_in(browser.context, "admin@other.example")
    browser.goto(ADD)
    browser.get_by_label("Name").fill("This laptop")
    browser.get_by_role("button", name="Add a passkey").click()
    expect(browser.get_by_role("heading", name="Your recovery codes")).to_be_visible()

    browser.context.clear_cookies()
    browser.goto("/login/?next=/profile/security/two-factor/")
    browser.get_by_role("button", name="Sign in with a passkey").click()
    expect(browser.get_by_role("row", name="This laptop")).to_be_visible()

    browser.context.clear_cookies()
    sign_in_by_password(browser, "admin@other.example")
    browser.get_by_role("button", name="Use a passkey").click()
    expect(browser.get_by_role("heading", name="Overview")).to_be_visible()

    browser.goto("/profile/security/two-factor/")
    browser.get_by_role("link", name="Remove This laptop").click()
    browser.get_by_role("button", name="Remove").click()
    expect(browser.get_by_text("The second factor is removed.")).to_be_visible()
    expect(browser.get_by_role("row", name="This laptop")).to_have_count(0)


@pytest.mark.browser
@pytest.mark.once
def test_browser_offers_the_passkey_in_the_field_of_the_address(offering_browser):
    page = offering_browser
    send_sign_in(page.context, "admin@other.example")
    page.goto(ADD)
    page.get_by_label("Name").fill("This laptop")
    page.get_by_role("button", name="Add a passkey").click()
    expect(page.get_by_role("heading", name="Your recovery codes")).to_be_visible()

    # The virtual device confirms at once, where a person would choose the passkey from the list of the field.
    page.context.clear_cookies()
    page.goto("/login/?next=/profile/security/two-factor/")
    expect(page.get_by_role("row", name="This laptop")).to_be_visible()
    page.get_by_role("link", name="Remove This laptop").click()
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_role("row", name="This laptop")).to_have_count(0)


@pytest.mark.browser
@pytest.mark.once
def test_page_shows_an_error_if_the_device_has_no_passkey(browser):
    browser.goto("/login/")
    browser.get_by_role("button", name="Sign in with a passkey").click()

    expect(browser.get_by_role("alert")).to_contain_text("canceled or took too long")
    assert browser.url.endswith("/login/")
