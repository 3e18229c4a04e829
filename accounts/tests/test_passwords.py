"""The password rules, changing a password, and replacing a lost one."""

import re
from datetime import timedelta

import pytest
import time_machine
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.auth import hashers
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from accounts.signin import password_reset
from accounts.tests.factories import PASSWORD, OperatorFactory, UserFactory
from accounts.tests.factors import add_passkey
from auditlog.models import Activity
from core.models import OutgoingMail
from core.setting_readers import OpenIDProvider
from opsera_portal import settings as portal_settings
from opsera_portal.tests.mails import delivered
from tokens.tests.factories import TokenFactory

CHANGE = "/profile/security/password/"
ASK = "/password/reset/"
NEW = "nobody guesses this one"


def sign_in(user, password=PASSWORD):
    client = Client()
    client.post("/login/", {"login": user.email, "password": password})
    return client


def is_signed_in(client):
    return client.get("/profile/").status_code == 200


def change(client, old=PASSWORD, new=NEW, again=None, **fields):
    form = {"oldpassword": old, "password1": new, "password2": new if again is None else again, **fields}
    return client.post(CHANGE, form)


def actions(user):
    return list(Activity.objects.filter(actor=user).order_by("pk").values_list("action", flat=True))


# The rules


REFUSED = {
    "eleven characters": "x7kq0zm2vpl",
    "more than 128 characters": "correct horse battery staple" * 5,
    "digits only": "48151623428151",
    "one of the common ones": "passwordpassword",
    "one that leaks have made common": "qazwsxedcrfv",
    "another, with a sign": "Sonyericsson!",
    "a common one with a year": "Football2024!",
    "a common one, spelled with signs": "P@ssw0rd!2345",
    "the same few characters": "abcabcabcabcabc",
    "the portal's name": "OpseraPortal1",
    "the portal's name, spelled with signs": "0ps3r@-P0rt4l!!",
    "the portal's name, backwards": "latroparespo42",
    "the organization": "Acme-Acme-2026",
    "the organization and the product": "acme.opsera.2026",
    "one's name": "OlgaOwner2026!",
    "one's name, backwards": "renwo_aglo_77",
    "one's address": "owner@acme.example",
    "one's address and a year": "owner@acme2026",
}


@pytest.mark.parametrize("password", REFUSED.values(), ids=REFUSED)
def test_password_that_is_easy_to_guess_is_refused(owner, password):
    with pytest.raises(ValidationError):
        validate_password(password, owner)


@pytest.mark.parametrize(
    "password",
    [
        "x7kq0zm2vplw",
        "x" * 64 + "7kq0zm2vpl" * 6,
        "the portal ate my homework",
        "olga grows tomatoes in march",
        "пароль из четырёх слов",
        "🦄🐉🌋🧊🪐🍋🦜🛶🎻🧶🪁🧭",
        "no capital letter and no digit",
        " spaces at both ends ",
    ],
)
def test_any_other_password_is_accepted(owner, password):
    validate_password(password, owner)


def test_rules_work_for_operators_without_an_organization(db):
    validate_password(NEW, OperatorFactory())


def test_passwords_are_stored_as_argon2id():
    assert portal_settings.PASSWORD_HASHERS[0] == "django.contrib.auth.hashers.Argon2PasswordHasher"
    assert hashers.Argon2PasswordHasher().encode(NEW, "some salt").startswith("argon2$argon2id$")


@pytest.mark.parametrize("page", [CHANGE, "/login/", "/login/again/", ASK])
def test_password_fields_work_with_password_managers_and_pasting(owner, client, page):
    if page in {CHANGE, "/login/again/"}:
        client = sign_in(owner)

    fields = re.findall(r"<input\b[^>]*>", client.get(page).content.decode())

    passwords = [field for field in fields if 'type="password"' in field]
    assert all(re.search(r'autocomplete="(current|new)-password"', field) for field in passwords)
    assert any('autocomplete="username' in field for field in fields)
    assert not any("onpaste" in field or "maxlength" in field for field in passwords)


# Changing a password


def test_changed_password_signs_in(owner):
    answer = change(sign_in(owner))

    assert (answer.status_code, answer.url) == (302, "/profile/security/")
    assert is_signed_in(sign_in(owner, NEW))
    assert not is_signed_in(sign_in(owner))


