"""Signing in and out: the portal's rules on top of django-allauth, and the activity log."""

import logging
import re

import pytest
from allauth.account.adapter import get_adapter
from django.conf import settings
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import NoReverseMatch, resolve, reverse
from django.urls.exceptions import Resolver404

from accounts.roles import SiteRole
from accounts.security.session_store import digest_of
from accounts.tests.factories import PASSWORD, OperatorFactory, UserFactory
from auditlog.models import Activity

SIGN_IN = "/login/"
SIGN_OUT = "/logout/"
NOBODY = "nobody@acme.example"


def sign_in(client, login, password=PASSWORD, **fields):
    return client.post(SIGN_IN, {"login": login, "password": password, **fields})


def signed_in_as(client):
    return client.session.get("_auth_user_id")


def text_of(answer):
    """The page without parts that differ for each request or repeat what was typed."""
    page = re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", answer.content.decode())
    return re.sub(r"[\w.]+@acme\.example", "", page)


# Who can sign in


def test_correct_password_signs_in(client, owner):
    answer = sign_in(client, owner.email)

    assert (answer.status_code, answer.url) == (302, reverse("overview"))
    assert signed_in_as(client) == str(owner.pk)


def test_email_address_ignores_case_and_surrounding_spaces(client, owner):
    sign_in(client, f"  {owner.email.upper()} ")

    assert signed_in_as(client) == str(owner.pk)


@pytest.mark.parametrize("password", ["wrong", PASSWORD.upper(), f" {PASSWORD}", f"{PASSWORD} ", PASSWORD[:-1]])
def test_wrong_password_does_not_sign_in(client, owner, password):
    answer = sign_in(client, owner.email, password)

    assert answer.status_code == 200
    assert signed_in_as(client) is None


def test_empty_password_does_not_sign_in(client, owner):
    owner.set_password("")
    owner.save()

    sign_in(client, owner.email, "")

    assert signed_in_as(client) is None


@pytest.mark.parametrize("role", SiteRole)
def test_every_role_lands_on_the_overview(client, organization, role):
    person = UserFactory(organization=organization, site_role=role)

    assert sign_in(client, person.email).url == "/"


@pytest.mark.django_db
def test_operator_lands_in_django_admin(client):
    answer = sign_in(client, OperatorFactory().email)

    assert answer.url == "/admin/"
    assert client.get(answer.url).status_code == 200


def test_deactivated_person_cannot_sign_in(client, owner):
    owner.is_active = False
    owner.save()

    answer = client.post(SIGN_IN, {"login": owner.email, "password": PASSWORD}, follow=True)

    assert answer.redirect_chain == [(reverse("account_inactive"), 302)]
    assert "deactivated" in answer.content.decode()
    assert signed_in_as(client) is None


def test_former_email_address_does_not_sign_in(client, owner):
    former = owner.email
    sign_in(client, former)
    client.post(SIGN_OUT)
    owner.email = "olga@acme.example"
    owner.save()

    sign_in(client, former)
    assert signed_in_as(client) is None
    sign_in(client, "olga@acme.example")
    assert signed_in_as(client) == str(owner.pk)


def test_signed_in_person_is_redirected_from_the_sign_in_page(client, owner):
    client.force_login(owner)

    answer = client.get(SIGN_IN)

    assert (answer.status_code, answer.url) == (302, "/")


# Strangers cannot find accounts or cause errors


def test_unknown_address_and_wrong_password_get_the_same_answer(client, owner):
    known = sign_in(client, owner.email, "wrong")
    unknown = sign_in(client, NOBODY, "wrong")

    assert known.status_code == unknown.status_code == 200
    assert text_of(known) == text_of(unknown)
    assert known.cookies.keys() == unknown.cookies.keys()


def test_deactivated_person_with_a_wrong_password_gets_the_same_answer(client, owner):
    active = sign_in(client, owner.email, "wrong")
    owner.is_active = False
    owner.save()

    assert text_of(sign_in(client, owner.email, "wrong")) == text_of(active)


ODD_TEXTS = {
    "empty": "",
    "spaces": "   ",
    "NUL": "\x00",
    "an address with NUL": "owner\x00@acme.example",
    "an address with a line break": "owner@acme.example\r\nBcc: x",
    "long": "x" * 10_000,
    "a long address": "x" * 10_000 + "@acme.example",
    "emoji": "🦄",
    "an address of emoji": "🦄@🦄.example",
    "not one @": "a@b@c",
    "no text at all": "\u2028\u202e\ufeff",
}


