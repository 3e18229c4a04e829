"""Sign-in limits block password guessing, but strangers can't block a person's known browser."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.conf import settings
from django.core.cache.backends.base import BaseCache
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext

from accounts import invitations
from accounts.signin import limits, password_reset
from accounts.tests.factories import PASSWORD, UserFactory
from accounts.tests.factors import add_app, add_passkey, code_of
from auditlog.models import Activity

SIGN_IN = "/login/"
GUESSER = "192.0.2.66"


@pytest.fixture(autouse=True)
def clock():
    """Stops the clock at the beginning of the limits' time windows."""
    with time_machine.travel(datetime(2026, 3, 2, 9, tzinfo=UTC), tick=False) as traveler:
        yield traveler


def attempt(client, login, password="wrong", ip="192.0.2.1"):
    return client.post(SIGN_IN, {"login": login, "password": password}, REMOTE_ADDR=ip)


def signs_in(client, user, ip="192.0.2.1"):
    return attempt(client, user.email, PASSWORD, ip).status_code == 302


def fail(login, times, *, addresses=(GUESSER,), client=None):
    for number in range(times):
        answer = attempt(client or Client(), login, ip=addresses[number % len(addresses)])
    return answer


def known_browser(user):
    client = Client()
    assert signs_in(client, user)
    client.post("/logout/")
    return client


MANY = [f"198.51.100.{number}" for number in range(1, 60)]


def test_five_failures_block_an_address_for_an_account_for_five_minutes(client, owner, clock):
    fail(owner.email, 5)

    assert not signs_in(client, owner, ip=GUESSER)
    clock.shift(timedelta(minutes=5, seconds=1))
    assert signs_in(client, owner, ip=GUESSER)


def test_success_resets_earlier_failures(client, owner):
    for _ in range(2):
        fail(owner.email, 4, client=client)
        assert signs_in(client, owner, ip=GUESSER)
        client.post("/logout/")
        client.cookies.clear()


def test_blocked_attempt_gets_429_with_the_time_to_wait(client, owner, clock):
    clock.shift(timedelta(seconds=100))
    answer = fail(owner.email, 6)

    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "200")
    assert "Wait 4 minutes" in answer.content.decode()


def test_blocked_attempt_does_not_reveal_the_correct_password(client, owner):
    fail(owner.email, 5)

    right = attempt(client, owner.email, PASSWORD, GUESSER)
    wrong = attempt(client, owner.email, "wrong", GUESSER)

    assert right.status_code == wrong.status_code == 429
    assert right.content == wrong.content


def test_case_and_spaces_in_the_address_give_no_extra_attempts(client, owner):
    for login in (owner.email, owner.email.upper(), f" {owner.email} ", owner.email.title(), owner.email):
        fail(login, 1)

    assert not signs_in(client, owner, ip=GUESSER)


def test_unknown_account_is_blocked_with_the_same_message(owner):
    known, unknown = fail(owner.email, 6), fail("nobody@acme.example", 6, addresses=["192.0.2.67"])

    assert known.content == unknown.content
    assert known.status_code == unknown.status_code == 429


def test_ipv6_addresses_of_one_subscriber_count_as_one(client, owner):
    fail(owner.email, 5, addresses=["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::3"])

    assert not signs_in(client, owner, ip="2001:db8::4")
    assert signs_in(client, owner, ip="2001:db8:0:1::4")


def test_blocked_account_does_not_block_other_accounts(client, owner, member):
    fail(owner.email, 6)

    assert signs_in(client, member, ip=GUESSER)


def test_guesses_from_many_addresses_block_unknown_browsers_for_two_minutes(client, owner, clock):
    fail(owner.email, 10, addresses=MANY)

    answer = attempt(client, owner.email, PASSWORD)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "120")
    assert "Browsers that have signed in to it before can still do so" in answer.content.decode()

    clock.shift(timedelta(minutes=2, seconds=1))
    assert signs_in(client, owner)


