"""Mails about the expiry of a token: when they are sent, to whom, and what they say."""

import smtplib
import threading
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend
from django.db import connection
from django.test.utils import CaptureQueriesContext, override_settings
from django.utils import timezone

from accounts.models import Notification
from accounts.tests.factories import UserFactory
from core import periodic_jobs
from opsera_portal.tests.mails import delivered
from pipelines.tests.factories import AccessRuleFactory, PipelineFactory, limit_to
from tokens import jwt
from tokens.expiry import notices
from tokens.services import revoke_token
from tokens.tests.factories import TokenFactory, now_in_seconds

pytestmark = pytest.mark.django_db


def ending_in(owner, *, life=timedelta(days=90), days=0, hours=0, seconds=0, **fields):
    """A token with the lifetime ``life`` that expires in ``days``, ``hours`` and ``seconds``."""
    expires_at = now_in_seconds() + timedelta(days=days, hours=hours, seconds=seconds)
    return TokenFactory(owner=owner, created_at=expires_at - life, expires_at=expires_at, **fields)


def sent():
    """The subjects of the mails of one round."""
    mail.outbox.clear()
    notices.put_due(threading.Event())
    return [message.subject for message in delivered()]


def notices_over_its_life(token, *, every=timedelta(hours=1)):
    """The notices that a worker sends about this token from its creation to long after its end, in order."""
    noted = []
    moment = token.created_at
    while moment < token.expires_at + timedelta(days=10):
        with time_machine.travel(moment, tick=False):
            if sent():
                token.refresh_from_db()
                noted.append(token.expiry_notice_days)
        moment += every
    return noted


def text_of_mail():
    assert sent()
    return " ".join(mail.outbox[-1].body.split())


def test_mail_names_the_pipelines_of_a_limited_token(owner, member):
    seen, hidden = PipelineFactory(owner=owner, name="Nightly build"), PipelineFactory(owner=member, name="Hidden")
    AccessRuleFactory(pipeline=hidden, user=member)
    limit_to(ending_in(owner, days=6), seen, hidden)

    said = text_of_mail()

    assert "Pipelines: Nightly build, and 1 more Last used" in said
    assert "Hidden" not in said


def test_mail_about_a_token_whose_pipelines_are_gone_says_so(owner):
    limit_to(ending_in(owner, days=6))

    assert "Pipelines: No pipeline Last used" in text_of_mail()


def test_mail_about_a_token_without_limit_says_nothing_about_pipelines(owner):
    ending_in(owner, days=6)

    assert "Pipelines:" not in text_of_mail()


@pytest.mark.parametrize(
    ("life", "notices"),
    [
        (timedelta(hours=5), [0]),
        (timedelta(days=1), [0]),
        (timedelta(days=1, seconds=1), [1, 0]),
        (timedelta(days=7), [1, 0]),
        (timedelta(days=7, seconds=1), [7, 1, 0]),
        (timedelta(days=30), [7, 1, 0]),
        pytest.param(timedelta(days=31), [30, 7, 1, 0], marks=pytest.mark.each_database),
        (timedelta(days=92), [30, 7, 1, 0]),
    ],
    ids=str,
)
@pytest.mark.slow
def test_each_notice_within_the_lifetime_is_sent_once(owner, life, notices):
    token = ending_in(owner, life=life, seconds=life.total_seconds())

    every = timedelta(days=1) if life > timedelta(days=10) else timedelta(hours=12)
    assert notices_over_its_life(token, every=every) == notices


@pytest.mark.parametrize(
    ("until", "notice"),
    [
        (timedelta(days=30, minutes=1), None),
        (timedelta(days=30), 30),
        (timedelta(days=7, seconds=1), 30),
        (timedelta(days=7), 7),
        (timedelta(days=1, seconds=1), 7),
        (timedelta(days=1), 1),
        (timedelta(seconds=1), 1),
        (timedelta(0), 0),
        (timedelta(days=-7, seconds=1), 0),
        (timedelta(days=-7), None),
    ],
    ids=str,
)
@pytest.mark.each_database
def test_only_the_latest_notice_is_sent_after_an_outage(owner, until, notice):
    with time_machine.travel(now_in_seconds(), tick=False):
        token = ending_in(owner, seconds=until.total_seconds())

        assert len(sent()) == (notice is not None)
        assert sent() == []

    token.refresh_from_db()
    assert token.expiry_notice_days == notice


def test_token_expired_early_or_never_shown_causes_no_mail(owner):
    early, unseen = ending_in(owner, days=5), ending_in(owner, days=5)
    early.revoked_at, early.live_name_key = timezone.now(), None
    early.save()
    unseen.revealed_at = None
    unseen.save()

    assert sent() == []


