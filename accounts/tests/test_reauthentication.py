"""Creating a token or changing security settings requires a recent sign-in."""

from datetime import timedelta

import pytest
import time_machine
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from accounts.security.session_store import digest_of
from accounts.tests.factories import PASSWORD
from accounts.tests.factors import add_app, code_of
from tokens.models import Token

AGAIN = "/login/again/"
TOKENS = "/profile/tokens/"
TOKEN = {"name": "nightly build", "scopes": ["pipeline"], "lifetime": "1w", "expires_at": ""}
LATER = timedelta(minutes=15, seconds=1)


@pytest.fixture
def clock():
    with time_machine.travel(timezone.now(), tick=False) as traveler:
        yield traveler


@pytest.fixture
def signed_in(client, owner, clock):
    client.post("/login/", {"login": owner.email, "password": PASSWORD})
    return client


def answer_again(client, location, password=PASSWORD):
    """Opens the reauthentication page and sends the password."""
    page = client.get(location)
    field = page.context["redirect_field_value"]
    return client.post(AGAIN, {"password": password, "next": field})


ASKED = ["/profile/security/email/", "/profile/security/password/set/"]


@pytest.mark.parametrize("page", ASKED)
def test_recent_sign_in_needs_no_reauthentication(signed_in, clock, page):
    clock.shift(LATER - timedelta(seconds=2))

    assert not signed_in.get(page).headers.get("Location", "").startswith(AGAIN)


@pytest.mark.parametrize("page", ASKED)
def test_old_sign_in_needs_reauthentication_and_returns_to_the_page(signed_in, clock, page):
    clock.shift(LATER)

    answer = signed_in.get(page)
    assert answer.url == f"{AGAIN}?next={page.replace('/', '%2F')}"
    assert answer_again(signed_in, answer.url).url == page
    assert not signed_in.get(page).headers.get("Location", "").startswith(AGAIN)


def test_sessions_cannot_be_ended_before_reauthentication(signed_in, clock, owner):
    clock.shift(LATER)
    other = Client()
    other.post("/login/", {"login": owner.email, "password": PASSWORD})

    there = UserSession.objects.get(session_key=digest_of(other.session.session_key)).pk
    for path in ("end-all/", f"{there}/end/"):
        assert signed_in.post(f"/profile/security/sessions/{path}", {}).url.startswith(AGAIN)
    answer = signed_in.post(f"/api/v1/me/sessions/{there}/end", content_type="application/json")
    assert answer.json()["code"] == "reauthentication_required"
    assert other.get("/profile/").status_code == 200


def test_token_is_created_at_once_after_a_recent_sign_in(signed_in):
    assert "/reveal/" in signed_in.post(TOKENS, TOKEN).url


def test_typed_values_of_a_new_token_survive_reauthentication(signed_in, clock):
    clock.shift(LATER)

    asked = signed_in.post(TOKENS, TOKEN)
    assert asked.url.startswith(f"{AGAIN}?next={TOKENS}%3Fkept%3D")
    assert not Token.objects.exists()
    back = answer_again(signed_in, asked.url)

    page = signed_in.get(back.url)
    assert 'value="nightly build"' in page.content.decode()
    assert not Token.objects.exists()
    assert "/reveal/" in signed_in.post(TOKENS, TOKEN).url


def test_kept_form_is_not_shown_on_an_ordinary_visit(signed_in, clock):
    clock.shift(LATER)
    signed_in.post(TOKENS, TOKEN)

    assert 'value="nightly build"' not in signed_in.get(TOKENS).content.decode()


def test_invalid_form_shows_its_errors_before_reauthentication(signed_in, clock):
    clock.shift(LATER)

    assert signed_in.post(TOKENS, TOKEN | {"name": ""}).status_code == 400


def test_api_error_names_the_reauthentication_page(signed_in, clock, settings):
    clock.shift(LATER)
    body = {"name": "nightly build", "scopes": ["api"]}

    for path, sent in (("tokens", body), ("me/sessions/end-all", {})):
        answer = signed_in.post(f"/api/v1/{path}", sent, content_type="application/json")
        assert (answer.status_code, answer.json()["code"]) == (403, "reauthentication_required")
        assert f"{settings.PORTAL_URL}{AGAIN}" in answer.json()["detail"]
    assert not Token.objects.exists()

    signed_in.post(AGAIN, {"password": PASSWORD})
    assert signed_in.post("/api/v1/tokens", body, content_type="application/json").status_code == 201


def test_wrong_password_does_not_reauthenticate(signed_in, clock):
    clock.shift(LATER)

    answer = answer_again(signed_in, f"{AGAIN}?next=/profile/security/email/", "wrong")

    assert answer.status_code == 200
    assert signed_in.get("/profile/security/email/").status_code == 302