def test_blocked_address_does_not_block_the_account_elsewhere(client, owner):
    fail(owner.email, 40)

    assert signs_in(client, owner)


def test_guesses_elsewhere_never_block_a_known_browser(owner):
    browser = known_browser(owner)

    fail(owner.email, 50, addresses=MANY)

    assert signs_in(browser, owner)


def test_guesses_from_the_same_address_block_a_known_browser_for_at_most_a_minute(owner, clock):
    browser = known_browser(owner)

    fail(owner.email, 50)
    assert signs_in(browser, owner, ip=GUESSER)

    browser.post("/logout/")
    fail(owner.email, 20)
    assert not signs_in(browser, owner, ip=GUESSER)
    clock.shift(timedelta(minutes=1, seconds=1))
    assert signs_in(browser, owner, ip=GUESSER)


def test_known_browser_has_ten_attempts_of_its_own(owner):
    browser = known_browser(owner)

    assert fail(owner.email, 10, client=browser).status_code == 200
    assert not signs_in(browser, owner)


def answered(browsers, user, *, addresses):
    """Makes ten guesses in each browser, and returns how many were not blocked."""
    answers = [
        attempt(browser, user.email, ip=addresses[number % len(addresses)]).status_code
        for number, browser in enumerate(browsers * 10)
    ]
    assert set(answers) <= {200, 429}
    return answers.count(200)


def test_known_browsers_have_twenty_attempts_together(owner, clock):
    browsers = [known_browser(owner) for _ in range(12)]
    clock.shift(timedelta(minutes=5))

    assert answered(browsers, owner, addresses=MANY) == 20
    assert not signs_in(browsers[0], owner)
    clock.shift(timedelta(minutes=5))
    assert signs_in(browsers[0], owner)


def test_one_known_browser_cannot_block_the_others(owner):
    browser, other = known_browser(owner), known_browser(owner)

    fail(owner.email, 30, client=browser, addresses=MANY)

    assert signs_in(other, owner)


def test_address_has_sixty_attempts_with_any_number_of_browsers(owner, member, clock):
    people = [owner, member, *(UserFactory(organization=owner.organization) for _ in range(4))]
    browsers = [(known_browser(person), person) for person in people for _ in range(2)]
    clock.shift(timedelta(minutes=5))

    answers = [
        attempt(browser, person.email, ip=GUESSER).status_code for _ in range(10) for browser, person in browsers
    ]

    assert answers.count(200) == 60


def changed_on_the_page(client, user):
    form = {"oldpassword": PASSWORD, "password1": "a wholly new secret", "password2": "a wholly new secret"}
    assert signs_in(client, user)
    assert client.post("/profile/security/password/", form).status_code == 302
    client.post("/logout/")


def changed_by_an_administrator(client, user):
    user.set_password("a wholly new secret")
    user.save()


@pytest.mark.parametrize("change", [changed_on_the_page, changed_by_an_administrator])
def test_device_cookie_of_an_old_password_is_ignored(owner, change):
    collected = [known_browser(owner) for _ in range(12)]
    change(Client(), owner)

    assert answered(collected, owner, addresses=MANY) == 10, "the limit of all unknown browsers"


def test_browser_that_changed_the_password_stays_known(client, owner):
    changed_on_the_page(client, owner)
    fail(owner.email, 10, addresses=MANY)

    assert attempt(client, owner.email, "a wholly new secret").status_code == 302


def test_browser_that_set_the_first_password_is_known(client, owner):
    owner.set_unusable_password()
    owner.save()
    client.force_login(owner, "accounts.backends.PortalAuthenticationBackend")
    form = {"password1": PASSWORD, "password2": PASSWORD}
    assert client.post("/profile/security/password/set/", form).status_code == 302
    client.post("/logout/")
    fail(owner.email, 10, addresses=MANY)

    assert signs_in(client, owner)


