"""Two-factor: signing in, setting it up, recovery codes, storage and mails."""

import re
import threading
from datetime import timedelta

import pytest
import time_machine
from allauth.mfa.models import Authenticator
from cryptography.fernet import Fernet
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts import services
from accounts.mails import security_mail
from accounts.models import User
from accounts.roles import SiteRole
from accounts.security import two_factor
from accounts.security.codes import PENDING_SECRET, TRIES_OF_PERSON, accept_code
from accounts.security.session_store import digest_of
from accounts.security.two_factor_secrets import BOX, open_seed, seal_pending
from accounts.tests.factories import PASSWORD, OperatorFactory, UserFactory
from accounts.tests.factors import add_app, add_passkey, add_recovery_codes, code_of, make_recent, signed_in_just_now
from auditlog.models import Activity
from opsera_portal import settings as settings_of_the_portal
from opsera_portal.tests.mails import delivered

INDEX = "/profile/security/two-factor/"
ADD_APP = "/profile/security/two-factor/app/add/"
REMOVE_APP = "/profile/security/two-factor/app/remove/"
CODES = "/profile/security/recovery-codes/"
REPLACE_CODES = "/profile/security/recovery-codes/replace/"
SECOND_STEP = "/login/two-factor/"


def sign_in(client, user, **extra):
    return client.post("/login/", {"login": user.email, "password": PASSWORD}, **extra)


def enter(client, code, **extra):
    return client.post(SECOND_STEP, {"code": code}, **extra)


def signed_in_as(client):
    return client.session.get("_auth_user_id")


def secret_on(answer):
    return answer.context["form"].secret


def actions(*names):
    return list(Activity.objects.filter(action__in=[f"authentication.{name}" for name in names]).order_by("id"))


# Signing in


def test_password_alone_does_not_sign_in(client, owner):
    add_app(owner)

    answer = sign_in(client, owner)

    assert (answer.status_code, answer.url) == (302, SECOND_STEP)
    assert signed_in_as(client) is None
    assert client.get("/profile/").url.startswith("/login/")
    assert client.get("/api/v1/me").status_code == 401


def test_password_and_code_sign_in(client, owner):
    secret = add_app(owner)
    sign_in(client, owner)

    answer = enter(client, code_of(secret))

    assert (answer.status_code, answer.url) == (302, "/")
    assert signed_in_as(client) == str(owner.pk)
    assert actions("signed_in")[0].details == {"methods": ["password", "authenticator app"]}


def test_requested_page_opens_after_the_second_step(client, owner):
    secret = add_app(owner)
    client.post("/login/", {"login": owner.email, "password": PASSWORD, "next": "/profile/tokens/"})

    assert enter(client, code_of(secret)).url == "/profile/tokens/"


@pytest.mark.parametrize("steps", [-1, 1], ids=["the one before", "the one after"])
def test_code_of_a_slightly_wrong_clock_signs_in(client, owner, steps):
    secret = add_app(owner)
    sign_in(client, owner)

    enter(client, code_of(secret, steps=steps))

    assert signed_in_as(client) == str(owner.pk)


@pytest.mark.parametrize("steps", [-2, 2, 100])
def test_code_of_another_time_does_not_sign_in(client, owner, steps):
    secret = add_app(owner)
    sign_in(client, owner)

    answer = enter(client, code_of(secret, steps=steps))

    assert answer.status_code == 200
    assert "wrong or already used" in answer.content.decode()
    assert signed_in_as(client) is None


@pytest.mark.parametrize("code", ["", "abcdef", "000000" * 9, "\x00", "١٢٣٤٥٦", "-1", "1e5", "[]"])
def test_malformed_code_causes_no_server_error(client, owner, code):
    add_app(owner)
    sign_in(client, owner)

    assert enter(client, code).status_code == 200
    assert signed_in_as(client) is None


def test_code_works_only_once(owner):
    secret = add_app(owner)
    first, second = Client(), Client()
    for client in (first, second):
        sign_in(client, owner)
    code = code_of(secret)

    enter(first, code)
    enter(second, code)

    assert signed_in_as(first) == str(owner.pk)
    assert signed_in_as(second) is None