@pytest.mark.parametrize(
    "change",
    [{"is_active": False}, {"joined_at": None}, {"notification_choices": {"end_near": "portal"}}],
    ids=lambda c: next(iter(c)),
)
def test_deactivated_invited_and_unsubscribed_people_get_no_mail(organization, change):
    ending_in(UserFactory(organization=organization, **change), days=5)

    assert sent() == []


def test_person_who_turns_mails_off_is_still_told_in_the_portal_and_gets_the_next_mail(owner):
    owner.notification_choices = {"end_near": "portal"}
    owner.save()
    token = ending_in(owner, days=5)
    assert sent() == []
    [told] = Notification.objects.of(owner)
    assert (told.kind, told.token_id, told.details["days"]) == ("end_near", token.pk, 7)

    owner.notification_choices = {}
    owner.save()
    with time_machine.travel(token.expires_at - timedelta(hours=5)):
        assert len(sent()) == 1
        assert sent() == []


def test_several_tokens_of_one_person_are_in_one_mail(owner, member):
    tokens = [ending_in(owner, days=days) for days in (-1, 0.5, 5, 20)]
    ending_in(member, days=5)
    ending_in(owner, days=60)

    notices.put_due(threading.Event())

    bodies = {message.to[0]: message.body for message in delivered()}
    assert len(delivered()) == len(bodies) == 2
    assert all(f"ID: {token.pk}" in bodies[owner.email] for token in tokens)
    assert bodies[owner.email].count("ID: ") == 4
    assert bodies[member.email].count("ID: ") == 1


def test_mail_says_what_expires_when_and_what_to_do(owner):
    end = datetime(2031, 5, 3, 14, 5, tzinfo=UTC)
    with time_machine.travel(end - timedelta(days=5), tick=False):
        token = TokenFactory(
            owner=owner,
            name="nightly build",
            scope="pipeline security-logs",
            created_at=end - timedelta(days=90),
            expires_at=end,
            last_used_at=end - timedelta(days=6),
            last_used_ip="192.0.2.7",
        )
        [subject] = sent()

    body = delivered()[0].body
    assert subject == "Your access token “nightly build” expires on 3 May 2031"
    assert delivered()[0].to == [owner.email]
    for words in (
        "Hello Olga Owner",
        "Opsera Portal of Acme",
        "nightly build",
        "Expires: 3 May 2031, 14:05 UTC",
        "Scopes: Pipeline Access, Security Logs (Read Only)",
        "Last used: 27 April 2031, from 192.0.2.7",
        f"ID: {token.pk}",
        "http://127.0.0.1:8000/profile/tokens/",
        f"http://127.0.0.1:8000/profile/tokens/{token.pk}/replace/",
        "Turn them off: http://127.0.0.1:8000/profile/preferences/",
    ):
        assert words in body, words


def test_mail_says_that_the_token_has_expired(owner):
    token = ending_in(owner, hours=-1)

    assert sent() == [f"Your access token “{token.name}” has expired"]
    assert "This token has expired. Scripts that still use it get 401." in delivered()[0].body
    assert "replace itself" not in delivered()[0].body
    assert "Last used: never" in delivered()[0].body


def test_mail_says_why_the_token_does_not_work_now_and_which_one_replaces_itself(owner):
    owner.organization.max_token_lifetime_days = 30
    owner.organization.save()
    ending_in(owner, days=5, scope="api tokens:rotate")
    ending_in(owner, days=5, max_uses=3)

    sent()

    assert delivered()[0].body.count("its script calls POST /api/v1/tokens/current/rotate") == 1
    assert delivered()[0].body.count("/replace/") == 1
    assert "Does not work now: Your organization's policy allows tokens a lifetime of 30 days" in delivered()[0].body


def test_mail_and_page_say_which_token_needs_a_new_request_instead_of_a_replacement(client, owner):
    owner.organization.approval_scopes = "security-logs"
    owner.organization.save()
    scope = "security-logs tokens:rotate"
    asks = ending_in(owner, days=5, scope=scope)
    approved = ending_in(owner, days=5, scope=scope, approved_at=timezone.now())
    ended = ending_in(owner, hours=-1, scope=scope, approved_at=timezone.now())

    sent()

    body = delivered()[0].body
    requests = [part.split("?like=")[1].split()[0] for part in body.split("Request ")[1:]]
    assert requests == [str(asks.pk), str(ended.pk)]
    assert body.count("/replace/") == body.count("/rotate") == 1
    client.force_login(owner)
    for page in ("/", "/profile/tokens/"):
        html = client.get(page).text
        assert f'href="/profile/tokens/?like={asks.pk}">Request a new one, which needs approval' in html
        assert f"{asks.pk}/replace/" not in html
        assert f"{approved.pk}/replace/" in html


