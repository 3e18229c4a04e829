"""The sign-in page: its sentences, where the focus is, and which way to sign in comes first."""

import json
import re

import pytest
from django.test import Client
from playwright.sync_api import expect

from accounts.signin import passkey_hint
from accounts.tests.factories import PASSWORD, UserFactory
from accounts.tests.factors import HOST, Passkey, add_passkey

SIGN_IN = "/login/"
PASSKEY = "/login/passkey/"


@pytest.fixture
def client(db):
    """A client at an address where passkeys are allowed."""
    return Client(HTTP_HOST=HOST)


def page(client, **fields):
    answer = client.post(SIGN_IN, fields) if fields else client.get(SIGN_IN)
    assert answer.status_code == 200
    return answer.content.decode()


def focused(text):
    """The names of the fields that have the focus when the page opens, and the button, if the script focuses it."""
    names = re.findall(r'<input(?=[^>]*\sautofocus)[^>]*\sname="(\w+)"', text)
    return [*names, *(["passkey"] if "data-focus" in text else [])]


def sign_in_with_passkey(client, passkey):
    options = client.get(PASSKEY, headers={"accept": "application/json"}).json()
    return client.post(PASSKEY, {"credential": json.dumps(passkey.get(options))})


# Focus and sentences


def test_page_opens_with_the_focus_on_the_address(client):
    assert focused(page(client)) == ["login"]


@pytest.mark.parametrize(
    ("fields", "focus", "sentences"),
    [
        ({"login": ""}, "login", ["Enter your e-mail address.", "Enter your password."]),
        ({"login": "a@b.example"}, "password", ["Enter your password."]),
        ({"login": "not an address", "password": "x"}, "login", ["Enter a whole e-mail address"]),
        ({"login": "", "password": "x"}, "login", ["Enter your e-mail address."]),
        ({"login": "a@b.example", "password": "x"}, "password", ["The e-mail address or the password is wrong."]),
    ],
)
def test_page_says_what_is_wrong_and_puts_the_focus_there(client, fields, focus, sentences):
    text = page(client, **fields)

    assert focused(text) == [focus]
    for sentence in sentences:
        assert sentence in text


def test_focused_password_is_described_by_what_is_wrong(client):
    text = page(client, login="a@b.example", password="x")

    field = re.search(r'<input[^>]*name="password"[^>]*>', text)[0]
    assert 'aria-describedby="error-summary"' in field
    assert 'aria-invalid="true"' in field
    assert 'id="error-summary"' in text


# The passkey first


@pytest.fixture
def passkey(owner):
    device = Passkey()
    add_passkey(owner, device=device)
    return device


def comes_first(text):
    """Whether the passkey is the first way to sign in on the page."""
    return text.index("data-passkey=") < text.index('name="password"')


def test_password_comes_first_in_a_new_browser(client, passkey):
    assert not comes_first(page(client))


def test_passkey_comes_first_where_it_was_used_last(client, passkey):
    cookie = sign_in_with_passkey(client, passkey).cookies[passkey_hint.COOKIE]
    client.post("/logout/")
    text = page(client)

    assert (cookie["httponly"], cookie["samesite"], cookie.value) == (True, "Lax", "used")
    assert comes_first(text)
    assert focused(text) == ["passkey"]
    assert text.count("data-passkey=") == 1
    assert len(re.findall(r'class="button primary', text)) == 1


def test_failed_password_has_the_focus_even_if_the_passkey_comes_first(client, passkey):
    client.cookies[passkey_hint.COOKIE] = passkey_hint.USED
    text = page(client, login="a@b.example", password="x")

    assert comes_first(text)
    assert focused(text) == ["password"]


def test_password_comes_first_again_after_it_was_used(client, organization):
    person = UserFactory(organization=organization)
    client.cookies[passkey_hint.COOKIE] = passkey_hint.USED
    client.post(SIGN_IN, {"login": person.email, "password": PASSWORD})
    client.post("/logout/")

    assert not comes_first(page(client))


def test_page_is_the_same_for_accounts_with_and_without_a_passkey(client, owner, member, passkey):
    texts = {
        re.sub(r'value="[^"]*"', "", page(client, login=person.email, password="wrong")) for person in (owner, member)
    }

    assert len(texts) == 1
    assert passkey_hint.COOKIE not in client.cookies


# In a browser


@pytest.mark.browser
@pytest.mark.once
def test_person_who_typed_a_wrong_password_can_type_again_at_once(chromium, portal):
    context = chromium.new_context(base_url=portal.url, timezone_id="Asia/Tokyo")
    browser = context.new_page()
    browser.goto(SIGN_IN)
    assert {field.input_value() for field in browser.locator("[name=browser_time_zone]").all()} == {"Asia/Tokyo"}
    expect(browser.get_by_label("E-mail address")).to_be_focused()
    browser.keyboard.type("user@demo.example")
    browser.keyboard.press("Tab")
    browser.keyboard.type("wrong")
    browser.keyboard.press("Enter")

    expect(browser.get_by_role("alert")).to_contain_text("The e-mail address or the password is wrong.")
    expect(browser.get_by_label("Password")).to_be_focused()
    context.add_cookies([{"name": passkey_hint.COOKIE, "value": passkey_hint.USED, "url": portal.url}])
    browser.goto(SIGN_IN)
    expect(browser.get_by_role("button", name="Sign in with a passkey")).to_be_focused()
    context.close()
