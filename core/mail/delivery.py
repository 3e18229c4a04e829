"""Sends the mails in the outbox. The worker does this in a separate thread.

If the server does not accept a mail, the worker tries again after a minute, then each time after twice as long, up to
an hour, until the mail expires. There are three kinds of problems:

- The server says "later" (4xx, such as greylisting for every first mail): normal, no line in the log.
- The server refuses this mail (5xx, such as an unknown mailbox): given up after the third time.
- The server is unavailable (connection, TLS, sign-in, refused sender): all mails wait a minute, and none is given up.

A worker takes a mail for the length of a lease. If it is killed meanwhile, another one takes the mail when the lease
has ended. A worker that was only suspended then stores nothing but that it has sent the mail. If no result is stored
three times in a row, the mail is given up: it may itself be the reason why the worker ends.
"""

import logging
import smtplib
import threading
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from enum import Enum

from django.core import mail
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from core.db.locks import lock_first
from core.db.unavailable import DATABASE_UNAVAILABLE
from core.mail.kinds import kind_of, label_of
from core.models import OutgoingMail, OutgoingMailQuerySet
from core.rate_limits import Limit
from core.reading import reading_as
from core.service_accounts import is_service_account

logger = logging.getLogger(__name__)

EVERY = timedelta(seconds=2)
# Longer than one mail can take: the timeout for each answer of the server is 10 s (EMAIL_TIMEOUT).
LEASE = timedelta(minutes=10)
FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=1)
OUTAGE_PAUSE = timedelta(minutes=1)
LONGEST_OUTAGE_PAUSE = timedelta(minutes=5)
REFUSALS_LIMIT = 3
UNFINISHED_LIMIT = 3
# Many servers close a connection after some mails.
MAILS_OF_A_CONNECTION = 50
KEEP = timedelta(days=30)

# So that an outage is not logged every two seconds.
OUTAGE_LOG_LIMIT = Limit("mail-outages-told", amount=1, seconds=5 * 60)


class Trouble(Enum):
    LATER = "later"
    REFUSED = "refused"
    NO_SERVER = "no server"


def send_due(stopping: threading.Event) -> None:
    """Tries every mail that is due, once. Stops if the server is unavailable."""
    connection = mail.get_connection()
    sent = 0
    try:
        while not stopping.is_set() and (row := _claim_next()):
            message = _message_of(row)
            if message is None:
                continue
            trouble = _send(connection, row, message)
            if trouble is Trouble.NO_SERVER:
                return
            sent += 1
            if trouble is not None or sent % MAILS_OF_A_CONNECTION == 0:
                _close(connection)
    finally:
        _close(connection)


def forget_old(stopping: threading.Event) -> None:
    """Removes mails that were sent or given up more than 30 days ago."""
    OutgoingMail.objects.filter(ended_at__lt=timezone.now() - KEEP).delete()


def pause_after(attempts: int) -> timedelta:
    """How long a mail waits after its first, second, ... attempt."""
    doublings = min(attempts - 1, 10)
    return min(FIRST_PAUSE * (1 << doublings), LONGEST_PAUSE)


def _claim_next() -> OutgoingMail | None:
    """Takes a mail that is due, with a conditional update, so that only one of two workers gets it.

    If the worker is killed while it sends the mail, another one can take it when the lease ends.
    """
    while True:
        now = timezone.now()
        found = OutgoingMail.objects.due(now).only("attempts", "next_attempt_at").first()
        if found is None:
            return None
        as_found = OutgoingMail.objects.filter(
            pk=found.pk,
            state=OutgoingMail.State.WAITING,
            attempts=found.attempts,
            next_attempt_at=found.next_attempt_at,
        )
        counted = {"attempts": F("attempts") + 1, "unfinished_attempts": F("unfinished_attempts") + 1}
        if as_found.update(next_attempt_at=now + LEASE, **counted):
            # Only read now, because its arguments could change before.
            row = OutgoingMail.objects.filter(pk=found.pk, attempts=found.attempts + 1).first()
            if row is not None:
                return row


def _taken(row: OutgoingMail) -> OutgoingMailQuerySet:
    """The row, if no other worker has taken it since, and it was neither sent nor given up."""
    return OutgoingMail.objects.filter(pk=row.pk, state=OutgoingMail.State.WAITING, attempts=row.attempts)


