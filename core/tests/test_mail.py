"""Mail: the outbox, how the worker sends it, and what happens while no mail server accepts it."""

import itertools
import re
import socket
import socketserver
import threading
from datetime import timedelta
from email import message_from_bytes, policy
from pathlib import Path

import pytest
import time_machine
from django.conf import settings as portal_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage, get_connection
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.transaction import TransactionManagementError
from django.utils import timezone
from django.utils.translation import get_language

from accounts import services
from accounts.mails import invitation_mail, password_reset_mail
from accounts.tests.factories import UserFactory
from core import periodic_jobs, setting_readers
from core.mail import delivery, kinds
from core.models import OutgoingMail
from opsera_portal.tests.certificates import authority, server_context
from opsera_portal.tests.files import python_files_below
from opsera_portal.tests.kills import Killed, is_killed
from opsera_portal.tests.mails import delivered

State = OutgoingMail.State


class Dialog(socketserver.StreamRequestHandler):
    """One connection to the mail server. Sends its ``replies``, and accepts everything else."""

    timeout = 5

    def handle(self):
        server = self.server.smtp
        server.connections += 1
        self.say(server.next_reply("connect") or "220 mx.example ESMTP")
        while line := self.rfile.readline():
            verb = line.split(b":")[0].split()[0].upper().decode()
            server.lines.append(line.strip().decode())
            reply = server.next_reply(verb)
            if reply == "drop":
                return
            if verb == "DATA" and not reply:
                self.say("354 go on")
                self.read_message(server)
            else:
                self.say(reply or ("250-mx.example\r\n250 AUTH PLAIN" if verb == "EHLO" else "250 OK"))
            if verb == "QUIT":
                return

    def read_message(self, server):
        lines = []
        while (line := self.rfile.readline()) not in {b".\r\n", b""}:
            lines.append(line)
        reply = server.next_reply("message")
        if reply == "drop":
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if not reply:
            server.messages.append(message_from_bytes(b"".join(lines), policy=policy.default))
        self.say(reply or "250 accepted")

    def say(self, reply):
        self.wfile.write(f"{reply}\r\n".encode())


class MailServer:
    """A mail server on loopback. ``replies`` maps an SMTP command to the next replies to it."""

    def __init__(self, context=None):
        self.replies, self.messages, self.lines, self.connections = {}, [], [], 0
        smtp = self

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

            def get_request(self):
                sock, address = super().get_request()
                return (context.wrap_socket(sock, server_side=True) if context else sock), address

            def handle_error(self, request, client_address):
                """Ignores errors, because tests close connections early."""

        self.server = Server(("127.0.0.1", 0), Dialog)
        self.server.smtp = smtp
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def next_reply(self, verb):
        waiting = self.replies.get(verb, [])
        return waiting.pop(0) if waiting else None

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def use(settings, url):
    for name, value in mail_settings(url).items():
        setattr(settings, name, value)


def mail_settings(url):
    return setting_readers.mail_server("EMAIL_URL", url)


@pytest.fixture
def server(settings):
    server = MailServer()
    use(settings, f"smtp://127.0.0.1:{server.port}")
    yield server
    server.close()


@pytest.fixture
def nowhere(settings):
    """Uses a port where no mail server answers."""
    use(settings, "smtp://127.0.0.1:9")


@pytest.fixture
def invited(organization):
    return UserFactory(organization=organization, email="ina@acme.example", joined_at=None, password="!")


def invite(person):
    with transaction.atomic():
        return invitation_mail.put(person.pk, str(person.pk))


@pytest.fixture
def row(invited):
    return invite(invited)


def work(*, after=timedelta(0)):
    """Runs one round of the worker, as if ``after`` had passed."""
    with time_machine.travel(timezone.now() + after):
        delivery.send_due(threading.Event())


def read(row):
    row.refresh_from_db()
    return row


# What a mail looks like


