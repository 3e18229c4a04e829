"""The kinds of mails, each with the function that writes it.

    @mail_kind("Invitation", lasts=timedelta(days=3))
    def invitation_mail(user_id: str) -> EmailMessage | None: ...

    invitation_mail.put(user.pk, str(user.pk))

``put`` is called in the transaction of what the mail is about and writes one row: if that is rolled back there is no
mail, and if it is committed the mail is sent, however long mail server, queue or worker are away. The function is
called by the worker, again for each attempt, with the same arguments. It returns ``None`` when there is nothing to say
any more. What it does in the database is committed only together with that answer.
"""

import inspect
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, ParamSpec

from django.core.mail import EmailMessage
from django.utils import timezone

from core.models import OutgoingMail

P = ParamSpec("P")

_kinds: dict[str, "MailKind[Any]"] = {}


@dataclass(frozen=True)
class MailKind(Generic[P]):
    """``label`` names it to people. ``lasts``: for how long it is worth sending."""

    name: str
    label: str
    compose: Callable[P, EmailMessage | None]
    lasts: timedelta
    replaces_earlier: bool
    when_given_up: Callable[[OutgoingMail], None] | None

    def put(self, person_id: uuid.UUID | None, *args: P.args, **kwargs: P.kwargs) -> OutgoingMail:
        """Writes the row. ``person_id``: whom the mail is for; ``None`` where that is only found out later."""
        if self.replaces_earlier:
            # The newest link is the one that people need: no second one follows after an outage.
            earlier = OutgoingMail.objects.filter(kind=self.name, person_id=person_id)
            earlier.exclude(state=OutgoingMail.State.SENT).delete()
        row = self._row(person_id, self._arguments(*args, **kwargs))
        row.save(force_insert=True)
        return row

    def put_each(self, mails: Iterable[tuple[uuid.UUID, Sequence[Any]]]) -> list[OutgoingMail]:
        """The same for many at once: each person with the arguments."""
        rows = [self._row(person_id, self._arguments(*arguments)) for person_id, arguments in mails]
        return OutgoingMail.objects.bulk_create(rows, batch_size=500)

    def change(self, row: OutgoingMail, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Gives a mail that was put other arguments, if no worker has taken it so far. Whether that is so."""
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


def mail_kind(
    label: str,
    *,
    lasts: timedelta = timedelta(days=3),
    replaces_earlier: bool = False,
    when_given_up: Callable[[OutgoingMail], None] | None = None,
) -> Callable[[Callable[P, EmailMessage | None]], MailKind[P]]:
    """Makes a kind of mail of the function that writes it. Its name is kept in rows: renaming it loses those that wait.

    ``replaces_earlier``: a new one to the same person takes the place of those that were not sent.
    """

    def register(compose: Callable[P, EmailMessage | None]) -> MailKind[P]:
        kind = MailKind(compose.__name__, label, compose, lasts, replaces_earlier, when_given_up)
        if kind.name in _kinds:
            raise ValueError(f"There are two kinds of mail with the name {kind.name}.")
        _kinds[kind.name] = kind
        return kind

    return register


def kind_of(row: OutgoingMail) -> MailKind[Any] | None:
    """``None`` for a kind that only another version of the portal knows."""
    return _kinds.get(row.kind)


def label_of(row: OutgoingMail) -> str:
    kind = kind_of(row)
    return kind.label if kind else row.kind