def test_used_code_is_refused_even_if_the_cache_is_cleared(owner, rf):
    secret = add_app(owner)
    code = code_of(secret)

    assert accept_code(owner, code) is not None
    cache.clear()
    assert accept_code(owner, code) is None


def test_earlier_code_is_refused_after_a_later_one(owner):
    secret = add_app(owner)

    assert accept_code(owner, code_of(secret, steps=1)) is not None
    assert accept_code(owner, code_of(secret)) is None


@pytest.mark.django_db(transaction=True)
def test_code_is_accepted_by_only_one_of_many_simultaneous_requests(owner):
    secret = add_app(owner)
    code = code_of(secret)

    accepted = at_once(8, lambda: accept_code(owner, code))

    assert sum(one is not None for one in accepted) == 1


def test_code_that_set_up_the_app_does_not_sign_in(client, owner):
    client.force_login(owner)
    with time_machine.travel(timezone.now(), tick=False):
        sign_in(client := Client(), owner)
        code = code_of(secret_on(client.get(ADD_APP)))
        client.post(ADD_APP, {"code": code})
        other = Client()
        sign_in(other, owner)
        enter(other, code)

    assert signed_in_as(other) is None


def test_second_step_needs_the_first(client, owner):
    add_app(owner)

    assert client.get(SECOND_STEP).url == "/login/"
    assert enter(client, "123456").url == "/login/"


def test_deactivation_ends_the_second_step(client, owner):
    secret = add_app(owner)
    sign_in(client, owner)
    User.objects.filter(pk=owner.pk).update(is_active=False)

    enter(client, code_of(secret))

    assert client.get("/profile/").url.startswith("/login/")


def test_second_step_expires_after_15_minutes(client, owner):
    secret = add_app(owner)
    sign_in(client, owner)

    with time_machine.travel(timezone.now() + timedelta(minutes=16), tick=False):
        answer = enter(client, code_of(secret))

    assert answer.url == "/login/"
    assert signed_in_as(client) is None


def test_code_of_another_person_does_not_sign_in(client, owner, member):
    add_app(owner)
    secret_of_member = add_app(member)
    sign_in(client, owner)

    enter(client, code_of(secret_of_member))

    assert signed_in_as(client) is None


def test_session_key_changes_at_the_second_step(client, owner):
    secret = add_app(owner)
    sign_in(client, owner)
    before = client.session.session_key

    enter(client, code_of(secret))

    assert client.session.session_key != before
    assert not Session.objects.filter(session_key=digest_of(before)).exists()


def test_wrong_code_is_recorded_for_the_person(client, owner):
    add_app(owner)
    sign_in(client, owner)

    enter(client, "000000", REMOTE_ADDR="192.0.2.7")

    (entry,) = actions("failed")
    assert (entry.actor, entry.ip, entry.details) == (owner, "192.0.2.7", {"step": "second factor"})


def test_wrong_codes_of_one_address_are_limited(client, owner):
    secret = add_app(owner)
    sign_in(client, owner)
    for _ in range(5):
        enter(client, "000000")

    answer = enter(client, code_of(secret))

    assert "Too many wrong codes" in answer.content.decode()
    assert signed_in_as(client) is None


def test_wrong_codes_of_one_address_do_not_block_the_person_elsewhere(owner):
    secret = add_app(owner)
    stranger, person = Client(), Client()
    sign_in(stranger, owner)
    for _ in range(6):
        enter(stranger, "000000", REMOTE_ADDR="192.0.2.7")
    sign_in(person, owner)

    enter(person, code_of(secret), REMOTE_ADDR="192.0.2.8")

    assert signed_in_as(person) == str(owner.pk)


def test_wrong_codes_of_all_addresses_are_limited_together(client, owner):
    secret = add_app(owner)
    sign_in(client, owner)
    # Earlier wrong codes from other addresses.
    for _ in range(19):
        TRIES_OF_PERSON.take(str(owner.pk))
    enter(client, "000000", REMOTE_ADDR="192.0.2.7")

    enter(client, code_of(secret), REMOTE_ADDR="192.0.2.99")

    assert signed_in_as(client) is None