def test_password_of_another_person_does_not_reauthenticate(signed_in, clock, member):
    member.set_password("the password of Mo")
    member.save()
    clock.shift(LATER)

    assert answer_again(signed_in, f"{AGAIN}?next=/", "the password of Mo").status_code == 200


def test_reauthentication_renews_the_session_key(signed_in, clock):
    before = signed_in.session.session_key

    signed_in.post(AGAIN, {"password": PASSWORD})

    assert signed_in.session.session_key != before
    assert not Session.objects.filter(session_key=digest_of(before)).exists()
    assert [row["is_current"] for row in signed_in.get("/api/v1/me/sessions").json()["data"]] == [True]


def test_reauthentication_counts_for_one_session_only(signed_in, clock, owner):
    other = Client()
    other.post("/login/", {"login": owner.email, "password": PASSWORD})
    clock.shift(LATER)
    signed_in.post(AGAIN, {"password": PASSWORD})

    assert other.get("/profile/security/email/").url.startswith(AGAIN)


def test_person_without_a_password_is_told_to_sign_in_again(signed_in, clock, owner):
    owner.set_unusable_password()
    owner.save()
    signed_in.force_login(owner)
    clock.shift(LATER)

    answer = signed_in.get("/profile/security/email/", follow=True)

    assert answer.redirect_chain == [(f"{AGAIN}?next=%2Fprofile%2Fsecurity%2Femail%2F", 302)]
    assert "You have no password here" in answer.content.decode()


FOREIGN = [
    "https://evil.example/",
    "//evil.example/",
    "///evil.example/",
    "/\\evil.example/",
    "\\\\evil.example/",
    "https:evil.example",
    "https:/evil.example",
    "http://localhost/",
    "javascript:alert(1)",
    "\x00//evil.example/",
    "\t//evil.example/",
    "data:text/html,x",
]


@pytest.mark.parametrize("address", FOREIGN)
def test_next_cannot_redirect_to_another_site(signed_in, address):
    assert signed_in.post(AGAIN, {"password": PASSWORD, "next": address}).url == "/"


@pytest.mark.parametrize("address", FOREIGN)
def test_next_of_the_password_page_cannot_redirect_to_another_site(signed_in, address):
    form = {"oldpassword": PASSWORD, "password1": "a wholly new secret", "password2": "a wholly new secret"}

    answer = signed_in.post(f"/profile/security/password/?next={address}", form | {"next": address})

    assert answer.url == "/profile/security/"


@pytest.mark.django_db
@pytest.mark.parametrize("address", FOREIGN)
def test_next_of_the_password_reset_cannot_redirect_to_another_site(client, address):
    answer = client.post("/password/reset/", {"email": "nobody@acme.example", "next": address})

    assert answer.url == "/password/reset/sent/"


def test_next_cannot_redirect_from_https_to_http(rf, settings, signed_in):
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

    answer = signed_in.post(
        AGAIN, {"password": PASSWORD, "next": "http://testserver/"}, headers={"X-Forwarded-Proto": "https"}
    )

    assert answer.url == "/"


# With two-factor


@pytest.fixture
def left_open(signed_in, owner, clock):
    """A session whose last sign-in is too old, and the seed of the person's app."""
    secret = add_app(owner)
    clock.shift(LATER)
    return signed_in, secret


WITH_CODE = "/login/two-factor/again/"


def test_password_alone_is_not_enough_with_two_factor(left_open):
    client, _ = left_open

    answer = client.post(AGAIN, {"password": PASSWORD, "next": "/profile/security/email/"})

    assert answer.url.startswith(WITH_CODE)
    assert client.get("/profile/security/email/").url == f"{WITH_CODE}?next=%2Fprofile%2Fsecurity%2Femail%2F"
    assert AGAIN not in client.get(WITH_CODE).content.decode()


def test_session_without_the_second_factor_must_reauthenticate_after_setup(signed_in, owner):
    add_app(owner)

    assert signed_in.get("/profile/security/passkeys/add/").url.startswith(WITH_CODE)
    answer = signed_in.post("/api/v1/tokens", {"name": "x", "scopes": ["api"]}, content_type="application/json")
    assert answer.json()["code"] == "reauthentication_required"


def test_second_factor_counts_for_15_minutes(left_open, clock):
    client, secret = left_open

    answer = client.post(WITH_CODE, {"code": code_of(secret), "next": "/profile/security/email/"})

    assert answer.url == "/profile/security/email/"
    assert client.get("/profile/security/email/").status_code == 200
    clock.shift(LATER)
    assert client.get("/profile/security/email/").url.startswith(WITH_CODE)