def test_mail_reaches_the_server_with_its_headers(server, row, invited):
    work()

    [message] = server.messages
    assert message["To"] == invited.email
    assert message["From"] == portal_settings.DEFAULT_FROM_EMAIL
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Message-ID"] == f"<{row.pk}@[127.0.0.1]>"
    assert message["Date"]
    assert [part.get_content_type() for part in message.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    assert read(row).state == State.SENT
    assert (row.attempts, row.email, row.last_error) == (1, invited.email, "")


def test_sender_and_ehlo_name_come_from_the_settings(server, row, settings):
    settings.DEFAULT_FROM_EMAIL = "Työkalut <tools@portal.example.com>"
    settings.EMAIL_EHLO_NAME = "portal.example.com"

    work()

    assert server.messages[0]["From"] == "Työkalut <tools@portal.example.com>"
    assert server.messages[0]["Message-ID"] == f"<{row.pk}@portal.example.com>"
    assert "ehlo portal.example.com" in server.lines
    assert any("<tools@portal.example.com>" in line for line in server.lines if line.startswith("mail"))


@pytest.mark.parametrize("name", ["Acme\nBcc: everyone@example.com", "Acme\r\n\r\nBuy", "Acme\x00\u2028x", "ä" * 300])
def test_name_of_a_person_cannot_add_headers(server, row, organization, name):
    type(organization).objects.filter(pk=organization.pk).update(name=name.replace("\x00", "\x01")[:100])

    work()

    [message] = server.messages
    assert message["Bcc"] is None
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Subject"].strip().startswith("You are invited to the Opsera Portal of ")


def test_mail_is_only_sent_from_the_outbox():
    """Mail that is sent elsewhere would be lost during an outage of the mail server."""
    root = Path(portal_settings.BASE_DIR)
    sends = re.compile(
        r"send_mail\(|send_mass_mail\(|mail_admins\(|mail_managers\(|send_messages\(|\.send\(\)|smtplib\.SMTP\b"
    )
    found = {
        str(path.relative_to(root))
        for path in python_files_below(*root.glob("[a-z]*/"))
        if not {"tests", "templates"} & {*path.parts} and sends.search(path.read_text())
    }

    assert found == {"core/mail/delivery.py"}


# Writing to the outbox


def test_mail_is_written_in_the_transaction_of_its_event(administrator, organization):
    with transaction.atomic():
        services.invite_user(actor=administrator, email="new@acme.example", name="New")
        assert OutgoingMail.objects.count() == 1
        transaction.set_rollback(True)

    assert not OutgoingMail.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_mail_is_sent_without_a_queue(organization, settings):
    settings.TASKS = {"default": {"BACKEND": "a.queue.that.is.Away"}}
    administrator = UserFactory(organization=organization, site_role="administrator")

    services.invite_user(actor=administrator, email="new@acme.example", name="New")

    assert [message.to for message in delivered()] == [["new@acme.example"]]


@pytest.mark.django_db(transaction=True)
def test_mail_without_a_transaction_is_refused(organization):
    person = UserFactory(organization=organization, joined_at=None, password="!")
    row = invite(person)

    for write in (
        lambda: invitation_mail.put(person.pk, str(person.pk)),
        lambda: invitation_mail.put_each([(person.pk, [str(person.pk)])]),
        lambda: invitation_mail.change(row, str(person.pk)),
    ):
        with pytest.raises(TransactionManagementError, match="in the transaction of its event"):
            write()

    assert OutgoingMail.objects.get() == row


def test_row_of_a_mail_has_no_link_and_no_text(row, invited):
    assert row.arguments == {"user_id": str(invited.pk)}


def test_worker_sends_mails_every_two_seconds_and_removes_old_ones(row):
    jobs = periodic_jobs._registered
    jobs["mail"].work(threading.Event())
    with time_machine.travel(timezone.now() + delivery.KEEP + timedelta(days=1)):
        jobs["past mail"].work(threading.Event())

    assert jobs["mail"].every_seconds == 2
    assert not OutgoingMail.objects.exists()


def test_recent_and_waiting_mails_are_not_removed(server, row, invited):
    work()
    waiting = password_reset_mail.put(invited.pk, str(invited.pk), None)
    with time_machine.travel(timezone.now() + delivery.KEEP - timedelta(days=1)):
        delivery.forget_old(threading.Event())

    assert set(OutgoingMail.objects.values_list("pk", flat=True)) == {row.pk, waiting.pk}


# Failures


def test_greylisted_mail_is_tried_again_after_a_minute_without_an_error(server, row, caplog):
    server.replies["RCPT"] = ["451 4.7.1 Greylisted, try again later"]

    work()
    assert read(row).last_error == "The mail server answers 451 4.7.1 Greylisted, try again later"
    work(after=timedelta(seconds=50))
    assert server.messages == []
    work(after=timedelta(seconds=70))

    assert len(server.messages) == 1
    assert read(row).state == State.SENT
    assert not [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}]