def _message_of(row: OutgoingMail) -> EmailMessage | None:
    """Writes the mail. Returns ``None``, after updating or deleting the row, if it can't or need not be sent."""
    kind = kind_of(row)
    if timezone.now() >= row.expires_at:
        _give_up(row, f"Given up: it was not delivered in time. {row.last_error}")
        return None
    if row.unfinished_attempts > UNFINISHED_LIMIT:
        _give_up(row, f"Given up: the worker ended in {UNFINISHED_LIMIT} attempts to send it. It may have arrived.")
        return None
    if kind is None:
        _try_again(row, "This version of the portal doesn't know this kind of mail.", pause_after(row.attempts))
        return None
    try:
        with transaction.atomic():
            if lock_first(_taken(row)) is None:
                # This worker was suspended for longer than its lease. What the mail queues must not be queued twice.
                return None
            with _as_its_reader(row):
                message = kind.compose(**row.arguments)
            if message is None or any(map(is_service_account, message.to)):
                # Service accounts have no mailbox: their address can't exist.
                row.delete()
                return None
    except DATABASE_UNAVAILABLE:
        raise
    except Exception:
        logger.exception("The mail %s could not be written", row)
        _refused(row, "The portal could not write this mail. The reason is in the server's log.")
        return None
    _add_headers(message, row)
    return message


def _as_its_reader(row: OutgoingMail) -> AbstractContextManager[None]:
    person = row.person
    return reading_as(person.language or person.browser_language, person.time_zone) if person else reading_as("", "")


def _add_headers(message: EmailMessage, row: OutgoingMail) -> None:
    # On one line, even if names in it have line breaks: Django would refuse to send it.
    message.subject = _on_one_line(message.subject, 200)
    # Not with `parseaddr`, which loses an IP address in brackets in some versions of Python.
    domain = message.from_email.rpartition("@")[2].removesuffix(">")
    message.extra_headers |= {
        # RFC 3834 section 5: prevents vacation notices.
        "Auto-Submitted": "auto-generated",
        "Message-ID": f"<{row.pk}@{domain}>",
    }


def _send(connection: BaseEmailBackend, row: OutgoingMail, message: EmailMessage) -> Trouble | None:
    """Sends the mail and stores the result."""
    try:
        connection.open()
    except Exception as error:  # noqa: BLE001  (reported by `_wait_for_server`)
        # A problem here, such as a server without STARTTLS, affects every mail.
        trouble, (_, said) = Trouble.NO_SERVER, _reading_of(error)
    else:
        try:
            connection.send_messages([message])
        except Exception as error:  # noqa: BLE001  (reported below)
            trouble, said = _reading_of(error)
        else:
            _save_as_sent(row, message)
            return None
    _save(row, message)
    if trouble is Trouble.LATER:
        _try_again(row, said, pause_after(row.attempts))
    elif trouble is Trouble.REFUSED:
        _refused(row, said)
    else:
        _wait_for_server(row, said)
    return trouble