def test_password_change_ends_all_other_sessions(owner):
    here, elsewhere = sign_in(owner), sign_in(owner)
    key = elsewhere.session.session_key

    change(here)

    assert is_signed_in(here)
    assert not is_signed_in(elsewhere)
    assert not elsewhere.session.exists(key)


def test_password_change_renews_the_key_of_this_session(owner):
    client = sign_in(owner)
    before = client.session.session_key

    change(client)

    assert client.session.session_key != before
    assert not client.session.exists(before)


@pytest.mark.parametrize(("fields", "left"), [({}, 1), ({"expire_tokens": "on"}, 0)])
def test_password_change_expires_tokens_if_requested(owner, member, fields, left):
    token, others = TokenFactory(owner=owner), TokenFactory(owner=member)

    change(sign_in(owner), **fields)

    assert type(token).objects.owned_by(owner).live().count() == left
    assert type(token).objects.owned_by(member).live().count() == 1
    assert ("token.revoked" in actions(owner)) == (left == 0)
    assert others.revoked_at is None


@pytest.mark.parametrize(
    "form",
    [
        {"old": "wrong"},
        {"old": ""},
        {"new": "short"},
        {"new": "OlgaOwner2026!"},
        {"again": "another secret of mine"},
    ],
    ids=["wrong current one", "no current one", "too short", "easy to guess", "typed differently"],
)
def test_invalid_form_does_not_change_the_password(owner, form):
    here, elsewhere = sign_in(owner), sign_in(owner)

    answer = change(here, **form)

    assert answer.status_code == 200
    assert "error-summary" in answer.content.decode()
    assert is_signed_in(elsewhere)
    assert "authentication.password_changed" not in actions(owner)