def test_greylisted_mail_does_not_delay_others(server, row, organization):
    other = UserFactory(organization=organization, joined_at=None, password="!")
    invite(other)
    server.replies["RCPT"] = ["450 later"]

    work()

    assert [message["To"] for message in server.messages] == [other.email]


def test_mail_to_an_unknown_address_is_given_up_after_three_attempts(server, row, caplog):
    server.replies["RCPT"] = ["550 5.1.1 No such user"] * 5

    for hours in range(5):
        work(after=timedelta(hours=hours))

    assert read(row).state == State.FAILED
    assert (row.attempts, row.last_error) == (3, "The mail server answers 550 5.1.1 No such user")
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1
    assert row.email not in caplog.text


def test_mail_that_the_server_refuses_after_the_data_is_given_up(server, row):
    server.replies["message"] = ["554 5.7.1 Looks like spam"] * 3

    for hours in range(3):
        work(after=timedelta(hours=hours))

    assert read(row).state == State.FAILED


@pytest.mark.parametrize("where", ["EHLO", "MAIL", "RCPT", "message"])
def test_mail_is_sent_later_if_the_server_closes_the_connection(server, row, where):
    server.replies[where] = ["drop"]

    work()
    assert (read(row).state, len(server.messages)) == (State.WAITING, 0)
    work(after=timedelta(minutes=2))

    assert (read(row).state, len(server.messages)) == (State.SENT, 1)


@pytest.mark.parametrize(
    ("verb", "reply", "said"),
    [
        ("connect", "554 no service", "554 no service"),
        ("MAIL", "530 5.7.0 Authentication required", "530 5.7.0 Authentication required"),
        ("MAIL", "553 5.7.1 Sender not allowed", "553"),
        ("RCPT", "421 4.7.0 Too many connections", "421"),
    ],
)
def test_server_problem_stops_the_round_and_no_mail_is_given_up(server, row, organization, verb, reply, said):
    other = UserFactory(organization=organization, joined_at=None, password="!")
    second = invite(other)
    server.replies[verb] = [reply] * 4

    for minutes in (0, 6, 12, 18):
        work(after=timedelta(minutes=minutes))

    assert server.connections == 4
    assert {read(row).state, read(second).state} == {State.WAITING}
    assert said in second.last_error
    assert (row.refusals, second.refusals) == (0, 0)


def test_wrong_password_is_reported_and_loses_no_mail(server, row, settings, caplog):
    use(settings, f"smtp://user:s3cret@127.0.0.1:{server.port}")
    server.replies["AUTH"] = ["535 5.7.8 Bad credentials"] * 9

    work()

    assert read(row).last_error == "The portal cannot sign in. The mail server answers 535 5.7.8 Bad credentials"
    assert row.state == State.WAITING
    assert "s3cret" not in caplog.text


def test_outage_of_an_hour_loses_no_mail(nowhere, organization, settings):
    people = UserFactory.create_batch(5, organization=organization, joined_at=None, password="!")
    start = timezone.now()
    for number, person in enumerate(people):
        with time_machine.travel(start + timedelta(minutes=10 * number)):
            invite(person)
            password_reset_mail.put(person.pk, str(person.pk), None)
    for seconds in range(0, 3600, 30):
        with time_machine.travel(start + timedelta(seconds=seconds), tick=False):
            delivery.send_due(threading.Event())
    assert OutgoingMail.objects.filter(state=State.WAITING).count() == 10
    assert not OutgoingMail.objects.filter(last_error="").exists()

    server = MailServer()
    use(settings, f"smtp://127.0.0.1:{server.port}")
    for minutes in range(7):
        work(after=timedelta(hours=1, minutes=minutes))
    server.close()

    assert len(server.messages) == 10
    assert not OutgoingMail.objects.exclude(state=State.SENT).exists()


