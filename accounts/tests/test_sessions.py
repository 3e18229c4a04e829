"""A person's sessions: how long they last, how they are listed, and how they are ended."""

import threading
from datetime import timedelta

import pytest
import time_machine
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import services
from accounts.security import sessions
from accounts.security.session_store import SessionStore, digest_of
from accounts.security.user_agents import browser_in_words
from accounts.tests.factories import PASSWORD, OperatorFactory
from auditlog.models import Activity
from tokens.tests.factories import TokenFactory, bearer

LIST = "/profile/security/sessions/"
EVERYWHERE = f"{LIST}end-all/"
API = "/api/v1/me/sessions"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36"
EDGE = f"{CHROME} Edg/126.0"
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/17.5 Safari/605.1.15"
SAFARI = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605 Version/17.5 Mobile Safari/604.1"


def sign_in(user, browser=FIREFOX, ip="192.0.2.1"):
    client = Client(headers={"User-Agent": browser}, REMOTE_ADDR=ip)
    client.post("/login/", {"login": user.email, "password": PASSWORD})
    return client


def is_signed_in(client):
    return client.get("/profile/security/").status_code == 200


def listed(client):
    return client.get(API).json()["data"]


def row_of(client, here):
    """The id of the session of ``client`` in the list of ``here``."""
    return UserSession.objects.get(session_key=digest_of(client.session.session_key)).pk


# Lifetime


@pytest.mark.parametrize(("span", "lives"), [(timedelta(minutes=119), True), (timedelta(hours=2, seconds=1), False)])
def test_unused_session_ends_after_two_hours(owner, span, lives):
    client, now = sign_in(owner), timezone.now()

    with time_machine.travel(now + span):
        assert is_signed_in(client) == lives


def test_session_ends_after_twelve_hours(owner):
    now = timezone.now()
    with time_machine.travel(now, tick=False) as clock:
        client = sign_in(owner)
        for _ in range(11):
            clock.shift(timedelta(hours=1))
            # Saving the session restarts Django's own time limit.
            client.post("/profile/security/expiry-mails/", {})
            assert is_signed_in(client)
        clock.shift(timedelta(hours=1, seconds=1))
        assert not is_signed_in(client)


def test_expired_session_is_removed_and_logged(owner):
    client = sign_in(owner)
    key = client.session.session_key

    with time_machine.travel(timezone.now() + timedelta(hours=3)):
        client.get("/profile/")

    assert not Session.objects.filter(session_key=digest_of(key)).exists()
    assert not UserSession.objects.exists()
    entry = Activity.objects.latest("pk")
    assert (entry.action, entry.actor, entry.details) == ("authentication.session_ended", owner, {"reason": "lapsed"})


def test_automatic_requests_do_not_extend_a_session(owner):
    now = timezone.now()
    with time_machine.travel(now, tick=False) as clock:
        client = sign_in(owner)
        clock.shift(timedelta(minutes=90))
        client.get("/profile/security/", headers={"HX-Request": "true"})
        clock.shift(timedelta(minutes=31))
        assert not is_signed_in(client)


def test_last_use_is_stored_at_most_once_a_minute(owner):
    now = timezone.now()
    with time_machine.travel(now, tick=False) as clock:
        client = sign_in(owner)
        clock.shift(timedelta(seconds=59))
        client.get("/profile/")
        assert UserSession.objects.get().last_seen_at == now
        clock.shift(timedelta(seconds=2))
        client.get("/profile/", REMOTE_ADDR="192.0.2.9")

    row = UserSession.objects.get()
    assert (row.last_seen_at, row.ip) == (now + timedelta(seconds=61), "192.0.2.9")


# The list


def test_list_shows_my_sessions_and_marks_this_one(owner, member):
    here = sign_in(owner)
    sign_in(owner, EDGE, "2001:db8::2")
    sign_in(member)

    shown = {(row["browser"], row["address"], row["is_current"]) for row in listed(here)}

    assert shown == {("Firefox on Linux", "192.0.2.1", True), ("Edge on Windows", "2001:db8::2", False)}
    page = here.get(LIST).content.decode()
    assert all(text in page for text in ("Firefox on Linux", "(this one)", "Edge on Windows", "2001:db8::2"))


def test_page_and_api_list_the_same_sessions_without_keys(owner):
    here, elsewhere = sign_in(owner), sign_in(owner, CHROME)

    answers = [here.get(LIST).content.decode(), here.get(API).content.decode()]

    for answer in answers:
        assert here.session.session_key not in answer
        assert elsewhere.session.session_key not in answer
    assert here.get(LIST).context["sessions"] == [
        {**row, "signed_in_at": shown["signed_in_at"], "last_seen_at": shown["last_seen_at"]}
        for row, shown in zip(listed(here), here.get(LIST).context["sessions"], strict=True)
    ]


