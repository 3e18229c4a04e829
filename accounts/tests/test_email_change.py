"""People change their own e-mail address with a link that is sent to the new address."""

import re
from datetime import timedelta
from html import unescape

import pytest
import time_machine
from allauth.account.models import EmailAddress
from django.test import Client
from django.utils import timezone

from accounts import services
from accounts.mails import email_change_mail
from accounts.models import User
from accounts.security import email_change
from accounts.tests.factories import PASSWORD, UserFactory
from auditlog.actions import Action
from auditlog.models import Activity
from auditlog.record import record
from opsera_portal.tests.mails import delivered

PAGE = "/profile/security/email/"
NEW = "olga@new.example"


@pytest.fixture
def ask(django_capture_on_commit_callbacks):
    def ask(client, email=NEW):
        with django_capture_on_commit_callbacks(execute=True):
            answer = client.post(PAGE, {"email": email})
        delivered()
        return answer

    return ask


@pytest.fixture
def confirm(django_capture_on_commit_callbacks):
    def confirm(client, link):
        with django_capture_on_commit_callbacks(execute=True):
            return client.post(link)

    return confirm


def sign_in(user, email=None):
    client = Client()
    client.post("/login/", {"login": email or user.email, "password": PASSWORD})
    return client


def is_signed_in(client):
    return client.get("/profile/").status_code == 200


def mails_to(address):
    return [message for message in delivered() if message.to == [address]]


def link(address=NEW):
    return re.search(r"https?://[^/]+(/confirm-email/\S+)", mails_to(address)[-1].body)[1]


def address_of(user):
    user.refresh_from_db()
    return user.email


def test_person_signs_in_with_the_new_address_after_confirming_it(owner, ask, confirm):
    client = sign_in(owner)
    assert ask(client).url == "/profile/security/"

    assert confirm(client, link()).url == "/profile/security/"

    assert address_of(owner) == NEW
    assert is_signed_in(sign_in(owner, NEW))
    assert not is_signed_in(sign_in(owner, "owner@acme.example"))


def test_person_signs_in_with_the_old_address_until_the_new_one_is_confirmed(owner, ask):
    ask(sign_in(owner))

    assert address_of(owner) == "owner@acme.example"
    assert is_signed_in(sign_in(owner, "owner@acme.example"))
    assert not is_signed_in(sign_in(owner, NEW))


def test_opening_the_link_changes_nothing(owner, ask):
    client = sign_in(owner)
    ask(client)

    answer = client.get(link())

    assert NEW in answer.content.decode()
    assert address_of(owner) == "owner@acme.example"


def test_old_address_gets_a_mail_about_the_request_and_the_change(owner, ask, confirm):
    client = sign_in(owner)
    ask(client)
    confirm(client, link())

    told = mails_to("owner@acme.example")
    assert [message.subject for message in told] == [
        "A change of your e-mail address was requested",
        "Your e-mail address was changed",
    ]
    assert all(NEW in message.body and "/confirm-email/" not in message.body for message in told)


def test_mail_about_the_request_goes_to_the_old_address_even_after_the_change(owner):
    entry = record(actor=owner, action=Action.EMAIL_CHANGE_ASKED, target=owner, to=NEW)
    owner.email = NEW
    owner.save()

    email_change_mail.put(owner.pk, entry.pk)

    assert [message.to for message in delivered()] == [["owner@acme.example"]]


def test_email_change_is_in_the_activity_log(owner, ask, confirm):
    client = sign_in(owner)
    ask(client)
    confirm(client, link())

    asked, changed = Activity.objects.filter(action__contains="email").order_by("pk")
    assert (asked.action, asked.details) == ("authentication.email_change_asked", {"to": NEW})
    assert changed.action == "authentication.email_changed"
    assert changed.details == {"from": "owner@acme.example", "to": NEW}


def test_signed_out_person_must_sign_in_before_opening_the_link(owner, ask):
    ask(sign_in(owner))

    answer = Client().get(link())

    assert answer.url.startswith("/login/?next=/confirm-email/")


def test_link_does_not_work_for_another_person(owner, member, ask, confirm):
    ask(sign_in(owner))
    other = sign_in(member)

    assert other.get(link()).status_code == 404
    assert confirm(other, link()).status_code == 404
    assert address_of(member) == "member@acme.example"
    assert address_of(owner) == "owner@acme.example"
    assert is_signed_in(other)


def test_link_works_only_once(owner, ask, confirm):
    client = sign_in(owner)
    ask(client)
    confirm(client, link())

    assert confirm(client, link()).status_code == 404