def test_correct_code_resets_wrong_ones(owner):
    secret = add_app(owner)
    client = Client()
    sign_in(client, owner)
    for _ in range(4):
        enter(client, "000000")
    enter(client, code_of(secret))
    assert signed_in_as(client) == str(owner.pk)

    again = Client()
    sign_in(again, owner)
    for _ in range(4):
        enter(again, "000000")
    enter(again, code_of(secret, steps=1))

    assert signed_in_as(again) == str(owner.pk)


# Setting up and removing


def test_app_is_set_up_with_its_code(client, owner):
    sign_in(client, owner)
    secret = secret_on(client.get(ADD_APP))

    answer = client.post(ADD_APP, {"code": code_of(secret)})

    assert answer.url == CODES
    assert User.objects.get(pk=owner.pk).has_two_factor
    added, made = actions("two_factor_added", "recovery_codes_made")
    assert (added.action, added.details) == ("authentication.two_factor_added", {"kind": "authenticator app"})
    assert made.action == "authentication.recovery_codes_made"


def test_wrong_code_sets_up_nothing_and_keeps_the_seed(client, owner):
    sign_in(client, owner)
    secret = secret_on(client.get(ADD_APP))

    answer = client.post(ADD_APP, {"code": "000000"})

    assert secret_on(answer) == secret
    assert not Authenticator.objects.exists()


def test_qr_code_is_inline(client, owner):
    sign_in(client, owner)

    page = client.get(ADD_APP).content.decode()

    assert "<svg:svg" in page or "<svg" in page
    assert "data:" not in page


def test_seed_is_stored_only_encrypted(client, owner):
    sign_in(client, owner)
    secret = secret_on(client.get(ADD_APP))
    assert secret not in str(dict(client.session))

    client.post(ADD_APP, {"code": code_of(secret)})

    app = Authenticator.objects.get(type=Authenticator.Type.TOTP)
    assert secret not in app.data["secret"]
    assert open_seed(app) == secret
    assert secret not in str(
        [Session.objects.get(pk=digest_of(client.session.session_key)).get_decoded(), *Activity.objects.values()]
    )


def test_recovery_codes_are_stored_as_slow_salted_hashes(owner, settings):
    settings.RECOVERY_CODE_HASHER = settings_of_the_portal.RECOVERY_CODE_HASHER
    add_app(owner)
    two_factor.make_recovery_codes(actor=owner, request=None)

    codes = two_factor.show_recovery_codes(user=owner)

    data = Authenticator.objects.get(type=Authenticator.Type.RECOVERY_CODES).data
    parts = [kept.split("$") for kept in data["hashes"].values()]
    assert {tuple(part[1:4]) for part in parts} == {("argon2id", "v=19", "m=19456,t=2,p=1")}
    assert len({salt for *_, salt, _ in parts}) == len(codes) == 10
    assert not any(code[1:] in str(data) for code in codes)
    assert accept_code(owner, codes[3]) is not None


def test_key_is_in_a_private_file_outside_the_database(settings, owner):
    add_app(owner)

    file = settings.DATA_DIR / "mfa-secrets.key"
    assert file.stat().st_mode & 0o777 == 0o600


def test_key_can_be_replaced(settings, client, owner):
    secret = add_app(owner)
    settings.MFA_SECRETS_KEYS = (Fernet.generate_key().decode(), BOX.key_of_the_file())
    sign_in(client, owner)

    enter(client, code_of(secret))

    assert signed_in_as(client) == str(owner.pk)


def test_seed_moved_to_another_person_does_not_work(client, owner, member):
    secret = add_app(member)
    add_app(owner)
    stolen = Authenticator.objects.get(user=member)
    Authenticator.objects.filter(user=owner).update(data=stolen.data)
    sign_in(client, owner)

    assert enter(client, code_of(secret)).status_code == 200
    assert signed_in_as(client) is None