@pytest.mark.parametrize("login", ODD_TEXTS.values(), ids=ODD_TEXTS)
def test_unusual_login_causes_no_server_error(client, owner, login):
    answer = sign_in(client, login)

    assert answer.status_code == 200
    assert signed_in_as(client) is None
    assert not Activity.objects.exists()


@pytest.mark.parametrize("password", ODD_TEXTS.values(), ids=ODD_TEXTS)
def test_unusual_password_causes_no_server_error(client, owner, password):
    answer = sign_in(client, owner.email, password)

    assert answer.status_code == 200
    assert signed_in_as(client) is None


@pytest.mark.parametrize("body", ["login=%ff%fe&password=%ed%a0%80", "login=a%00b%40c.d&password=x", "%", "=&=", ""])
@pytest.mark.django_db
def test_unusual_body_causes_no_server_error(client, body):
    answer = client.post(SIGN_IN, body, content_type="application/x-www-form-urlencoded")

    assert answer.status_code == 200


def test_other_sites_cannot_send_the_sign_in_form(owner):
    client = Client(enforce_csrf_checks=True)

    assert sign_in(client, owner.email).status_code == 403
    assert signed_in_as(client) is None


FOREIGN = [
    "https://evil.example/",
    "http://evil.example/",
    "//evil.example/",
    "///evil.example/",
    "/\\evil.example/",
    "\\\\evil.example/",
    "https:evil.example",
    "https://127.0.0.1@evil.example/",
    "javascript:alert(1)",
    "\x00//evil.example/",
    "data:text/html,x",
]


@pytest.mark.parametrize("address", FOREIGN)
def test_next_cannot_redirect_to_another_site_at_sign_in(client, owner, address):
    assert sign_in(client, owner.email, next=address).url == "/"


@pytest.mark.parametrize("address", FOREIGN)
def test_next_cannot_redirect_a_signed_in_person_to_another_site(client, owner, address):
    client.force_login(owner)

    assert client.get(SIGN_IN, {"next": address}).url == "/"


@pytest.mark.parametrize("address", FOREIGN)
def test_next_cannot_redirect_to_another_site_at_sign_out(client, owner, address):
    client.force_login(owner)

    assert client.post(SIGN_OUT, {"next": address}).url == SIGN_IN


def test_next_redirects_to_a_page_of_the_portal(client, owner):
    assert sign_in(client, owner.email, next="/profile/tokens/?q=a%20b").url == "/profile/tokens/?q=a%20b"


def test_requested_page_opens_after_sign_in(client, owner):
    to_sign_in = client.get("/profile/tokens/?state=active").url
    form = client.get(to_sign_in).context

    answer = sign_in(client, owner.email, **{form["redirect_field_name"]: form["redirect_field_value"]})

    assert answer.url == "/profile/tokens/?state=active"


@pytest.mark.parametrize(
    "address",
    ["signup/", "accounts/signup/", "accounts/login/", "email/", "login/code/", "profile/security/email/sent/"],
)
@pytest.mark.django_db
def test_sign_up_and_other_pages_of_allauth_do_not_exist(client, address):
    assert client.get(f"/{address}").status_code == 404
    with pytest.raises(Resolver404):
        resolve(f"/{address}")


def test_allauth_does_not_allow_sign_up(rf):
    with pytest.raises(NoReverseMatch):
        reverse("account_signup")
    assert not get_adapter().is_open_for_signup(rf.get("/"))


# The session


def test_session_key_changes_at_sign_in(client, owner):
    session = client.session
    session["planted"] = "by someone else"
    session.save()
    client.cookies[settings.SESSION_COOKIE_NAME] = before = session.session_key

    sign_in(client, owner.email)

    assert client.cookies[settings.SESSION_COOKIE_NAME].value != before
    assert not Session.objects.filter(session_key=digest_of(before)).exists()


def test_session_cookie_is_hidden_from_scripts_and_other_sites(client, owner):
    cookie = sign_in(client, owner.email).cookies[settings.SESSION_COOKIE_NAME]

    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
    assert cookie["max-age"] == 12 * 60 * 60


def test_deactivation_ends_the_session_at_the_next_request(client, owner):
    sign_in(client, owner.email)
    assert client.get("/profile/").status_code == 200
    owner.is_active = False
    owner.save()

    assert client.get("/profile/").url.startswith(SIGN_IN)


def test_new_password_ends_the_session_at_the_next_request(client, owner):
    sign_in(client, owner.email)
    owner.set_password("another long password")
    owner.save()

    assert client.get("/profile/").url.startswith(SIGN_IN)


