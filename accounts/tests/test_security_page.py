"""The security page in a person's profile."""

from datetime import timedelta

import pytest
import time_machine
from django.test import Client
from django.utils import timezone

from accounts.tests.factories import PASSWORD, OperatorFactory

PAGE = "/profile/security/"


def text(client):
    return " ".join(client.get(PAGE).content.decode().split())


def test_page_links_to_everything_that_can_be_changed(client, owner):
    client.force_login(owner)

    page = text(client)

    for address in ("password/", "email/", "sessions/", "two-factor/"):
        assert f'"{PAGE}{address}"' in page
    assert 'href="/profile/preferences/#notifications"' in page
    assert owner.email in page


def test_page_says_when_the_password_was_set(client, owner):
    owner.joined_at = timezone.now() - timedelta(days=70)
    owner.save()
    client.post("/login/", {"login": owner.email, "password": PASSWORD})
    assert "70 days ago" in text(client)

    form = {"oldpassword": PASSWORD, "password1": "a wholly new secret", "password2": "a wholly new secret"}
    client.post("/profile/security/password/", form)
    with time_machine.travel(timezone.now() + timedelta(minutes=70)):
        assert "1 hour ago" in text(client)


def test_page_offers_to_set_a_first_password(client, owner):
    owner.set_unusable_password()
    owner.save()
    client.force_login(owner)

    assert f'"{PAGE}password/set/"' in text(client)


def test_page_counts_my_sessions(client, owner):
    client.post("/login/", {"login": owner.email, "password": PASSWORD})
    assert "You are signed in here, and nowhere else." in text(client)

    Client().post("/login/", {"login": owner.email, "password": PASSWORD})
    assert "You are signed in in 2 browsers" in text(client)


@pytest.mark.django_db
def test_operator_sees_no_tabs_or_settings_of_members(client):
    client.force_login(OperatorFactory())

    page = text(client)

    assert "choose-notifications" not in page
    assert 'class="tabs"' not in page


@pytest.mark.parametrize("address", ["", "password/", "email/", "sessions/"])
def test_security_pages_are_not_cached(client, owner, address):
    client.force_login(owner)

    assert client.get(PAGE + address).headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("address", ["password/", "email/", "sessions/1/end/", "sessions/end-all/"])
def test_other_sites_cannot_send_these_forms(owner, address):
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner)

    assert client.post(PAGE + address, {"email": "x@y.example"}).status_code == 403