def test_unknown_account_costs_the_same_queries_with_any_cookie(owner, member):
    browser, costs = known_browser(member), []
    for login in (owner.email, "nobody@acme.example"):
        for client in (Client(), browser):
            request = RequestFactory().post(SIGN_IN, REMOTE_ADDR="192.0.2.1")
            request.COOKIES = {name: cookie.value for name, cookie in client.cookies.items()}
            with CaptureQueriesContext(connection) as captured:
                limits.count_attempt(request, login, address="192.0.2.1")
            costs.append(len(captured))

    assert costs[:2] == costs[2:]


def test_known_browser_is_unknown_to_other_accounts(owner, member):
    browser = known_browser(owner)
    fail(member.email, 10, addresses=MANY)

    assert not signs_in(browser, member)


def test_browser_can_be_known_to_several_accounts(owner, member):
    browser = known_browser(owner)
    assert signs_in(browser, member)
    browser.post("/logout/")
    fail(owner.email, 10, addresses=MANY)

    assert signs_in(browser, owner)


@pytest.mark.parametrize("forged", ["x", "WyJ4Il0:1abc:def", "", "\x00", "a" * 5000])
def test_forged_device_cookie_is_ignored(client, owner, forged):
    fail(owner.email, 10, addresses=MANY)
    client.cookies[limits.DEVICE_COOKIE] = forged

    assert not signs_in(client, owner)


def test_device_cookie_expires(owner, clock):
    browser = known_browser(owner)
    cookie = browser.cookies[limits.DEVICE_COOKIE].value
    clock.shift(timedelta(days=181))
    fail(owner.email, 10, addresses=MANY)
    browser.cookies[limits.DEVICE_COOKIE] = cookie

    assert not signs_in(browser, owner)


def test_device_cookie_is_hidden_from_scripts_and_does_not_contain_the_address(client, owner):
    cookie = attempt(client, owner.email, PASSWORD).cookies[limits.DEVICE_COOKIE]

    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["domain"]) == (True, "Lax", "/", "")
    assert owner.email not in cookie.value


def test_failed_sign_in_does_not_make_a_browser_known(client, owner):
    assert limits.DEVICE_COOKIE not in attempt(client, owner.email).cookies


def test_sixty_attempts_block_an_address_for_a_minute(client, owner, clock):
    for number in range(60):
        fail(f"nobody{number}@acme.example", 1)

    assert not signs_in(client, owner, ip=GUESSER)
    clock.shift(timedelta(minutes=1, seconds=1))
    assert signs_in(client, owner, ip=GUESSER)


def test_forged_forwarded_for_header_gives_no_extra_attempts(client, owner):
    fail(owner.email, 5)

    form = {"login": owner.email, "password": PASSWORD}
    answer = client.post(SIGN_IN, form, REMOTE_ADDR=GUESSER, headers={"X-Forwarded-For": "203.0.113.9"})
    assert answer.status_code == 429


def test_blocked_attempts_are_not_logged(owner):
    fail(owner.email, 9)

    assert Activity.objects.count() == 5


def test_caller_without_an_address_is_refused(client, owner):
    assert attempt(client, owner.email, PASSWORD, ip="").status_code == 403


def test_strangers_cannot_fill_the_server_log(client, db, caplog):
    for number in range(40):
        fail(f"nobody{number}@acme.example", 1)

    assert len([record for record in caplog.records if record.name == "accounts.signals"]) == 30


def test_wrong_passwords_of_signed_in_people_count_too(client, owner):
    assert signs_in(client, owner)

    for _ in range(10):
        answer = client.post("/login/again/", {"password": "wrong"}, REMOTE_ADDR="192.0.2.1")
        assert answer.status_code == 200

    assert client.post("/login/again/", {"password": PASSWORD}, REMOTE_ADDR="192.0.2.1").status_code == 429
    assert Activity.objects.filter(action="authentication.failed").count() == 10


