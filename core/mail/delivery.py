"""Sending the mails that wait in the outbox. The worker does this, in a thread of its own.

A mail that the server does not take is tried again: after a minute, then after twice as long each time, up to an hour,
until it is not worth sending any more. Three kinds of trouble are told apart:

- The server says "later" (4xx, as greylisting does with every first mail): usual, and no line in the log.
- The server refuses this mail (5xx, as for a mailbox that does not exist): given up after the third time.
- There is no server (connection, TLS, sign-in, refused sender): all mails wait a minute, and none is given up for it.
"""

import logging
import smtplib
import threading
from datetime import datetime, timedelta
from email.utils import parseaddr
from enum import Enum

from django.core import mail
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from core.db.unavailable import DATABASE_UNAVAILABLE
from core.mail.kinds import kind_of, label_of
from core.models import OutgoingMail
from core.rate_limits import Limit

logger = logging.getLogger(__name__)

EVERY = timedelta(seconds=2)
# Longer than one mail can take: each answer of the server is waited for 10 s (EMAIL_TIMEOUT).
LEASE = timedelta(minutes=10)
FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=1)
OUTAGE_PAUSE = timedelta(minutes=1)
LONGEST_OUTAGE_PAUSE = timedelta(minutes=5)
REFUSALS_LIMIT = 3
# Many servers end a connection after some mails.
MAILS_OF_A_CONNECTION = 50
KEEP = timedelta(days=30)

# So that an outage is not a line every two seconds.
OUTAGES_TOLD = Limit("mail-outages-told", amount=1, seconds=5 * 60)


class Trouble(Enum):
    LATER = "later"
    REFUSED = "refused"
    NO_SERVER = "no server"


def send_due(stopping: threading.Event) -> None:
    """One round: tries every mail that is due, once. Ends at the first that finds no server."""
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
    """Removes what was sent or given up long ago."""
    OutgoingMail.objects.filter(ended_at__lt=timezone.now() - KEEP).delete()


def pause_after(attempts: int) -> timedelta:
    """How long a mail waits after its first, second, ... attempt."""
    doublings = min(attempts - 1, 10)
    return min(FIRST_PAUSE * (1 << doublings), LONGEST_PAUSE)


def _claim_next() -> OutgoingMail | None:
    """A mail that is due, taken by a conditional update: of two workers one gets it.

    A worker that is killed in the middle keeps it for as long as the lease.
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
        if as_found.update(attempts=F("attempts") + 1, next_attempt_at=now + LEASE):
            # Read once it is taken: until then its arguments could still change.
            row = OutgoingMail.objects.filter(pk=found.pk).first()
            if row is not None:
                return row


def _message_of(row: OutgoingMail) -> EmailMessage | None:
    """The mail as it reads now; ``None``, and the row settled, where it is not to be sent."""
    kind = kind_of(row)
    if timezone.now() >= row.expires_at:
        _give_up(row, f"Given up: it was not delivered in time. {row.last_error}")
        return None
    if kind is None:
        _try_again(row, "This version of the portal does not know this kind of mail.", pause_after(row.attempts))
        return None
    try:
        with transaction.atomic():
            message = kind.compose(**row.arguments)
            if message is None:
                row.delete()
                return None
    except DATABASE_UNAVAILABLE:
        raise
    except Exception:
        logger.exception("The mail %s could not be written", row)
        _refused(row, "The portal could not write this mail. Its operator finds the reason in the server's log.")
        return None
    _add_headers(message, row)
    return message


def _add_headers(message: EmailMessage, row: OutgoingMail) -> None:
    # On one line, whatever the names in it hold: Django would refuse to send anything else.
    message.subject = _on_one_line(message.subject, 200)
    _, sender = parseaddr(message.from_email)
    message.extra_headers |= {
        # RFC 3834 section 5: no vacation notice answers it.
        "Auto-Submitted": "auto-generated",
        "Message-ID": f"<{row.pk}@{sender.rpartition('@')[2]}>",
    }


def _send(connection: BaseEmailBackend, row: OutgoingMail, message: EmailMessage) -> Trouble | None:
    """Hands the mail to the server and notes what came of it."""
    try:
        connection.open()
    except Exception as error:  # noqa: BLE001  (told by `_wait_for_server`)
        # What is wrong here, such as a server without STARTTLS, is wrong for every mail.
        trouble, (_, said) = Trouble.NO_SERVER, _reading_of(error)
    else:
        try:
            connection.send_messages([message])
        except Exception as error:  # noqa: BLE001  (told by what follows)
            trouble, said = _reading_of(error)
        else:
            _save(row, message, state=OutgoingMail.State.SENT, ended_at=timezone.now(), last_error="")
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
    """What an error means for the mail, and a sentence about it."""
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
        return Trouble.REFUSED, f"The mail server cannot take this address or this mail: {error}"
    if isinstance(error, OSError):
        return (
            Trouble.NO_SERVER,
            f"The mail server cannot be reached: {error.strerror or error or type(error).__name__}",
        )
    logger.error("A mail could not be sent", exc_info=error)
    return Trouble.REFUSED, "The portal could not send this mail. Its operator finds the reason in the server's log."


def _reading_of_code(code: int) -> Trouble:
    # RFC 5321 section 3.8: with 421 the server ends the connection.
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
    logger.warning("Mail given up: %s (%s), attempts: %d. %s", row.pk, label_of(row), row.attempts, row.last_error)
    with transaction.atomic():
        _save(
            row,
            state=OutgoingMail.State.FAILED,
            refusals=row.refusals,
            last_error=row.last_error,
            ended_at=timezone.now(),
        )
        kind = kind_of(row)
        if kind is not None and kind.when_given_up is not None:
            kind.when_given_up(row)


def _wait_for_server(row: OutgoingMail, error: str) -> None:
    """Every mail that is due waits, and this one a little longer: next time another one is tried first.

    If it is this one mail that the server does not bear, the others get through.
    """
    _try_again(row, error, min(pause_after(row.attempts), LONGEST_OUTAGE_PAUSE))
    now = timezone.now()
    due = OutgoingMail.objects.due(now).order_by()
    due.update(next_attempt_at=now + OUTAGE_PAUSE, last_error=row.last_error)
    if OUTAGES_TOLD.take("") is None:
        waiting = OutgoingMail.objects.filter(state=OutgoingMail.State.WAITING)
        oldest: datetime = waiting.order_by("created_at").values_list("created_at", flat=True).first() or now
        logger.error(
            "No mail can be sent. %s Mails that wait: %d, the oldest since %s. Trying again.",
            row.last_error,
            waiting.count(),
            oldest.isoformat(timespec="seconds"),
        )


def _save(row: OutgoingMail, message: EmailMessage | None = None, **values: object) -> None:
    """Unless it was settled meanwhile."""
    if message is not None:
        row.email = values["email"] = message.to[0][:254]
    OutgoingMail.objects.filter(pk=row.pk, state=OutgoingMail.State.WAITING).update(**values)


def _close(connection: BaseEmailBackend) -> None:
    try:
        connection.close()
    except (OSError, smtplib.SMTPException):
        # What was to be sent has been answered for; the next round opens another one.
        logger.debug("The connection to the mail server did not end well", exc_info=True)


def _on_one_line(text: object, length: int) -> str:
    line = " ".join("".join(char if char.isprintable() else " " for char in str(text)).split())
    return line if len(line) <= length else f"{line[: length - 1]}…"