def test_outage_is_logged_once_with_its_cause(nowhere, row, caplog):
    for seconds in range(0, 240, 60):
        work(after=timedelta(seconds=seconds))

    lines = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert 1 <= len(lines) <= 2
    assert "Connection refused" in lines[0]
    assert "Waiting mails: 1" in lines[0]


def test_mail_that_breaks_the_connection_does_not_block_others(server, row, organization):
    other = UserFactory(organization=organization, joined_at=None, password="!")
    server.replies["RCPT"] = ["421 not you"]
    work()
    invite(other)
    server.replies["RCPT"] = ["421 not you"]

    work(after=timedelta(seconds=61))
    work(after=timedelta(seconds=125))

    assert other.email in {message["To"] for message in server.messages}


def test_mails_wait_longer_each_time_up_to_an_hour():
    minutes = [delivery.pause_after(attempts).total_seconds() / 60 for attempts in (1, 2, 3, 4, 5, 6, 7, 8, 99)]

    assert minutes == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_expired_mail_is_given_up_with_the_reason(nowhere, row, settings):
    work()
    work(after=timedelta(days=3, minutes=1))

    assert read(row).state == State.FAILED
    assert row.last_error.startswith("Given up: it was not delivered in time. The mail server cannot be reached")


def test_outdated_password_link_is_not_sent(server, member):
    row = password_reset_mail.put(member.pk, str(member.pk), None)

    work(after=timedelta(hours=4, seconds=1))

    assert server.messages == []
    assert read(row).state == State.FAILED


def test_link_is_created_when_its_mail_is_sent(server, member, client):
    password_reset_mail.put(member.pk, str(member.pk), None)
    moment = timezone.now() + timedelta(hours=3)

    with time_machine.travel(moment):
        delivery.send_due(threading.Event())
    link = re.search(r"https?://[^/]+(/password/reset/\S+)", server.messages[0].get_body(("plain",)).get_content())[1]

    with time_machine.travel(moment + timedelta(minutes=59)):
        assert client.get(link, follow=True).context["form"]


def test_mail_that_is_no_longer_needed_is_removed(server, row, invited):
    type(invited).objects.filter(pk=invited.pk).update(joined_at=timezone.now())

    work()

    assert server.messages == []
    assert not OutgoingMail.objects.exists()


def test_mail_that_fails_to_render_is_given_up_and_does_not_delay_others(server, row, organization, monkeypatch):
    def fails(user_id):
        raise LookupError("template")

    monkeypatch.setitem(kinds._kinds, "failing", kinds.MailKind("failing", "x", fails, timedelta(days=1), False, None))
    broken = OutgoingMail.objects.create(
        kind="failing", arguments={"user_id": "x"}, expires_at=timezone.now() + timedelta(days=1)
    )
    for hours in range(3):
        work(after=timedelta(hours=hours))

    assert read(broken).state == State.FAILED
    assert read(row).state == State.SENT


def test_unknown_kind_of_mail_waits_for_a_newer_version(server, db):
    row = OutgoingMail.objects.create(kind="of_tomorrow", expires_at=timezone.now() + timedelta(days=1))

    work()

    assert (read(row).state, row.attempts) == (State.WAITING, 1)


def test_database_changes_of_a_failed_mail_are_rolled_back(server, db, monkeypatch):
    """A mail that queues another mail and then fails has not queued it."""
    person = UserFactory(joined_at=None, password="!")

    def makes_another(fails):
        invite(person)
        if fails:
            raise LookupError

    kind = kinds.MailKind("makes_another", "x", makes_another, timedelta(days=1), False, None)
    monkeypatch.setitem(kinds._kinds, "makes_another", kind)
    kind.put(None, True)
    kind.put(None, False)

    work()

    assert len(server.messages) == 1