def test_no_mail_contains_a_token(owner):
    tokens = [ending_in(owner, days=5), ending_in(owner, hours=-1)]
    notices.put_due(threading.Event())

    [message] = delivered()
    for token in tokens:
        _, payload, signature = jwt.encode(token)[0].split(".")
        assert not any(part in message.subject + message.body for part in (payload, signature))


@pytest.mark.parametrize("name", ["line\nBcc: everyone@example.com", "line\r\nBcc: everyone@example.com"])
def test_name_adds_no_header_to_the_mail(owner, name):
    """Forms and API refuse such names, but a row in the database may have one."""
    token = ending_in(owner, days=5)
    token.name = name
    token.save()

    sent()

    assert "Bcc" not in delivered()[0].message()


class Failing(EmailBackend):
    """Fails with ``error`` for everyone, or for one ``address``."""

    error, address, tries = ConnectionRefusedError(), None, 0

    def send_messages(self, messages):
        Failing.tries += 1
        if self.address in (None, messages[0].to[0]):
            raise self.error
        return super().send_messages(messages)


@pytest.fixture
def failing(monkeypatch):
    """Makes mails fail with an error."""

    def failing(error, *, address=None):
        for name, value in (("error", error), ("address", address), ("tries", 0)):
            monkeypatch.setattr(Failing, name, value)
        return override_settings(EMAIL_BACKEND=f"{__name__}.Failing")

    return failing


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ConnectionRefusedError(), marks=pytest.mark.each_database),
        TimeoutError(),
        smtplib.SMTPConnectError(421, b"later"),
        smtplib.SMTPServerDisconnected("gone"),
        smtplib.SMTPAuthenticationError(535, b"no"),
    ],
    ids=repr,
)
def test_notices_wait_while_the_mail_server_is_unavailable(owner, member, failing, error):
    for person in (owner, member):
        ending_in(person, days=5, expiry_notice_days=30)

    with failing(error):
        assert sent() == []

    assert Failing.tries == 1
    with time_machine.travel(timezone.now() + timedelta(minutes=2)):
        assert len(sent()) == 2


@pytest.mark.parametrize(
    "error",
    [
        smtplib.SMTPRecipientsRefused({"owner@acme.example": (550, b"unknown")}),
        pytest.param(smtplib.SMTPDataError(554, b"no"), marks=pytest.mark.each_database),
        smtplib.SMTPNotSupportedError("not such an address"),
        ValueError("not an address"),
    ],
    ids=repr,
)
def test_failed_mail_does_not_stop_other_mails(owner, member, failing, error):
    ending_in(owner, days=5)
    ending_in(member, days=5)

    with failing(error, address=owner.email):
        assert len(sent()) == 1

    assert delivered()[0].to == [member.email]
    with time_machine.travel(timezone.now() + timedelta(minutes=2)):
        assert len(sent()) == 1


def test_waiting_notice_is_not_sent_after_the_token_was_expired(owner):
    token = ending_in(owner, days=5)
    notices.put_due(threading.Event())
    revoke_token(actor=owner, token=token)

    assert delivered() == []


def test_waiting_notice_is_replaced_after_the_token_has_expired(owner):
    ending_in(owner, hours=2)
    notices.put_due(threading.Event())

    with time_machine.travel(timezone.now() + timedelta(hours=3)):
        assert delivered() == []
        assert [subject.endswith("has expired") for subject in sent()] == [True]


def test_stopping_worker_sends_nothing_more(owner):
    ending_in(owner, days=5)
    stopping = threading.Event()
    stopping.set()

    notices.put_due(stopping)

    assert delivered() == []


@pytest.mark.django_db(transaction=True)
def test_one_of_several_workers_sends_the_mail(owner):
    for _ in range(3):
        ending_in(owner, days=5)
    start = threading.Barrier(4)

    def work():
        try:
            start.wait(timeout=10)
            notices.put_due(threading.Event())
        finally:
            connection.close()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert len(delivered()) == 1
    assert delivered()[0].body.count("ID: ") == 3


@pytest.mark.parametrize("notice", [30, 7, 1, 0])
@pytest.mark.each_database
def test_due_notices_are_found_with_the_index_on_expires_at(notice):
    """Otherwise, the query would read all tokens that have ever ended. PostgreSQL ignores indexes of small tables."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
        plan = notices.due(notice, at=timezone.now()).order_by().values_list("owner_id").explain()

    assert "token_end" in plan


@pytest.mark.each_database
def test_queries_of_a_round_do_not_grow_with_notices_sent_before(owner):
    for _ in range(3):
        ending_in(owner, days=5)
    sent()

    with CaptureQueriesContext(connection) as captured:
        notices.put_due(threading.Event())

    assert len(captured) == 4


def test_worker_sends_notices_every_hour(owner):
    job = periodic_jobs._registered["expiry notices"]
    ending_in(owner, days=5)
    job.work(threading.Event())

    assert job.every_seconds == 3600
    assert len(delivered()) == 1