def test_changed_role_applies_to_the_session_from_the_next_request(client, owner):
    sign_in(client, owner.email)
    assert client.get("/organization/activity-log/").status_code == 403
    owner.site_role = SiteRole.AUDITOR
    owner.save()

    assert client.get("/organization/activity-log/").status_code == 200


# Signing out


def test_opening_the_sign_out_page_does_not_sign_out(client, owner):
    client.force_login(owner)

    assert client.get(SIGN_OUT).status_code == 200
    assert signed_in_as(client) == str(owner.pk)
    assert not Activity.objects.filter(action="authentication.signed_out").exists()


def test_signing_out_ends_the_session_permanently(client, owner):
    sign_in(client, owner.email)
    key = client.session.session_key

    answer = client.post(SIGN_OUT)

    assert (answer.status_code, answer.url) == (302, SIGN_IN)
    assert not Session.objects.filter(session_key=digest_of(key)).exists()
    client.cookies[settings.SESSION_COOKIE_NAME] = key
    assert client.get("/profile/").url.startswith(SIGN_IN)


def test_other_sites_cannot_sign_a_person_out(owner):
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner)

    assert client.post(SIGN_OUT).status_code == 403
    assert signed_in_as(client) == str(owner.pk)


@pytest.mark.django_db
def test_signed_out_person_is_redirected_from_sign_out(client):
    assert client.get(SIGN_OUT).url == SIGN_IN
    assert client.post(SIGN_OUT).url == SIGN_IN
    assert not Activity.objects.exists()


# The activity log


def test_signing_in_is_recorded_with_address_and_request(client, owner):
    answer = client.post(SIGN_IN, {"login": owner.email, "password": PASSWORD}, REMOTE_ADDR="192.0.2.7")

    entry = Activity.objects.get()
    assert (entry.action, entry.type) == ("authentication.signed_in", "authentication")
    assert (entry.actor, entry.target_id, entry.organization) == (owner, str(owner.pk), owner.organization)
    assert (entry.ip, str(entry.request_id)) == ("192.0.2.7", answer.headers["X-Request-ID"])


def test_signing_out_is_recorded_with_address_and_request(client, owner):
    client.force_login(owner)

    answer = client.post(SIGN_OUT, REMOTE_ADDR="2001:db8::7")

    entry = Activity.objects.get(action="authentication.signed_out")
    assert (entry.actor, entry.organization) == (owner, owner.organization)
    assert (entry.ip, str(entry.request_id)) == ("2001:db8::7", answer.headers["X-Request-ID"])


@pytest.mark.parametrize("login", ["owner@acme.example", "OWNER@Acme.Example", " owner@acme.example "])
def test_failed_sign_in_is_recorded_for_the_person(client, owner, login):
    answer = client.post(SIGN_IN, {"login": login, "password": "a wrong guess"}, REMOTE_ADDR="192.0.2.7")

    entry = Activity.objects.get()
    assert (entry.action, entry.actor, entry.organization) == ("authentication.failed", owner, owner.organization)
    assert (entry.ip, str(entry.request_id)) == ("192.0.2.7", answer.headers["X-Request-ID"])
    assert "guess" not in f"{entry.details} {entry.target_name}"


def test_sign_in_of_a_deactivated_person_is_recorded_as_failed(client, owner):
    owner.is_active = False
    owner.save()

    sign_in(client, owner.email)

    assert [entry.action for entry in Activity.objects.all()] == ["authentication.failed"]


def test_failed_sign_in_for_an_unknown_address_is_not_in_the_activity_log(client, owner):
    sign_in(client, NOBODY, "wrong")

    assert not Activity.objects.exists()


@pytest.mark.django_db
def test_server_log_reports_an_unknown_address_without_the_typed_text(client, caplog):
    with caplog.at_level(logging.DEBUG):
        client.post(SIGN_IN, {"login": NOBODY, "password": "my secret guess"}, REMOTE_ADDR="192.0.2.7")

    assert [r.getMessage() for r in caplog.records if r.name == "accounts.signals"] == [
        "Failed sign-in for an unknown e-mail address from 192.0.2.7"
    ]
    assert "nobody" not in caplog.text
    assert "secret guess" not in caplog.text


def test_forged_forwarded_for_header_does_not_change_the_logged_address(client, owner):
    client.post(SIGN_IN, {"login": owner.email, "password": PASSWORD}, headers={"X-Forwarded-For": "203.0.113.9"})

    assert Activity.objects.get().ip == "127.0.0.1"