def test_link_expires_after_a_day(owner, ask, confirm):
    ask(sign_in(owner))

    with time_machine.travel(timezone.now() + timedelta(days=1, minutes=1)):
        assert confirm(sign_in(owner), link()).status_code == 404
    assert address_of(owner) == "owner@acme.example"


def test_second_request_replaces_the_first(owner, ask, confirm):
    client = sign_in(owner)
    ask(client)
    ask(client, "second@new.example")

    assert confirm(client, link()).status_code == 404
    confirm(client, link("second@new.example"))
    assert address_of(owner) == "second@new.example"


def test_password_change_cancels_the_requested_address(owner, ask, confirm):
    client = sign_in(owner)
    ask(client)
    form = {"oldpassword": PASSWORD, "password1": "a wholly new secret", "password2": "a wholly new secret"}
    client.post("/profile/security/password/", form)

    assert confirm(client, link()).status_code == 404


@pytest.mark.parametrize("change", [{"password": "another long secret"}, {"is_active": False}], ids=str)
def test_deactivation_or_new_password_cancels_the_requested_address(owner, administrator, ask, change):
    ask(sign_in(owner))

    services.change_user(actor=administrator, user=owner, **change)

    assert email_change.waiting_address(owner) is None


@pytest.mark.parametrize("taken", ["member@acme.example", "MEMBER@Acme.Example"])
def test_request_does_not_reveal_that_an_address_is_taken(owner, member, ask, taken):
    client = sign_in(owner)

    answer = ask(client, taken)

    assert answer.url == "/profile/security/"
    assert "We sent a link to member@acme.example" in client.get("/profile/security/").content.decode()
    assert not mails_to("member@acme.example")


def test_address_taken_by_another_person_after_the_request_is_refused(owner, ask, confirm):
    client = sign_in(owner)
    ask(client)
    UserFactory(email=NEW)

    page = client.get(confirm(client, link()).url).content.decode()

    assert "You can't use this address" in unescape(page)
    assert address_of(owner) == "owner@acme.example"


def test_first_of_two_people_to_confirm_gets_the_address(owner, member, ask, confirm):
    first, second = sign_in(owner), sign_in(member)
    ask(first)
    of_first = link()
    ask(second)
    of_second = link()

    confirm(second, of_second)
    confirm(first, of_first)

    assert [address_of(user) for user in (owner, member)] == ["owner@acme.example", NEW]
    assert User.objects.filter(email=NEW).count() == 1


@pytest.mark.parametrize(
    "email", ["", "olga", "owner@acme.example", "OWNER@acme.example", "a@b.c\r\nBcc: x@y.z", "a\x00@b.example"]
)
def test_invalid_or_unchanged_address_is_refused(owner, ask, email):
    assert ask(sign_in(owner), email).status_code == 200
    assert not EmailAddress.objects.exists()
    assert not delivered()


def test_email_change_ends_all_other_sessions(owner, ask, confirm):
    here, there = sign_in(owner), sign_in(owner)
    ask(here)

    confirm(here, link())

    assert [is_signed_in(client) for client in (here, there)] == [True, False]


def test_at_most_five_links_an_hour_are_sent(owner, ask):
    client = sign_in(owner)

    with time_machine.travel(timezone.now().replace(minute=1), tick=False):
        client = sign_in(owner)
        answers = [ask(client, f"olga{number}@new.example").status_code for number in range(6)]

    assert answers == [302] * 5 + [429]


# allauth's table is kept in sync with `User.email`


def addresses(user):
    return list(EmailAddress.objects.filter(user=user).values_list("email", "verified", "primary"))


def test_confirmed_change_updates_the_allauth_table(owner, ask, confirm):
    client = sign_in(owner)
    ask(client)
    confirm(client, link())

    assert addresses(owner) == [(NEW, True, True)]


def test_change_by_an_administrator_updates_the_allauth_table(owner, administrator, ask):
    ask(sign_in(owner))

    services.change_user(actor=administrator, user=owner, email="changed@acme.example")

    assert addresses(owner) == [("changed@acme.example", True, True)]


def test_former_address_in_the_allauth_table_does_not_sign_in(owner):
    EmailAddress.objects.create(user=owner, email="former@acme.example", verified=True, primary=True)

    assert not is_signed_in(sign_in(owner, "former@acme.example"))
    assert is_signed_in(sign_in(owner))


def test_former_address_of_another_person_can_be_used(owner, member, rf):
    EmailAddress.objects.create(user=member, email=NEW, verified=True, primary=True)
    owner.email = NEW
    owner.save()

    email_change.follow_email(owner)

    assert (addresses(owner), addresses(member)) == ([(NEW, True, True)], [])
