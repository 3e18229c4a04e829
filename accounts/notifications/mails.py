"""The mail about notifications, at once or once a day. Some kinds have mails of their own (tokens/mails.py)."""

import uuid
from collections.abc import Sequence

from django.core.mail import EmailMessage
from django.utils.translation import gettext, gettext_lazy, ngettext

from accounts.models import Notification, User
from accounts.notifications.kinds import BY_ID, channel_for
from accounts.notifications.texts import page_about, sentence_of
from core.http.public_address import public_url
from core.mail.kinds import mail_kind
from core.mail.messages import mail_from
from core.text import grouped

# So that a mail stays small. The portal lists all of them.
LISTED = 50


@mail_kind(gettext_lazy("Notification"))
def news_mail(person_id: str, notification_ids: Sequence[str]) -> EmailMessage | None:
    """Leaves out kinds about which the person wants no mails any more."""
    found = _wanted(person_id, notification_ids)
    if not found:
        return None
    subject = sentence_of(found[0]) if len(found) == 1 else _number(len(found))
    return _mail(found, subject, is_daily=False)


@mail_kind(gettext_lazy("Daily mail"))
def digest_mail(person_id: str, notification_ids: Sequence[str]) -> EmailMessage | None:
    found = _wanted(person_id, notification_ids)
    return _mail(found, gettext("Your day in the Opsera Portal"), is_daily=True) if found else None


def _wanted(person_id: str, ids: Sequence[str]) -> list[Notification]:
    person = User.objects.active().select_related("organization").filter(pk=uuid.UUID(person_id)).first()
    if person is None:
        return []
    rows = Notification.objects.filter(person=person, public_id__in=ids, kind__in=BY_ID).order_by("at", "id")
    wanted = [row for row in rows if channel_for(person.notification_choices, BY_ID[row.kind]).is_mailed]
    for row in wanted:
        row.person = person
    return wanted


def _mail(found: list[Notification], subject: str, *, is_daily: bool) -> EmailMessage:
    person = found[0].person
    context = {
        "person": person,
        "organization": person.organization,
        "notifications": [
            {
                "sentence": sentence_of(row),
                "at": row.at,
                "page_url": public_url(*page) if (page := page_about(row)) else "",
            }
            for row in found[:LISTED]
        ],
        "further": len(found) - LISTED,
        "is_daily": is_daily,
        "url": public_url("accounts:notification_list"),
        "preferences_url": public_url("accounts:preferences"),
    }
    return mail_from("accounts/mail/news.txt", context, subject=subject, to=person.email)


def _number(count: int) -> str:
    return ngettext(
        "%(count)s notification of the Opsera Portal", "%(count)s notifications of the Opsera Portal", count
    ) % {"count": grouped(count)}