def test_password_change_is_logged_and_mailed(owner, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        change(sign_in(owner))

    entry = Activity.objects.get(action="authentication.password_changed")
    assert (entry.actor, entry.details) == (owner, {"sessions": 0, "tokens": 0})
    [message] = delivered()
    assert (message.to, message.subject) == ([owner.email], "Your password was changed")
    assert "127.0.0.1" in message.body
    assert NEW not in message.body


def test_person_without_a_password_sets_one_and_keeps_the_session(owner):
    client = sign_in(owner)
    owner.set_unusable_password()
    owner.save()
    client.force_login(owner)

    assert client.get(CHANGE).url == "/profile/security/password/set/"
    client.post("/profile/security/password/set/", {"password1": NEW, "password2": NEW})

    assert is_signed_in(client)
    assert is_signed_in(sign_in(owner, NEW))


# Replacing a lost password


def ask(email, client=None, **extra):
    return (client or Client()).post(ASK, {"email": email}, **extra)


def link_in(message):
    return re.search(r"https?://\S+(/password/reset/\S+)", message.body)[1]


def link_for(user):
    user.refresh_from_db()
    return password_reset.link_for(user).removeprefix(settings.PORTAL_URL)


def open_link(link, client=None):
    """Returns the client and the address of the form. An invalid link returns its own address."""
    client = client or Client()
    answer = client.get(link)
    return client, answer.headers.get("Location", link)


def set_by(link, new=NEW, client=None, **fields):
    client, address = open_link(link, client)
    return client.post(address, {"password1": new, "password2": new, **fields})


def works(link):
    return open_link(link)[1] != link


def test_lost_password_is_replaced_with_the_link_in_the_mail(owner):
    ask(owner.email.upper())

    answer = set_by(link_in(delivered()[0]))

    assert answer.url == reverse("account_reset_password_from_key_done")
    assert is_signed_in(sign_in(owner, NEW))


def test_password_reset_does_not_sign_in_and_ends_all_sessions(owner):
    elsewhere, here = sign_in(owner), Client()

    set_by(link_for(owner), client=here)

    assert not is_signed_in(here)
    assert not is_signed_in(elsewhere)


def test_password_reset_ends_the_session_in_the_same_browser(owner):
    here = sign_in(owner)

    assert set_by(link_for(owner), client=here).status_code == 302
    assert not is_signed_in(here)


def test_opening_a_reset_link_does_not_end_the_session(owner, member):
    client = sign_in(member)

    open_link(link_for(owner), client)

    assert client.session["_auth_user_id"] == str(member.pk)
    assert is_signed_in(sign_in(owner))


def test_password_reset_does_not_skip_two_factor(owner):
    Authenticator.objects.create(user=owner, type=Authenticator.Type.TOTP, data={"secret": "x"})

    set_by(link_for(owner))

    answer = Client().post("/login/", {"login": owner.email, "password": NEW})
    assert answer.url == reverse("mfa_authenticate")


def test_link_works_only_once(owner):
    link = link_for(owner)
    set_by(link)

    assert not works(link)


def test_form_opened_before_the_link_was_used_is_refused(owner):
    link = link_for(owner)
    slow, address = open_link(link)
    set_by(link)

    answer = slow.post(address, {"password1": "a second new password", "password2": "a second new password"})

    assert "This link no longer works" in answer.content.decode()
    assert is_signed_in(sign_in(owner, NEW))


def test_link_expires_after_an_hour(owner):
    link, now = link_for(owner), timezone.now()

    with time_machine.travel(now + timedelta(minutes=59)):
        assert works(link)
    with time_machine.travel(now + timedelta(minutes=61)):
        assert not works(link)


ENDS = {
    "another password": lambda user: user.set_password("a wholly new password"),
    "another address": lambda user: setattr(user, "email", "new@acme.example"),
    "a deactivation": lambda user: setattr(user, "is_active", False),
    "a sign-in": lambda user: setattr(user, "last_login", timezone.now() + timedelta(seconds=5)),
}


@pytest.mark.parametrize("happens", ENDS.values(), ids=ENDS)
def test_link_becomes_invalid_after_a_change_of_the_account(owner, happens):
    link = link_for(owner)
    happens(owner)
    owner.save()

    assert not works(link)


def test_link_does_not_work_for_deactivated_people(owner):
    owner.is_active = False
    owner.save()

    assert not works(link_for(owner))


def test_link_does_not_work_for_another_person(owner, member):
    key = link_for(owner).rstrip("/").rpartition("/")[2]

    assert not works(f"/password/reset/{member.pk.hex}/{key}/")


@pytest.mark.parametrize(
    "link", ["/password/reset/x/y/", "/password/reset/0/set-password/", "/password/reset/%00/%00/"]
)
@pytest.mark.django_db
def test_forged_link_does_not_work(client, link):
    answer = client.get(link)

    assert answer.status_code == 200
    assert "This link no longer works" in answer.content.decode()


def test_invitation_link_does_not_reset_a_password(owner):
    owner.set_unusable_password()
    owner.joined_at = None
    owner.save()

    assert not works(link_for(owner))


@pytest.mark.parametrize(("fields", "left"), [({}, 1), ({"expire_tokens": "on"}, 0)])
def test_password_reset_expires_tokens_if_requested(owner, fields, left):
    token = TokenFactory(owner=owner)

    set_by(link_for(owner), **fields)

    assert type(token).objects.owned_by(owner).live().count() == left


def test_password_reset_applies_the_password_rules(owner):
    assert set_by(link_for(owner), new="OlgaOwner2026!").status_code == 200
    assert is_signed_in(sign_in(owner))


def test_link_in_the_mail_ignores_the_host_of_the_request(owner):
    ask(owner.email, SERVER_NAME="localhost")

    assert f"{settings.PORTAL_URL}/password/reset/" in delivered()[0].body


def test_invited_person_gets_the_invitation_again(organization):
    user = UserFactory(organization=organization, joined_at=None, password="!unusable")

    ask(user.email)

    assert "/invitation/" in delivered()[0].body


@pytest.mark.parametrize("way", ["provider", "passkey", "operator"])
def test_person_without_a_password_gets_a_mail_that_says_so(owner, settings, way):
    owner.set_unusable_password()
    owner.save()
    if way == "provider":
        settings.OPENID_PROVIDER = OpenIDProvider("https://id.acme.example", "portal", "a secret", "Acme ID")
    elif way == "passkey":
        add_passkey(owner)
    else:
        User.objects.filter(pk=owner.pk).update(is_superuser=True, organization=None)

    ask(owner.email)

    assert delivered()[0].subject == "You have no password for the Opsera Portal"
    assert "/password/reset/" not in delivered()[0].body


def test_person_with_no_way_in_gets_a_link(owner):
    owner.set_unusable_password()
    owner.save()

    ask(owner.email)
    set_by(link_in(delivered()[0]))

    assert is_signed_in(sign_in(owner, NEW))


@pytest.mark.parametrize("email", ["nobody@acme.example", "OWNER@ACME.EXAMPLE"])
def test_unknown_or_deactivated_person_gets_no_mail(owner, email):
    owner.is_active = False
    owner.save()

    ask(email)

    assert not delivered()


def test_one_address_gets_at_most_three_mails_an_hour(owner):
    for _ in range(5):
        assert ask(owner.email).status_code == 302
        sent = delivered()

    assert len(sent) == 3


def test_repeated_request_sends_one_mail(owner):
    for _ in range(3):
        ask(owner.email)

    assert len(delivered()) == 1


def test_one_network_can_request_twenty_links_a_minute(db):
    with time_machine.travel(timezone.now().replace(second=1), tick=False):
        answers = [ask(f"nobody{number}@acme.example") for number in range(21)]

    assert [answer.status_code for answer in answers] == [302] * 20 + [429]
    assert int(answers[-1].headers["Retry-After"]) == 59


def test_password_reset_is_in_the_activity_log(owner):
    ask(owner.email, REMOTE_ADDR="192.0.2.7")
    set_by(link_in(delivered()[0]))

    assert actions(owner) == ["authentication.password_reset_asked", "authentication.password_reset"]
    assert Activity.objects.earliest("pk").details == {"address": "192.0.2.7"}


@pytest.mark.parametrize("is_known", [True, False])
def test_outbox_does_not_store_the_typed_address(owner, is_known):
    ask(owner.email if is_known else "nobody@acme.example", REMOTE_ADDR="192.0.2.7")

    row = OutgoingMail.objects.get()
    assert row.arguments == {"user_id": str(owner.pk) if is_known else None, "address": "192.0.2.7"}
    assert (row.person, row.email) == (None, "")


# Strangers cannot find out which accounts exist


def work_of(act):
    """Returns the result of ``act``, its kinds of queries, and how often it hashed a password."""
    hashed = []

    class Counting(hashers.MD5PasswordHasher):
        def encode(self, password, salt):
            hashed.append(salt)
            return super().encode(password, salt)

    with pytest.MonkeyPatch.context() as patch, CaptureQueriesContext(connection) as queries:
        patch.setattr(hashers, "get_hashers", lambda: [Counting()])
        patch.setattr(hashers, "get_hashers_by_algorithm", lambda: {"md5": Counting()})
        answer = act()
    return answer, [query["sql"].split()[0] for query in queries], len(hashed)


@pytest.fixture
def kinds(owner, organization):
    """An address for each kind of account."""
    gone = UserFactory(organization=organization, is_active=False)
    invited = UserFactory(organization=organization, joined_at=None, password="!unusable")
    return {"known": owner.email, "unknown": "nobody@acme.example", "gone": gone.email, "invited": invited.email}


@pytest.mark.parametrize("kind", ["unknown", "gone", "invited"])
def test_request_for_a_link_does_the_same_work_for_every_account(kinds, kind):
    known = work_of(lambda: ask(kinds["known"]))
    other = work_of(lambda: ask(kinds[kind]))

    assert other[1:] == known[1:]
    assert (other[0].status_code, other[0].url) == (known[0].status_code, known[0].url)
    assert other[0].cookies.keys() == known[0].cookies.keys()


@pytest.mark.parametrize("kind", ["unknown", "gone", "invited"])
def test_wrong_password_costs_one_hash_and_the_same_writes_for_every_account(kinds, kind):
    def attempt(email):
        return Client().post("/login/", {"login": email, "password": "wrong"})

    known = work_of(lambda: attempt(kinds["known"]))
    other = work_of(lambda: attempt(kinds[kind]))

    assert other[2] == known[2] == 1
    assert other[1].count("INSERT") == known[1].count("INSERT")
    assert other[0].status_code == known[0].status_code


@pytest.mark.parametrize("page", ["/password/reset/", "/password/reset/sent/", "/password/reset/x/y/", "/login/"])
@pytest.mark.django_db
def test_sign_in_pages_are_not_cached(client, page):
    assert "no-store" in client.get(page).headers.get("Cache-Control", "")