def test_expired_sessions_are_not_listed(owner):
    here = sign_in(owner)
    sign_in(owner).post("/logout/")
    UserSession.objects.create(user=owner, ip="192.0.2.1", session_key="gone", user_agent=CHROME)
    UserSession.objects.filter(pk=row_of(sign_in(owner), here)).update(last_seen_at=timezone.now() - sessions.IDLE)

    assert [row["is_current"] for row in listed(here)] == [True]


def test_only_expired_sessions_are_removed(owner):
    client = sign_in(owner)
    sign_in(owner)

    with time_machine.travel(timezone.now() + timedelta(hours=11)):
        sign_in(owner)
        Session.objects.exclude(session_key=digest_of(client.session.session_key)).update(expire_date=timezone.now())
    with time_machine.travel(timezone.now() + timedelta(hours=11, minutes=1)):
        sessions.forget_past_sessions(threading.Event())

    digest = digest_of(client.session.session_key)
    assert list(Session.objects.values_list("session_key", flat=True)) == [digest]
    assert UserSession.objects.filter(session_key=digest).exists()
    assert UserSession.objects.count() == 2


def test_query_count_of_the_list_is_constant(owner):
    here = sign_in(owner)

    def queries():
        with CaptureQueriesContext(connection) as captured:
            here.get(LIST)
        return len(captured)

    sign_in(owner)
    two = queries()
    for _ in range(18):
        store = SessionStore()
        store.create()
        UserSession.objects.create(
            user=owner, ip="192.0.2.1", session_key=digest_of(store.session_key), user_agent=CHROME
        )
    assert len(listed(here)) == 20
    assert queries() == two


@pytest.mark.parametrize(
    ("user_agent", "words"),
    [
        (FIREFOX, "Firefox on Linux"),
        (CHROME, "Chrome on Windows"),
        (EDGE, "Edge on Windows"),
        (SAFARI, "Safari on iOS"),
        ("curl/8.5.0", "curl"),
        (MAC, "Safari on macOS"),
        ("", "Unknown browser"),
        ("x" * 200, "x" * 60),
    ],
)
def test_browser_is_named_by_its_user_agent(user_agent, words):
    assert browser_in_words(user_agent) == words


def test_user_agent_is_escaped(owner):
    page = sign_in(owner, "<script>alert(1)</script>").get(LIST).content.decode()

    assert "<script>alert" not in page


# Ending one


def end_on_page(client, pk):
    return client.post(f"{LIST}{pk}/end/").status_code


def end_by_api(client, pk):
    return client.post(f"{API}/{pk}/end").status_code


WAYS = {"page": (end_on_page, 302, 404), "api": (end_by_api, 204, 403)}


@pytest.mark.parametrize(("end", "done", "refused"), WAYS.values(), ids=WAYS)
def test_ending_one_session_keeps_the_others(owner, end, done, refused):
    here, there, third = sign_in(owner), sign_in(owner, CHROME, "192.0.2.5"), sign_in(owner)

    assert end(here, row_of(there, here)) == done

    assert [is_signed_in(client) for client in (here, there, third)] == [True, False, True]
    entry = Activity.objects.latest("pk")
    assert (entry.action, entry.actor) == ("authentication.session_ended", owner)
    assert entry.details == {"address": "192.0.2.5", "browser": "Chrome on Windows"}


@pytest.mark.parametrize(("end", "done", "refused"), WAYS.values(), ids=WAYS)
def test_person_cannot_end_sessions_of_others(owner, member, administrator, stranger, end, done, refused):
    theirs = sign_in(owner)
    pk = row_of(theirs, theirs)

    for other in (member, administrator, stranger):
        assert end(sign_in(other), pk) == refused
    assert is_signed_in(theirs)


@pytest.mark.parametrize(("end", "done", "refused"), WAYS.values(), ids=WAYS)
def test_ending_the_current_session_signs_out(owner, end, done, refused):
    here = sign_in(owner)

    assert end(here, row_of(here, here)) == done
    assert not is_signed_in(here)


def test_get_request_does_not_end_a_session(owner):
    here, there = sign_in(owner), sign_in(owner)

    assert here.get(f"{LIST}{row_of(there, here)}/end/").status_code == 405
    assert here.get(EVERYWHERE).status_code == 405
    assert is_signed_in(there)