# Concurrency


@pytest.mark.django_db(transaction=True)
def test_two_workers_never_send_the_same_mail(settings, organization):
    server = MailServer()
    use(settings, f"smtp://127.0.0.1:{server.port}")
    people = UserFactory.create_batch(12, organization=organization, joined_at=None, password="!")
    for person in people:
        invite(person)
    start = threading.Barrier(3)

    def run():
        try:
            start.wait(timeout=10)
            delivery.send_due(threading.Event())
        finally:
            connection.close()

    workers = [threading.Thread(target=run) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    server.close()

    assert sorted(message["To"] for message in server.messages) == sorted(person.email for person in people)


def test_stopping_worker_sends_no_more_mails(server, row):
    stopping = threading.Event()
    stopping.set()

    delivery.send_due(stopping)

    assert server.messages == []


def test_newer_link_replaces_a_waiting_one(server, invited):
    for _ in range(3):
        invite(invited)

    work()

    assert len(server.messages) == 1


# Killed and suspended workers


AFTER_LEASE = delivery.LEASE + timedelta(minutes=1)
WRITE_OF_THE_RESULT = 2


@pytest.mark.each_database
def test_mail_of_a_killed_worker_is_sent_after_its_lease(server, row):
    assert delivery._claim_next() == row

    work(after=timedelta(minutes=9))
    assert server.messages == []
    work(after=AFTER_LEASE)

    assert len(server.messages) == 1


@pytest.mark.django_db(transaction=True)
def test_mail_is_sent_wherever_the_worker_is_killed(settings, organization):
    server = MailServer()
    use(settings, f"smtp://127.0.0.1:{server.port}")
    for number in itertools.count(1):
        person = UserFactory(organization=organization, joined_at=None, password="!")
        row = invite(person)
        server.messages.clear()

        killed = is_killed(work, before_write=number)
        accepted = len(server.messages)
        work(after=AFTER_LEASE)
        work(after=2 * AFTER_LEASE)

        assert read(row).state == State.SENT
        # It is sent twice only if the server had taken it, and the worker could not store that.
        assert len(server.messages) == (accepted + 1 if killed else 1)
        assert len({message["Message-ID"] for message in server.messages}) == 1
        if not killed:
            break
    server.close()

    assert number == WRITE_OF_THE_RESULT + 1


@pytest.mark.each_database
def test_mail_that_is_sent_without_a_result_is_given_up_after_three_attempts(server, row):
    for attempt in range(3):
        assert is_killed(lambda: work(after=attempt * AFTER_LEASE), before_write=WRITE_OF_THE_RESULT)  # noqa: B023
    for attempt in range(3, 6):
        work(after=attempt * AFTER_LEASE)

    assert len(server.messages) == 3
    assert read(row).state == State.FAILED
    assert row.last_error == "Given up: the worker ended in 3 attempts to send it. It may have arrived."


@pytest.mark.each_database
def test_mail_whose_text_ends_the_worker_is_given_up_after_three_attempts(server, row, monkeypatch):
    def ends_the_worker():
        raise Killed

    deadly = kinds.MailKind("deadly", "x", ends_the_worker, timedelta(days=3), False, None)
    monkeypatch.setitem(kinds._kinds, "deadly", deadly)
    with time_machine.travel(timezone.now() - timedelta(minutes=1)):
        first = deadly.put(None)

    for attempt in range(3):
        with pytest.raises(Killed):
            work(after=attempt * AFTER_LEASE)
    work(after=3 * AFTER_LEASE)

    assert {read(first).state, read(row).state} == {State.FAILED, State.SENT}
    assert len(server.messages) == 1


@pytest.mark.each_database
def test_result_of_an_attempt_counts_as_its_end(server, row):
    for attempt in range(5):
        if attempt == 2:
            server.replies["RCPT"] = ["450 later"]
            work(after=attempt * AFTER_LEASE)
        else:
            assert is_killed(lambda: work(after=attempt * AFTER_LEASE), before_write=WRITE_OF_THE_RESULT)  # noqa: B023
    work(after=timedelta(hours=2))

    assert read(row).state == State.SENT


@pytest.fixture
def suspended(server, row):
    """A mail as a worker has taken it that was then suspended, and the same mail as another one has taken it since."""
    late = delivery._claim_next()
    message = delivery._message_of(late)
    with time_machine.travel(timezone.now() + AFTER_LEASE):
        return late, message, delivery._claim_next()


@pytest.mark.each_database
def test_worker_that_was_suspended_leaves_the_mail_to_its_successor(suspended, row, caplog):
    late, message, _ = suspended
    before = OutgoingMail.objects.values().get()

    assert delivery._message_of(late) is None
    delivery._save(late, message)
    delivery._try_again(late, "later", timedelta(minutes=1))
    for _ in range(delivery.REFUSALS_LIMIT):
        delivery._refused(late, "no")

    assert OutgoingMail.objects.values().get() == before
    assert "Mail given up" not in caplog.text


@pytest.mark.each_database
def test_mail_that_a_suspended_worker_has_sent_is_not_sent_a_third_time(suspended, server, row):
    late, message, successor = suspended

    assert delivery._send(get_connection(), late, message) is None
    delivery._try_again(successor, "later", timedelta(minutes=1))
    work(after=2 * AFTER_LEASE)

    assert len(server.messages) == 1
    assert read(row).state == State.SENT


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_waiting_mail_is_kept_by_migrating_back_and_forward(mailoutbox):
    person = UserFactory(joined_at=None, password="!")
    row = invite(person)
    try:
        MigrationExecutor(connection).migrate([("core", "0001_initial")])
    finally:
        executor = MigrationExecutor(connection)
        executor.migrate(executor.loader.graph.leaf_nodes())

    work()

    assert [message.to for message in mailoutbox] == [[person.email]]
    assert (read(row).attempts, row.unfinished_attempts) == (1, 0)


# TLS


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def tls_server(ca):
    server = MailServer(server_context(ca))
    yield server
    server.close()


def test_smtps_uses_implicit_tls_with_a_company_authority(tls_server, ca, row, settings, monkeypatch):
    use(settings, f"smtps://localhost:{tls_server.port}")
    monkeypatch.setenv("SSL_CERT_FILE", str(ca.file))

    work()

    assert len(tls_server.messages) == 1


def test_untrusted_server_gets_no_mail(tls_server, row, settings):
    use(settings, f"smtps://localhost:{tls_server.port}")

    work()

    assert tls_server.messages == []
    assert read(row).state == State.WAITING
    assert "certificate verify failed" in row.last_error


def test_server_without_starttls_gets_no_mail_and_no_password(server, row, settings):
    use(settings, f"smtp+tls://user:s3cret@127.0.0.1:{server.port}")

    for hours in range(4):
        work(after=timedelta(hours=hours))

    assert not [line for line in server.lines if line.upper().startswith(("AUTH", "MAIL"))]
    assert read(row).state == State.WAITING


# Settings


@pytest.mark.parametrize(
    ("url", "host", "port", "starttls", "implicit"),
    [
        ("smtp://mx.example.com", "mx.example.com", 25, False, False),
        ("smtp+tls://mx.example.com", "mx.example.com", 587, True, False),
        ("smtp+starttls://mx.example.com:2525", "mx.example.com", 2525, True, False),
        ("smtps://mx.example.com", "mx.example.com", 465, False, True),
        ("smtp+ssl://mx.example.com", "mx.example.com", 465, False, True),
        ("smtps://[2001:db8::1]:4650", "2001:db8::1", 4650, False, True),
        ("SMTPS://MX.example.com/", "mx.example.com", 465, False, True),
    ],
)
def test_scheme_selects_how_the_mail_server_uses_tls(url, host, port, starttls, implicit):
    found = mail_settings(url)

    assert (found["EMAIL_HOST"], found["EMAIL_PORT"]) == (host, port)
    assert (found["EMAIL_USE_TLS"], found["EMAIL_USE_SSL"]) == (starttls, implicit)


def test_user_and_password_are_percent_decoded():
    found = mail_settings("smtps://ops%40example.com:p%40ss%2Fw%3Ard+%25@mx.example.com")

    assert (found["EMAIL_HOST_USER"], found["EMAIL_HOST_PASSWORD"]) == ("ops@example.com", "p@ss/w:rd+%")


@pytest.mark.parametrize(
    "url",
    [
        "imap://hunter2@mx.example.com",
        "mx.example.com:hunter2",
        "smtps://",
        "smtps://user:hunter2@",
        "smtps://user:hunter2@mx.example.com:0",
        "smtps://user:hunter2@mx.example.com:99999",
        "smtps://user:hunter2@mx.example.com/path",
        "smtps://user:hunter2@mx.example.com?tls=1",
        "smtps://user:hunter2@mx_example.com#x",
        "smtps://hunter2@mx.example.com",
        "smtps://:hunter2@mx.example.com",
        "smtps://user:hunter2%0D%0ARCPT@mx.example.com",
        "smtps://user:hunter2@mx.example.com\n",
        "smtps://user:hunter2@mx example.com",
        "smtps://[::1",
        "filemail://",
        "consolemail://hunter2",
    ],
)
def test_wrong_mail_server_prevents_startup_and_is_not_shown(url):
    with pytest.raises(ImproperlyConfigured, match=r"^EMAIL_URL must be like") as error:
        mail_settings(url)

    assert "hunter2" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        ("tools@example.com", "tools@example.com"),
        ("Acme Tools <tools@example.com>", "Acme Tools <tools@example.com>"),
        ('"Acme, Tools" <tools@example.com>', '"Acme, Tools" <tools@example.com>'),
        ("Acme, Tools <tools@example.com>", '"Acme, Tools" <tools@example.com>'),
        ("Työkalut <tools@example.com>", "Työkalut <tools@example.com>"),
        ("", "default@example.com"),
    ],
)
def test_sender_is_an_address_with_an_optional_name(raw, read):
    sender = setting_readers.mail_sender("EMAIL_FROM", raw, default="default@example.com")

    assert sender == read
    assert EmailMessage("x", "y", sender, ["a@example.com"]).message()["From"]