def _reading_of(error: Exception) -> tuple[Trouble, str]:
    """The kind of problem that an error means, and a sentence about it."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        [(code, answer)] = list(error.recipients.values())[:1]
        return _reading_of_code(code), _answer(code, answer)
    if isinstance(error, smtplib.SMTPDataError):
        return _reading_of_code(error.smtp_code), _answer(error.smtp_code, error.smtp_error)
    if isinstance(error, smtplib.SMTPSenderRefused) and 400 <= error.smtp_code < 500 and error.smtp_code != 421:
        return Trouble.LATER, _answer(error.smtp_code, error.smtp_error)
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return Trouble.NO_SERVER, f"The portal cannot sign in. {_answer(error.smtp_code, error.smtp_error)}"
    if isinstance(error, smtplib.SMTPResponseException):
        return Trouble.NO_SERVER, _answer(error.smtp_code, error.smtp_error)
    if isinstance(error, (smtplib.SMTPNotSupportedError, ValueError)):
        return Trouble.REFUSED, f"The mail server can't accept this address or this mail: {error}"
    if isinstance(error, OSError):
        return (
            Trouble.NO_SERVER,
            f"The mail server cannot be reached: {error.strerror or error or type(error).__name__}",
        )
    logger.error("A mail could not be sent", exc_info=error)
    return Trouble.REFUSED, "The portal could not send this mail. The reason is in the server's log."


def _reading_of_code(code: int) -> Trouble:
    # RFC 5321 section 3.8: with 421, the server closes the connection.
    if code == 421:
        return Trouble.NO_SERVER
    return Trouble.REFUSED if code >= 500 else Trouble.LATER


def _answer(code: int, answer: bytes | str) -> str:
    text = answer.decode(errors="replace") if isinstance(answer, bytes) else answer
    return f"The mail server answers {code} {text}"


def _try_again(row: OutgoingMail, error: str, pause: timedelta) -> None:
    row.last_error = _on_one_line(error, 300)
    _save(row, last_error=row.last_error, next_attempt_at=timezone.now() + pause)


def _refused(row: OutgoingMail, error: str) -> None:
    row.refusals += 1
    if row.refusals >= REFUSALS_LIMIT:
        _give_up(row, error)
    else:
        _save(row, refusals=row.refusals)
        _try_again(row, error, pause_after(row.attempts))


def _give_up(row: OutgoingMail, error: str) -> None:
    row.last_error = _on_one_line(error, 300)
    with transaction.atomic():
        is_given_up = _save(
            row,
            state=OutgoingMail.State.FAILED,
            refusals=row.refusals,
            last_error=row.last_error,
            ended_at=timezone.now(),
        )
        kind = kind_of(row)
        if is_given_up and kind is not None and kind.when_given_up is not None:
            kind.when_given_up(row)
    if is_given_up:
        logger.warning("Mail given up: %s (%s), attempts: %d. %s", row.pk, label_of(row), row.attempts, row.last_error)


def _wait_for_server(row: OutgoingMail, error: str) -> None:
    """Makes every due mail wait, and this one a little longer, so that another one is tried first next time.

    If only this mail causes the problem, the others are sent.
    """
    _try_again(row, error, min(pause_after(row.attempts), LONGEST_OUTAGE_PAUSE))
    now = timezone.now()
    due = OutgoingMail.objects.due(now).order_by()
    due.update(next_attempt_at=now + OUTAGE_PAUSE, last_error=row.last_error)
    if OUTAGE_LOG_LIMIT.take("") is None:
        waiting = OutgoingMail.objects.filter(state=OutgoingMail.State.WAITING)
        oldest: datetime = waiting.order_by("created_at").values_list("created_at", flat=True).first() or now
        logger.error(
            "No mail can be sent. %s Waiting mails: %d, the oldest since %s. Trying again.",
            row.last_error,
            waiting.count(),
            oldest.isoformat(timespec="seconds"),
        )


def _save(row: OutgoingMail, message: EmailMessage | None = None, **values: object) -> bool:
    """Stores the result of an attempt, if the mail still belongs to this worker. Returns whether it does."""
    if message is not None:
        row.email = values["email"] = _recipient(message)
    return bool(_taken(row).update(unfinished_attempts=0, **values))


def _save_as_sent(row: OutgoingMail, message: EmailMessage) -> None:
    """Whichever worker has taken the mail since: it need not be sent again."""
    sent = {"state": OutgoingMail.State.SENT, "ended_at": timezone.now(), "last_error": "", "unfinished_attempts": 0}
    waiting = OutgoingMail.objects.filter(pk=row.pk, state=OutgoingMail.State.WAITING)
    waiting.update(email=_recipient(message), **sent)


def _recipient(message: EmailMessage) -> str:
    return str(message.to[0])[:254]


def _close(connection: BaseEmailBackend) -> None:
    try:
        connection.close()
    except (OSError, smtplib.SMTPException):
        # The server has accepted the mails before. The next round opens a new connection.
        logger.debug("Closing the connection to the mail server failed", exc_info=True)


def _on_one_line(text: object, length: int) -> str:
    line = " ".join("".join(char if char.isprintable() else " " for char in str(text)).split())
    return line if len(line) <= length else f"{line[: length - 1]}…"
