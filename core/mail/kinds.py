"""The kinds of mails, each with the function that writes it.

    @mail_kind("Invitation", lasts=timedelta(days=3))
    def invitation_mail(user_id: str) -> EmailMessage | None: ...

    invitation_mail.put(user.pk, str(user.pk))

Call ``put`` in the transaction of the event that the mail is about; outside of a transaction, it raises. It writes one
row: after a rollback there is no mail, and after a commit the mail is sent, however long mail server, queue or worker
are down, and whenever a process is killed. The worker calls the function for each attempt, with the same arguments. The
function returns ``None`` if the mail is no longer needed. Its changes to the database are only committed together with
its result.
"""

import inspect
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, ParamSpec

from django.core.mail import EmailMessage
from django.db import connection
from django.db.transaction import TransactionManagementError
from django.utils import timezone

from core.models import OutgoingMail
from core.text import Text

P = ParamSpec("P")

_kinds: dict[str, "MailKind[Any]"] = {}


@dataclass(frozen=True)
class MailKind(Generic[P]):
    """``label`` is its name in the interface. After ``lasts``, the mail is no longer sent."""

    name: str
    label: Text
    compose: Callable[P, EmailMessage | None]
    lasts: timedelta
    replaces_earlier: bool
    when_given_up: Callable[[OutgoingMail], None] | None

    def put(self, person_id: uuid.UUID | None, *args: P.args, **kwargs: P.kwargs) -> OutgoingMail:
        """Writes the row. ``person_id`` is the recipient; ``None`` if it is determined later."""
        _require_transaction()
        if self.replaces_earlier:
            # People need only the newest link: after an outage, older ones must not arrive, too.
            earlier = OutgoingMail.objects.filter(kind=self.name, person_id=person_id)
            earlier.exclude(state=OutgoingMail.State.SENT).delete()
        row = self._row(person_id, self._arguments(*args, **kwargs))
        row.save(force_insert=True)
        return row

    def put_each(self, mails: Iterable[tuple[uuid.UUID, Sequence[Any]]]) -> list[OutgoingMail]:
        """Writes many rows at once, each with the recipient and the arguments."""
        _require_transaction()
        rows = [self._row(person_id, self._arguments(*arguments)) for person_id, arguments in mails]
        return OutgoingMail.objects.bulk_create(rows, batch_size=500)

    def change(self, row: OutgoingMail, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Changes the arguments of a mail, unless a worker has taken it already. Returns whether it did."""
        _require_transaction()
        untouched = OutgoingMail.objects.filter(pk=row.pk, state=OutgoingMail.State.WAITING, attempts=0)
        return bool(untouched.update(arguments=self._arguments(*args, **kwargs)))

    def _arguments(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return dict(inspect.signature(self.compose).bind(*args, **kwargs).arguments)

    def _row(self, person_id: uuid.UUID | None, arguments: dict[str, Any]) -> OutgoingMail:
        now = timezone.now()
        return OutgoingMail(
            kind=self.name,
            arguments=arguments,
            person_id=person_id,
            created_at=now,
            next_attempt_at=now,
            expires_at=now + self.lasts,
        )


def _require_transaction() -> None:
    """Otherwise the event could be committed and the process killed before its mail is."""
    if not connection.in_atomic_block:
        raise TransactionManagementError("Put a mail into the outbox in the transaction of its event.")


def mail_kind(
    label: Text,
    *,
    lasts: timedelta = timedelta(days=3),
    replaces_earlier: bool = False,
    when_given_up: Callable[[OutgoingMail], None] | None = None,
) -> Callable[[Callable[P, EmailMessage | None]], MailKind[P]]:
    """Turns a function that writes a mail into a kind of mail. Rows store its name, so renaming it loses waiting mails.

    ``replaces_earlier``: a new mail replaces unsent ones of this kind to the same person.
    """

    def register(compose: Callable[P, EmailMessage | None]) -> MailKind[P]:
        kind = MailKind(compose.__name__, label, compose, lasts, replaces_earlier, when_given_up)
        if kind.name in _kinds:
            raise ValueError(f"Two kinds of mail have the name {kind.name}.")
        _kinds[kind.name] = kind
        return kind

    return register


def kind_of(row: OutgoingMail) -> MailKind[Any] | None:
    """``None`` if only another version of the portal knows this kind."""
    return _kinds.get(row.kind)


def label_of(row: OutgoingMail) -> str:
    kind = kind_of(row)
    return str(kind.label) if kind else row.kind