@pytest.mark.parametrize(
    "raw",
    [
        "tools",
        "tools@",
        "@example.com",
        "a@example.com, b@example.com",
        "Acme <tools@example.com",
        "A <b> <c@example.com>",
        "Acme\nBcc: x@example.com <tools@example.com>",
        "tools@example.com\r\nBcc: x@example.com",
        "tools@exämple.com",
        "x" * 400 + "@a.example",
    ],
)
def test_wrong_sender_prevents_startup(raw):
    with pytest.raises(ImproperlyConfigured, match="EMAIL_FROM must be") as error:
        setting_readers.mail_sender("EMAIL_FROM", raw, default="default@example.com")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("raw", ["-portal", "portal..example", "portal example", "x\n", "a" * 64, "[127.0.0.1", "_x"])
def test_wrong_ehlo_name_prevents_startup(raw):
    with pytest.raises(ImproperlyConfigured, match="EMAIL_EHLO_NAME must be"):
        setting_readers.host_name("EMAIL_EHLO_NAME", raw, default="portal.example.com")


@pytest.mark.parametrize(
    ("host", "name"),
    [("portal.example.com", "portal.example.com"), ("192.0.2.7", "[192.0.2.7]"), ("2001:db8::7", "[IPv6:2001:db8::7]")],
)
def test_ip_address_as_ehlo_name_is_in_brackets(host, name):
    assert setting_readers.host_name("EMAIL_EHLO_NAME", "", default=setting_readers.name_in_mail(host)) == name


@pytest.mark.parametrize(("chosen", "of_browser"), [("de", "pl"), ("", "de")])
def test_mail_is_in_the_language_of_its_recipient(server, row, invited, chosen, of_browser):
    invited.language, invited.browser_language = chosen, of_browser
    invited.save()

    work()

    [message] = server.messages
    assert message["Subject"].startswith("Einladung ins Opsera Portal von ")
    assert "Der Link funktioniert einmal, 3 Tage lang." in message.get_body(("plain",)).get_content()
    assert get_language() == "en"