def test_wrong_current_passwords_count_too(client, owner):
    assert signs_in(client, owner)
    form = {"oldpassword": "wrong", "password1": "a wholly new secret", "password2": "a wholly new secret"}

    answers = [client.post("/profile/security/password/", form).status_code for _ in range(11)]

    assert answers == [200] * 10 + [429]


def lost_password_set_by(client, user):
    link = password_reset.link_for(user).removeprefix(settings.PORTAL_URL)
    address = client.get(link).url
    client.post(address, {"password1": PASSWORD, "password2": PASSWORD})


def invitation_accepted_by(client, user):
    user.set_unusable_password()
    user.joined_at = None
    user.save()
    address = client.get(invitations.link_for(user).removeprefix(settings.PORTAL_URL)).url
    client.post(address, {"new_password1": PASSWORD, "new_password2": PASSWORD})


@pytest.mark.parametrize("chosen_by", [lost_password_set_by, invitation_accepted_by])
def test_browser_that_set_a_password_by_a_link_is_known(client, owner, chosen_by):
    chosen_by(client, owner)
    fail(owner.email, 10, addresses=MANY)

    assert not signs_in(Client(), owner)
    assert signs_in(client, owner)


# allauth's own counts in the cache are not used


def test_sixty_wrong_passkeys_block_an_address_for_a_minute(client, db):
    answers = [client.post("/login/passkey/", {"credential": "{}"}, REMOTE_ADDR=GUESSER) for _ in range(61)]

    assert [answer.status_code for answer in answers] == [302] * 60 + [429]
    assert answers[-1].headers["Retry-After"] == "60"


def test_twenty_attempts_to_set_a_password_block_an_address_for_a_minute(client, owner):
    address = client.get(password_reset.link_for(owner).removeprefix(settings.PORTAL_URL)).url
    form = {"password1": "short", "password2": "short"}

    answers = [client.post(address, form, REMOTE_ADDR=GUESSER).status_code for _ in range(21)]

    assert answers == [200] * 20 + [429]


@pytest.mark.parametrize("page", ["/login/two-factor/again/", "/login/passkey/again/"])
def test_ten_failed_reauthentications_block_a_person_for_a_minute(client, owner, page):
    add_app(owner)
    add_passkey(owner)
    client.force_login(owner)

    answers = [client.post(page, {"code": "", "credential": ""}).status_code for _ in range(11)]

    assert answers == [200] * 10 + [429]


class NoCache(BaseCache):
    """A cache that fails on every use."""

    def __init__(self, *args):
        super().__init__({})

    def add(self, *args, **kwargs):
        raise AssertionError("something uses the cache")

    get = set = touch = delete = has_key = incr = add


def test_signing_in_does_not_use_the_cache(client, owner, settings):
    settings.CACHES = {"default": {"BACKEND": "accounts.tests.test_sign_in_limits.NoCache"}}
    secret = add_app(owner)

    attempt(client, owner.email)
    attempt(client, owner.email, PASSWORD)
    client.post("/login/two-factor/", {"code": "000000"})
    client.post("/login/two-factor/", {"code": code_of(secret)})
    assert client.get("/profile/security/").status_code == 200
    for page, form in {
        "/login/again/": {"password": "wrong"},
        "/login/two-factor/again/": {"code": "000000"},
        "/login/passkey/again/": {"credential": "{}"},
        "/profile/security/password/": {"oldpassword": "wrong", "password1": "x", "password2": "x"},
        "/profile/security/email/": {"email": "new@acme.example"},
        "/profile/security/two-factor/app/add/": {"code": "000000"},
        "/password/reset/": {"email": owner.email},
        "/logout/": {},
        "/login/passkey/": {"credential": "{}"},
    }.items():
        assert client.post(page, form).status_code in {200, 302}, page
    owner.refresh_from_db()
    link = password_reset.link_for(owner).removeprefix(settings.PORTAL_URL)
    assert client.post(client.get(link).url, {"password1": "x", "password2": "x"}).status_code == 200