@pytest.mark.parametrize("path", ["1/end/", "end-all/"])
@pytest.mark.django_db
def test_signed_out_person_returns_to_the_list_after_sign_in(client, path):
    assert client.post(LIST + path).url == f"/login/?next={LIST}"


# Ending all


def all_on_page(client, **fields):
    return client.post(EVERYWHERE, {name: "on" for name, value in fields.items() if value})


def all_by_api(client, **fields):
    return client.post(f"{API}/end-all", fields, content_type="application/json")


@pytest.mark.parametrize("end_all", [all_on_page, all_by_api])
def test_signing_out_everywhere_else_keeps_this_session(owner, member, end_all):
    here, there, others = sign_in(owner), sign_in(owner), sign_in(member)

    end_all(here)

    assert [is_signed_in(client) for client in (here, there, others)] == [True, False, True]
    entry = Activity.objects.get(action="authentication.signed_out_everywhere")
    assert (entry.actor, entry.details) == (owner, {"sessions": 1, "tokens": 0})


@pytest.mark.parametrize("end_all", [all_on_page, all_by_api])
def test_signing_out_everywhere_can_include_this_session(owner, end_all):
    here, there = sign_in(owner), sign_in(owner)

    assert end_all(here, including_here=True).status_code in {200, 302}

    assert [is_signed_in(client) for client in (here, there)] == [False, False]
    assert not UserSession.objects.exists()


@pytest.mark.parametrize("end_all", [all_on_page, all_by_api])
@pytest.mark.parametrize("expire", [False, True])
def test_signing_out_everywhere_expires_tokens_if_requested(api, owner, member, end_all, expire):
    mine, others = TokenFactory(owner=owner), TokenFactory(owner=member)

    end_all(sign_in(owner), expire_tokens=expire)

    assert api.get("/api/v1/me", headers=bearer(mine)).status_code == (401 if expire else 200)
    assert api.get("/api/v1/me", headers=bearer(others)).status_code == 200


def test_api_says_how_many_sessions_ended(owner):
    TokenFactory(owner=owner)
    sign_in(owner)

    assert all_by_api(sign_in(owner), expire_tokens=True).json() == {"sessions": 1, "tokens": 1}


@pytest.mark.parametrize("body", [{"x": 1}, {"expire_tokens": "yes"}, {"including_here": 1}, []])
def test_invalid_body_is_refused_and_ends_no_session(owner, body):
    here, there = sign_in(owner), sign_in(owner)

    assert here.post(f"{API}/end-all", body, content_type="application/json").status_code == 400
    assert is_signed_in(there)


# Changes by others that end sessions


def test_deactivation_ends_sessions_permanently(owner, administrator):
    client = sign_in(owner)

    services.set_active(actor=administrator, user=owner, is_active=False)
    services.set_active(actor=administrator, user=owner, is_active=True)

    assert not is_signed_in(client)
    assert not UserSession.objects.exists()


def test_new_password_by_an_administrator_ends_sessions_and_completes_an_invitation(owner, administrator):
    owner.joined_at = None
    owner.save()
    client, admin = sign_in(owner), sign_in(administrator)
    form = {"email": owner.email, "name": owner.name, "site_role": owner.site_role, "is_active": "on"}

    admin.post(f"/admin/accounts/user/{owner.pk}/change/", form | {"new_password": "nobody guesses this one"})

    owner.refresh_from_db()
    assert owner.joined_at is not None
    assert not is_signed_in(client)
    assert is_signed_in(admin)
    assert list(UserSession.objects.values_list("user", flat=True)) == [administrator.pk]


def test_changed_role_does_not_end_sessions(owner, administrator):
    client = sign_in(owner)

    services.change_site_role(actor=administrator, user=owner, site_role="auditor")

    assert is_signed_in(client)


def test_administrator_can_deactivate_themselves(owner, administrator, organization):
    services.change_site_role(actor=administrator, user=owner, site_role="administrator")
    client = sign_in(administrator)

    assert client.post(f"/organization/users/{administrator.pk}/deactivate/").status_code == 302
    assert not is_signed_in(client)


def test_operator_sees_and_ends_their_sessions(db):
    operator = OperatorFactory()
    here, there = sign_in(operator), sign_in(operator)

    all_on_page(here)

    assert [is_signed_in(client) for client in (here, there)] == [True, False]


def test_sign_out_clears_the_storage_of_the_browser(owner):
    client = sign_in(owner)

    assert "Clear-Site-Data" not in client.get("/profile/security/").headers
    assert client.post("/logout/").headers["Clear-Site-Data"] == '"storage"'
    assert "Clear-Site-Data" not in client.get("/login/").headers