def test_pending_seed_of_a_session_works_only_for_its_person(client, owner, member):
    sign_in(client, owner)
    secret = secret_on(client.get(ADD_APP))
    session = client.session
    session[PENDING_SECRET] = seal_pending(secret, member)
    session.save()

    client.post(ADD_APP, {"code": code_of(secret)})

    assert not Authenticator.objects.exists()


def test_missing_key_refuses_codes_without_a_server_error(settings, client, owner):
    secret = add_app(owner)
    settings.MFA_SECRETS_KEYS = (Fernet.generate_key().decode(),)
    sign_in(client, owner)

    assert enter(client, code_of(secret)).status_code == 200
    assert signed_in_as(client) is None


def test_recovery_codes_work_without_the_key(settings, client, owner):
    add_app(owner)
    code, *_ = add_recovery_codes(owner)
    settings.MFA_SECRETS_KEYS = (Fernet.generate_key().decode(),)
    sign_in(client, owner)

    enter(client, code)

    assert signed_in_as(client) == str(owner.pk)


def test_removing_the_last_factor_removes_the_recovery_codes(client, owner):
    add_app(owner)
    add_recovery_codes(owner)
    client.force_login(owner)
    make_recent(client)

    client.post(REMOVE_APP)

    assert not Authenticator.objects.filter(user=owner).exists()
    assert [entry.details for entry in actions("two_factor_removed")] == [{"kind": "authenticator app"}]


def test_removing_one_of_two_factors_keeps_the_recovery_codes(client, owner):
    add_app(owner)
    add_passkey(owner)
    add_recovery_codes(owner)
    client.force_login(owner)
    make_recent(client)

    client.post(REMOVE_APP)

    assert {row.type for row in Authenticator.objects.filter(user=owner)} == {"webauthn", "recovery_codes"}


def test_required_last_factor_cannot_be_removed(client, owner):
    require_of(owner)
    factor = add_passkey(owner)
    client.force_login(owner)
    make_recent(client)

    answer = client.post(f"/profile/security/passkeys/{factor.pk}/remove/", follow=True)

    assert "Set up another second factor first" in answer.content.decode()
    assert Authenticator.objects.filter(pk=factor.pk).exists()
    assert not actions("two_factor_removed")


