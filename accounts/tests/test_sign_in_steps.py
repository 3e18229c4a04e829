"""Changes to the account between the first and the second step of sign-in."""

import pytest
from django.test import Client

from accounts import services
from accounts.tests.factories import PASSWORD
from accounts.tests.factors import add_app, code_of

SIGN_IN = "/login/"
SECOND_STEP = "/login/two-factor/"
NEW = "nobody guesses this one"


def first_step(user, password=PASSWORD):
    client = Client()
    assert client.post(SIGN_IN, {"login": user.email, "password": password}).url == SECOND_STEP
    return client


def signed_in_as(client):
    return client.session.get("_auth_user_id")


def change_password(owner, administrator):
    client = Client()
    client.force_login(owner)
    client.post("/profile/security/password/", {"oldpassword": PASSWORD, "password1": NEW, "password2": NEW})
    owner.refresh_from_db()


def deactivate(owner, administrator):
    services.set_active(actor=administrator, user=owner, is_active=False)


HAPPENINGS = {"another password": change_password, "a deactivation": deactivate}


@pytest.mark.parametrize("happens", HAPPENINGS.values(), ids=HAPPENINGS)
def test_first_step_becomes_invalid_after_a_change_of_the_account(owner, administrator, happens):
    secret = add_app(owner)
    client = first_step(owner)
    happens(owner, administrator)

    answer = client.post(SECOND_STEP, {"code": code_of(secret)}, follow=True)

    assert answer.redirect_chain == [(SIGN_IN, 302)]
    assert "Sign in again" in answer.content.decode()
    assert signed_in_as(client) is None


@pytest.mark.parametrize("happens", HAPPENINGS.values(), ids=HAPPENINGS)
def test_sign_in_page_starts_again_after_a_change_of_the_account(owner, administrator, happens):
    add_app(owner)
    client = first_step(owner)
    happens(owner, administrator)

    assert client.get(SIGN_IN).status_code == 200


def test_invalid_first_step_is_removed_from_the_session(owner, administrator):
    secret = add_app(owner)
    client = first_step(owner)
    change_password(owner, administrator)
    client.post(SECOND_STEP, {"code": code_of(secret)})

    assert client.session.keys() & {"first_step", "account_login", "account_authentication_methods"} == set()


def test_second_step_returns_to_sign_in_if_two_factor_was_removed(owner, administrator):
    add_app(owner)
    client = first_step(owner)
    services.reset_two_factor(actor=administrator, user=owner)

    page = client.get(SECOND_STEP, follow=True)
    client.post(SIGN_IN, {"login": owner.email, "password": PASSWORD})

    assert page.redirect_chain == [(SIGN_IN, 302)]
    assert signed_in_as(client) == str(owner.pk)