@pytest.mark.django_db(transaction=True)
def test_one_factor_remains_if_the_last_two_are_removed_at_once(owner, rf):
    require_of(owner)
    factors = [add_passkey(owner, "one"), add_passkey(owner, "two")]
    barrier = threading.Barrier(2)
    refused = []

    def remove(factor):
        request = signed_in_just_now(rf.post("/"), owner)
        barrier.wait()
        try:
            two_factor.remove_factor(actor=owner, authenticator=factor, request=request)
        except two_factor.LastSecondFactor:
            refused.append(factor)
        finally:
            connection.close()

    threads = [threading.Thread(target=remove, args=[factor]) for factor in factors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(refused) == 1
    assert Authenticator.objects.filter(user=owner).count() == 1


def test_passkey_of_another_person_cannot_be_renamed_or_removed(client, owner, member):
    factor = add_passkey(member)
    client.force_login(owner)
    make_recent(client)

    assert client.post(f"/profile/security/passkeys/{factor.pk}/remove/").status_code == 404
    assert client.post(f"/profile/security/passkeys/{factor.pk}/rename/", {"name": "x"}).status_code == 404
    assert Authenticator.objects.get(pk=factor.pk).data["name"] == "Laptop"


def test_passkey_can_be_renamed(client, owner):
    factor = add_passkey(owner)
    client.force_login(owner)
    make_recent(client)

    assert client.post(f"/profile/security/passkeys/{factor.pk}/rename/", {"name": "Blue key"}).url == INDEX
    assert Authenticator.objects.get(pk=factor.pk).data["name"] == "Blue key"
    entry = Activity.objects.get(action="user.changed")
    assert (entry.actor, entry.details) == (owner, {"passkey": {"from": "Laptop", "to": "Blue key"}})


CHANGES = [
    ("get", ADD_APP),
    ("post", ADD_APP),
    ("get", REMOVE_APP),
    ("post", REMOVE_APP),
    ("get", "/profile/security/passkeys/add/"),
    ("post", "/profile/security/passkeys/add/"),
    ("post", "/profile/security/passkeys/{pk}/rename/"),
    ("post", "/profile/security/passkeys/{pk}/remove/"),
    ("get", CODES),
    ("post", REPLACE_CODES),
]


@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_changes_require_reauthentication(client, owner, method, path):
    factor = add_passkey(owner)
    add_app(owner)
    add_recovery_codes(owner)
    client.force_login(owner)
    make_recent(client)
    before = list(Authenticator.objects.order_by("pk").values())

    with time_machine.travel(timezone.now() + timedelta(minutes=16), tick=False):
        answer = getattr(client, method)(path.format(pk=factor.pk), {"name": "x", "code": "1"})

    assert answer.status_code == 302
    assert answer.url.startswith("/login/two-factor/again/?next=")
    assert list(Authenticator.objects.order_by("pk").values()) == before


def test_code_works_for_reauthentication(client, owner):
    secret = add_app(owner)
    client.force_login(owner)

    answer = client.post(f"/login/two-factor/again/?next={REMOVE_APP}", {"code": code_of(secret)})

    assert answer.url == REMOVE_APP
    assert client.get(REMOVE_APP).status_code == 200


def test_wrong_code_is_refused_for_reauthentication(client, owner):
    add_app(owner)
    client.force_login(owner)

    answer = client.post(f"/login/two-factor/again/?next={REMOVE_APP}", {"code": "000000"})

    assert answer.status_code == 200
    assert len(actions("failed")) == 1


def test_setup_offers_to_end_earlier_sessions(client, owner):
    older = Client()
    for browser in (older, client):
        sign_in(browser, owner)
    client.post(ADD_APP, {"code": code_of(secret_on(client.get(ADD_APP)))})

    assert "You are signed in in 1 other browser," in client.get(INDEX).content.decode()
    client.post("/profile/security/sessions/end-all/")

    assert older.get("/profile/").url.startswith("/login/")
    assert 'id="sign-out-elsewhere"' not in client.get(INDEX).content.decode()


def test_operator_sets_up_two_factor(client, db):
    operator = OperatorFactory()
    sign_in(client, operator)
    secret = secret_on(client.get(ADD_APP))

    client.post(ADD_APP, {"code": code_of(secret)})

    assert operator.has_two_factor
    assert client.get(INDEX).status_code == 200


# Recovery codes


def test_recovery_code_works_only_once(owner):
    add_app(owner)
    code, *_ = add_recovery_codes(owner)
    for expected in (str(owner.pk), None):
        client = Client()
        sign_in(client, owner)
        enter(client, code)
        assert signed_in_as(client) == expected

    (used,) = actions("recovery_code_used")
    assert (used.actor, code in str(used.details)) == (owner, False)
    assert actions("signed_in")[-1].details == {"methods": ["password", "recovery code"]}


def test_recovery_code_can_be_typed_as_shown(client, owner):
    add_app(owner)
    code, *_ = add_recovery_codes(owner)
    sign_in(client, owner)

    enter(client, f" {code[:4]}-{code[4:8]} {code[8:]} ")

    assert signed_in_as(client) == str(owner.pk)


def codes_on(answer):
    return re.findall(r"\b(?:[0-9]{4}-){3}[0-9]{4}\b", answer.content.decode())


@pytest.fixture
def with_new_codes(client, owner):
    """A client whose owner has an app, and recovery codes that have not been shown yet."""
    add_app(owner)
    client.force_login(owner)
    make_recent(client)
    client.post(REPLACE_CODES)
    return client


def test_recovery_codes_are_shown_once_and_not_cached(with_new_codes):
    first, second = with_new_codes.get(CODES), with_new_codes.get(CODES)

    assert len(set(codes_on(first))) == 10
    assert first["Cache-Control"] == "no-store"
    assert codes_on(second) == []
    assert "have been shown" in second.content.decode()


def test_shown_recovery_code_signs_in(with_new_codes, owner):
    code = codes_on(with_new_codes.get(CODES))[-1]
    sign_in(client := Client(), owner)

    enter(client, code)

    assert signed_in_as(client) == str(owner.pk)


@pytest.mark.parametrize("purpose", ["prefetch", "prefetch;prerender"])
def test_prefetching_browser_gets_no_codes(with_new_codes, purpose):
    ahead = with_new_codes.get(CODES, headers={"Sec-Purpose": purpose})

    assert codes_on(ahead) == []
    assert len(codes_on(with_new_codes.get(CODES))) == 10


def test_page_says_that_codes_have_not_been_shown_yet(with_new_codes):
    assert 'id="show-codes"' in with_new_codes.get(INDEX).content.decode()


def test_no_recovery_code_works_before_they_are_shown(owner):
    add_app(owner)
    two_factor.make_recovery_codes(actor=owner, request=None)

    assert accept_code(owner, "0" * 16) is None


@pytest.mark.django_db(transaction=True)
def test_only_one_of_many_simultaneous_visits_shows_the_codes(owner):
    add_app(owner)
    two_factor.make_recovery_codes(actor=owner, request=None)

    shown = at_once(4, lambda: two_factor.show_recovery_codes(user=owner))

    assert sorted(map(len, shown)) == [0, 0, 0, 10]


class MeetingHasher(MD5PasswordHasher):
    """Lets all four requests reach the comparison of the code before any of them continues."""

    meeting = threading.Barrier(4, timeout=10)

    def verify(self, password, encoded):
        self.meeting.wait()
        return super().verify(password, encoded)


@pytest.mark.django_db(transaction=True)
def test_recovery_code_is_accepted_by_only_one_of_many_simultaneous_requests(owner, settings):
    add_app(owner)
    code, *_ = add_recovery_codes(owner)
    settings.RECOVERY_CODE_HASHER = f"{__name__}.MeetingHasher"

    accepted = at_once(4, lambda: two_factor.use_recovery_code(user=owner, code=code, request=None))

    assert sum(one is not None for one in accepted) == 1


def at_once(count, act):
    """Runs ``act`` in ``count`` threads at the same time, and returns the results."""
    answers = []

    def run():
        try:
            answers.append(act())
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == count
    return answers


def test_new_recovery_codes_replace_the_old_ones(client, owner):
    add_app(owner)
    old = add_recovery_codes(owner)
    client.force_login(owner)
    make_recent(client)

    assert client.post(REPLACE_CODES).url == CODES

    new = [code.replace("-", "") for code in codes_on(client.get(CODES))]
    assert not set(old) & set(new)
    assert accept_code(owner, old[0]) is None
    assert len(actions("recovery_codes_made")) == 1


def test_recovery_codes_require_a_second_factor(client, owner):
    client.force_login(owner)
    make_recent(client)

    answer = client.post(REPLACE_CODES, follow=True)

    assert "Set one up first" in answer.content.decode()
    assert client.get(CODES).status_code == 404


def test_page_counts_the_remaining_codes(client, owner):
    add_app(owner)
    code, *_ = add_recovery_codes(owner)
    accept_code_in_request(client, owner, code)

    assert "9 of 10 left" in client.get(INDEX).content.decode()


# Mails


def test_person_gets_a_mail_about_each_change(client, owner, django_capture_on_commit_callbacks):
    sign_in(client, owner)
    secret = secret_on(client.get(ADD_APP))
    with django_capture_on_commit_callbacks(execute=True):
        client.post(ADD_APP, {"code": code_of(secret)}, REMOTE_ADDR="192.0.2.7")

    (sent,) = delivered()
    assert sent.to == [owner.email]
    assert sent.subject == "A second factor was added to your account: authenticator app"
    assert "192.0.2.7" in sent.body
    assert secret not in sent.body


def test_mail_names_the_administrator_who_removed_two_factor(administrator, owner, django_capture_on_commit_callbacks):
    add_app(owner)
    with django_capture_on_commit_callbacks(execute=True):
        services.reset_two_factor(actor=administrator, user=owner)

    (sent,) = delivered()
    assert sent.to == [owner.email]
    assert f"by {administrator.name} ({administrator.email})" in sent.body


def test_person_gets_one_mail_a_day_about_guessed_codes(owner, django_capture_on_commit_callbacks):
    add_app(owner)
    sign_in(client := Client(), owner)
    with django_capture_on_commit_callbacks(execute=True):
        for number in range(9):
            enter(client, "000000", REMOTE_ADDR=f"192.0.2.{number}")
        assert delivered() == []
        for number in range(9, 14):
            enter(client, "000000", REMOTE_ADDR=f"192.0.2.{number}")

    (sent,) = delivered()
    assert (sent.to, sent.subject) == ([owner.email], "Somebody is trying to guess the second factor of your account")
    assert "192.0.2.9" in sent.body


def test_mail_about_a_removed_entry_is_not_sent(db):
    security_mail.put(None, 0)

    assert delivered() == []


# People who lost all factors


def test_administrator_removes_two_factor_and_ends_sessions(client, administrator, owner):
    secret = add_app(owner)
    add_recovery_codes(owner)
    session = Client()
    sign_in(session, owner)
    enter(session, code_of(secret))
    client.force_login(administrator)

    answer = client.post(f"/organization/users/{owner.pk}/two-factor/reset/")

    assert answer.url == f"/organization/users/{owner.pk}/"
    assert not Authenticator.objects.filter(user=owner).exists()
    assert session.get("/profile/").url.startswith("/login/")
    (entry,) = actions("two_factor_removed")
    assert (entry.actor, entry.target_id, entry.details) == (
        administrator,
        str(owner.pk),
        {"kinds": ["authenticator app"]},
    )


def test_api_removes_two_factor_like_the_page(api, administrator, owner):
    add_passkey(owner)
    api.force_login(administrator)

    answer = api.post(f"/api/v1/users/{owner.pk}/two-factor/reset")

    assert (answer.status_code, answer.json()["has_two_factor"]) == (200, False)
    assert actions("two_factor_removed")[0].details == {"kinds": ["passkey"]}


def test_removing_two_factor_of_others_requires_reauthentication(client, api, administrator, owner):
    add_app(owner)
    for browser in (client, api):
        browser.force_login(administrator)
    page = f"/organization/users/{owner.pk}/two-factor/reset/"

    with time_machine.travel(timezone.now() + timedelta(minutes=16), tick=False):
        for method in ("get", "post"):
            assert getattr(client, method)(page).url.startswith("/login/again/?next=")
        refused = api.post(f"/api/v1/users/{owner.pk}/two-factor/reset")

    assert (refused.status_code, refused.json()["code"]) == (403, "reauthentication_required")
    assert owner.has_two_factor


def test_removing_two_factor_that_is_not_set_up_is_a_conflict(api, administrator, owner):
    api.force_login(administrator)

    assert api.post(f"/api/v1/users/{owner.pk}/two-factor/reset").status_code == 409


def test_administrator_cannot_reset_their_own_two_factor(api, administrator):
    add_app(administrator)
    api.force_login(administrator)

    assert api.post(f"/api/v1/users/{administrator.pk}/two-factor/reset").status_code == 403
    assert administrator.has_two_factor


def test_two_factor_of_another_organization_cannot_be_removed(api, stranger, owner):
    add_app(owner)
    api.force_login(stranger)

    assert api.post(f"/api/v1/users/{owner.pk}/two-factor/reset").status_code == 403
    assert owner.has_two_factor


@pytest.mark.parametrize("count", [2, 20])
def test_list_of_people_shows_two_factor_without_extra_queries(
    api, administrator, organization, django_assert_num_queries, count
):
    for person in UserFactory.create_batch(count, organization=organization):
        add_passkey(person)
    api.force_login(administrator)
    api.get("/api/v1/users")

    with django_assert_num_queries(5):
        rows = api.get("/api/v1/users").json()["data"]

    assert sum(row["has_two_factor"] for row in rows) == count


def test_recovery_codes_alone_do_not_count_as_two_factor(owner):
    add_recovery_codes(owner)

    assert not owner.has_two_factor


def require_of(user):
    user.organization.two_factor_roles = SiteRole(user.site_role)
    user.organization.save()


def accept_code_in_request(client, user, code):
    sign_in(client, user)
    enter(client, code)
